"""Progress of a run in one line each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from subduct.report.units import count, mib, seconds, whole_mib

if TYPE_CHECKING:
    from subduct.report.snapshot import CheckProgress, ChurnProgress, LoadProgress


def load_line(progress: LoadProgress) -> str:
    """Documents and bytes read, their rates, and what the heap holds. Fits 80 columns."""
    elapsed = progress.seconds or 1e-9
    of = "" if progress.expected is None else f" of {count(progress.expected)}"
    return (
        f"{seconds(progress.seconds)}  {count(progress.documents)}{of} documents  "
        f"{count(progress.documents / elapsed)}/s  {mib(progress.bytes_read)}  "
        f"{mib(int(progress.bytes_read / elapsed))}/s  resident {mib(progress.resident_bytes)}"
    )


def churn_line(progress: ChurnProgress) -> str:
    """Operations per second, live and resident memory, cycles and pauses. Fits 80 columns."""
    return (
        f"{seconds(progress.seconds)}  {count(progress.operations_per_s)} op/s  "
        f"live {whole_mib(progress.live_bytes)}, resident {whole_mib(progress.resident_bytes)} MiB  "
        f"{count(progress.cycles)} cycles  pause p50 {progress.pause_p50_us:,.0f}, max {progress.pause_max_us:,.0f} us"
    )


def check_line(progress: CheckProgress) -> str:
    """Documents compared."""
    return f"{count(progress.compared)} of {count(progress.sample)} documents compared with their source"
