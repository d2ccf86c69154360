"""A run as one JSON object."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from subduct.report.snapshot import Memory, RunReport


def report_object(report: RunReport) -> dict[str, Any]:
    """The whole report. `documents` and `objects` are what was loaded; `live_bytes` and `resident_bytes` are those
    after the last collection that was waited for; `loaded`, `churned` and `kept` are the figures then, or null."""
    stats = report.stats
    last = (report.kept.after if report.kept else None) or report.churned or report.loaded
    return {
        "source": report.source,
        "kind": report.kind,
        "notes": list(report.notes),
        "documents": report.documents,
        "skipped": report.skipped,
        "source_bytes": report.bytes_read,
        "load_s": report.load_s,
        "objects": report.loaded.objects if report.loaded else stats.live_objects,
        "operations": report.operations,
        "operations_by_name": dict(report.operations_by_name),
        "churn_s": report.churn_s,
        "threads": report.threads,
        "seed": report.seed,
        "cycles": stats.cycles,
        "moves": stats.moves,
        "pause_us": {
            "p50": stats.pauses.p50,
            "p99": stats.pauses.p99,
            "max": stats.pauses.max,
            "count": stats.pauses.count,
        },
        "longest_operation_us": stats.longest_operation_us,
        "longest_stall_us": stats.longest_stall_us,
        "stalls": stats.stalls,
        "rest_ms": stats.rest_ms,
        "held_back_ms": stats.held_back_ms,
        "faults": stats.faults,
        "worker_pages": stats.worker_pages,
        "pages_fixed": stats.pages_fixed,
        "pages_built": stats.pages_built,
        "pages_installed": stats.pages_installed,
        "bytes_evacuated": stats.bytes_evacuated,
        "live_bytes": last.live_bytes if last else stats.live_bytes,
        "resident_bytes": last.resident_bytes if last else stats.resident_bytes,
        "budget_bytes": stats.budget_bytes,
        "window_unit_bytes": stats.window_unit_bytes,
        "delivery": stats.delivery,
        "fallbacks": asdict(stats.fallbacks),
        "loaded": _memory(report.loaded),
        "churned": _memory(report.churned),
        "kept": None
        if report.kept is None
        else {
            "fraction": report.kept.fraction,
            "before": _memory(report.kept.before),
            "after": _memory(report.kept.after),
        },
        "sample_compared": report.sample_compared,
        "mismatches": list(report.mismatches),
        "verified": report.verified,
        "failure": report.failure,
        "interrupted": report.interrupted,
    }


def _memory(memory: Memory | None) -> dict[str, Any] | None:
    if memory is None:
        return None
    return {
        "documents": memory.documents,
        "objects": memory.objects,
        "live_bytes": memory.live_bytes,
        "resident_bytes": memory.resident_bytes,
        "overhead": memory.overhead,
    }
