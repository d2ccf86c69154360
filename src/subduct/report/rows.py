"""The final table of a run: labels and values, in the order in which a person asks for them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from subduct.report.units import count, mib, microseconds, percent, plural, seconds

if TYPE_CHECKING:
    from subduct.report.snapshot import Memory, RunReport

# Keys of damaged documents that the table names; the rest are counted.
_NAMED_MISMATCHES = 3


def report_rows(report: RunReport) -> list[tuple[str, str]]:
    """All rows of the table."""
    return [
        *_loaded_rows(report),
        *_churn_rows(report),
        *_collector_rows(report),
        *_memory_rows(report),
        *_check_rows(report),
    ]


def _loaded_rows(report: RunReport) -> list[tuple[str, str]]:
    objects = f", {count(report.loaded.objects)} objects" if report.loaded else ""
    loaded = plural(report.documents, "document") + objects
    rows = [
        ("source", report.source),
        ("loaded", f"{loaded}, from {mib(report.bytes_read)} in {seconds(report.load_s)}"),
    ]
    if report.skipped:
        rows.append(("skipped", f"{plural(report.skipped, 'file')} that this Python cannot read or parse"))
    return rows


def _churn_rows(report: RunReport) -> list[tuple[str, str]]:
    rate = report.operations / report.churn_s if report.churn_s else 0.0
    kinds = ", ".join(f"{name} {count(number)}" for name, number in report.operations_by_name.items())
    rows = [("churn", f"{seconds(report.churn_s)} on {plural(report.threads, 'thread')}, seed {report.seed}")]
    rows.append(("operations", f"{count(report.operations)} ({count(rate)}/s)"))
    if kinds:
        rows.append(("", kinds))
    return rows


def _collector_rows(report: RunReport) -> list[tuple[str, str]]:
    stats, pauses = report.stats, report.stats.pauses
    pages = (
        f"fixed {count(stats.pages_fixed)}, built {count(stats.pages_built)}, installed {count(stats.pages_installed)}"
    )
    rows = [
        ("cycles", f"{count(stats.cycles)}, of which {count(stats.moves)} moved objects; delivery {stats.delivery}"),
        (
            "pause",
            f"p50 {microseconds(pauses.p50)}, p99 {microseconds(pauses.p99)}, max {microseconds(pauses.max)}, "
            f"count {count(pauses.count)}",
        ),
        ("longest operation", f"{microseconds(stats.longest_operation_us)} of one thread inside the heap"),
        ("waits for memory", f"{count(stats.stalls)}, the longest {microseconds(stats.longest_stall_us)}"),
        ("held back", f"{stats.held_back_ms:,.0f} ms, all threads together"),
        ("faults", f"{count(stats.faults)} served by the threads; {count(stats.worker_pages)} pages by the worker"),
        ("pages", pages),
        ("evacuated", mib(stats.bytes_evacuated)),
    ]
    ways = {name.replace("_", " "): number for name, number in asdict(stats.fallbacks).items() if number}
    if ways:
        rows.append(("fallbacks", ", ".join(f"{name} {count(number)}" for name, number in ways.items())))
    return rows


def _memory_rows(report: RunReport) -> list[tuple[str, str]]:
    rows = [("budget", mib(report.stats.budget_bytes))]
    if report.loaded is not None:
        rows.append(("after loading", _memory(report.loaded)))
    if report.churned is not None:
        rows.append(("after the churn", _memory(report.churned)))
    if report.kept is not None:
        after = report.kept.after
        rows.append(
            (f"keeping {percent(report.kept.fraction)}", f"{_memory(after)}, {plural(after.documents, 'document')}")
        )
    return rows


def _memory(memory: Memory) -> str:
    return f"live {mib(memory.live_bytes)}, resident {mib(memory.resident_bytes)} ({memory.overhead:.2f} x live)"


def _check_rows(report: RunReport) -> list[tuple[str, str]]:
    rows = []
    if report.sample_compared:
        outcome = f"{count(len(report.mismatches))} DIFFER" if report.mismatches else "all the same"
        compared = plural(report.sample_compared, "document")
        rows.append(("compared", f"{compared} with the source, byte for byte: {outcome}"))
    if report.mismatches:
        more = len(report.mismatches) - _NAMED_MISMATCHES
        named = ", ".join(report.mismatches[:_NAMED_MISMATCHES])
        rows.append(("damaged", named + (f" and {count(more)} more" if more > 0 else "")))
    verdict = "not to the end" if report.interrupted and not report.mismatches else "no"
    rows.append(("verified", "yes" if report.verified else f"{verdict}: {report.failure}"))
    return rows
