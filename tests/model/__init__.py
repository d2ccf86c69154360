"""Tests of subduct.model, and what they share."""
