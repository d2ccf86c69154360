"""Benchmarks: what the heap costs, side by side with the kernel's own price and with what else could be done, in one run.

The native module measures and returns raw samples; here they become rows, tables, targets and plots. No figure of another
machine or another run is in here: every ratio is of two things measured together.
"""

from subduct.bench.suite import BENCHMARKS

__all__ = ["BENCHMARKS"]
