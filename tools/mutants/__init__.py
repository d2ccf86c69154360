"""`make mutants`: seeded defects, applied one at a time, and the tests that must notice each."""
