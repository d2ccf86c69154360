"""Reports: frozen snapshots of a run, and what renders them on a terminal, as lines, and as JSON."""

from subduct.report.reporter import Reporter, make_reporter
from subduct.report.snapshot import CheckProgress, ChurnProgress, Kept, LoadProgress, Memory, RunReport

__all__ = [
    "CheckProgress",
    "ChurnProgress",
    "Kept",
    "LoadProgress",
    "Memory",
    "Reporter",
    "RunReport",
    "make_reporter",
]
