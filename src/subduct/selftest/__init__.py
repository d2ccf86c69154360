"""The self-test: tries on the running kernel what subduct, and anybody who moves page tables or serves page faults, assumes of it.

Each assumption has an id, which is that of the self-test, of the row in docs/kernel-assumptions.md and, as `[kernel.ID]`, of the comment
in the code that relies on it. Needs nothing but the standard library and the bindings, no rights, and no other thread in the process.
"""
