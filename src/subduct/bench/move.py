"""`move`: what a page costs the worker, what is left to a mutator meanwhile, and what a cycle costs by what is sparse."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

from subduct import _native
from subduct.bench.benchmark import Benchmark, Sizes
from subduct.bench.native import measured, named
from subduct.bench.samples import ratio, spread
from subduct.bench.table import Column, Row, Table, in_units, number, size, span
from subduct.bench.target import Target, worst

if TYPE_CHECKING:
    import argparse

    from subduct.bench.native import Progress

_MEMCPY_RATIO = 2.0
_RANDOM_US = 2.0
# Equal but for noise and for looking at each page's signature.
_CONTINUE_RATIO = 1.25
_MUTATOR_SHARE = 0.25
_CHURNED_SHARE = 0.05
# How much is churned, and whether all over the heap or in one part of it.
_CHURNS = ((_CHURNED_SHARE, True), (_CHURNED_SHARE, False), (0.4, False))

#: What the worker does to pages, as the native module names it, and as people do.
WORK = {
    "install": "install clean pages",
    "fix_local": "fix, local references",
    "build_local": "build, local references",
    "fix_random": "fix, 256 random references a page",
    "build_random": "build, 256 random references a page",
}


def run(arguments: argparse.Namespace, progress: Progress) -> list[Row]:
    """Rows of three kinds for each size: `worker`, `mutator` and `churned`."""
    rows = []
    for size_bytes in arguments.sizes:
        told = named(progress, in_units(size_bytes))
        rows += [_worker(work, size_bytes, arguments.repetitions, told) for work in WORK]
        rows.append(_mutator(size_bytes, arguments.repetitions, told))
        rows += [_churned(size_bytes, share, told, everywhere=everywhere) for share, everywhere in _CHURNS]
    return rows


def _worker(work: str, size_bytes: int, cycles: int, progress: Progress) -> Row:
    found = measured(_native.measure_worker, work, size_bytes, cycles=cycles, progress=named(progress, WORK[work]))
    row: Row = {"kind": "worker", "work": work, "size_bytes": size_bytes}
    # In a heap too small for a region to be gained, nothing moves.
    moved = [cycle for cycle in found["cycles"] if _pages(cycle)]
    if not moved:
        return row | {"count": 0, "page_us": None, "ratio_to_memcpy": None, "ratio_to_continue": None}
    page_us = [cycle["move_us"] / _pages(cycle) for cycle in moved]
    memcpy_us, continue_us = median(found["memcpy_us"]), median(found["continue_us"])
    return row | {
        "pages": _pages(moved[-1]),
        "pages_fixed": moved[-1]["pages_fixed"],
        "pages_built": moved[-1]["pages_built"],
        "pages_installed": moved[-1]["pages_installed"],
        "page_us": median(page_us),
        "spread_us": spread(page_us),
        "memcpy_us": memcpy_us,
        "memcpy_spread_us": spread(found["memcpy_us"]),
        "continue_us": continue_us,
        "continue_spread_us": spread(found["continue_us"]),
        "ratio_to_memcpy": ratio(median(page_us), memcpy_us),
        "ratio_to_continue": ratio(median(page_us), continue_us),
        "count": len(page_us),
    }


def _pages(cycle: dict[str, Any]) -> int:
    return int(cycle["pages_fixed"] + cycle["pages_built"] + cycle["pages_installed"])


def _mutator(size_bytes: int, cycles: int, progress: Progress) -> Row:
    found = measured(_native.measure_mutator, size_bytes, cycles=cycles, progress=named(progress, "one mutator"))
    # On a busy machine a mutator may get nowhere before the move: then there is nothing to compare its pace with.
    found = [cycle for cycle in found if _pages(cycle) and cycle["quiet_per_s"]]
    if not found:
        return {"kind": "mutator", "size_bytes": size_bytes, "share": None, "count": 0}
    shares = [cycle["moving_per_s"] / cycle["quiet_per_s"] for cycle in found]
    return {
        "kind": "mutator",
        "size_bytes": size_bytes,
        "quiet_per_s": median(cycle["quiet_per_s"] for cycle in found),
        "marking_per_s": median(cycle["marking_per_s"] for cycle in found),
        "moving_per_s": median(cycle["moving_per_s"] for cycle in found),
        "share": median(shares),
        "spread": spread(shares),
        "longest_us": max(cycle["longest_us"] for cycle in found),
        "move_ms": median(cycle["move_us"] for cycle in found) / 1e3,
        "faults": median(cycle["faults"] for cycle in found),
        "sound": all(cycle["sound"] for cycle in found),
        "count": len(found),
    }


def _churned(size_bytes: int, share: float, progress: Progress, *, everywhere: bool) -> Row:
    told = named(progress, f"{share:.0%} churned")
    found = measured(_native.measure_churned, size_bytes, share, everywhere=everywhere, progress=told)
    return {
        "kind": "churned",
        "size_bytes": size_bytes,
        "share": share,
        "where": "everywhere" if everywhere else "in one part",
        "live_bytes": found["live_bytes"],
        "bytes_evacuated": found["bytes_evacuated"],
        "evacuated_share": found["bytes_evacuated"] / found["live_bytes"],
        "pages_built": found["pages_built"],
        "pages_fixed": found["pages_fixed"],
        "pages_installed": found["pages_installed"],
        "worked_share": (found["pages_built"] + found["pages_fixed"]) / max(_pages(found), 1),
        "mark_ms": found["mark_us"] / 1e3,
        "move_ms": found["move_us"] / 1e3,
    }


def targets(rows: list[Row]) -> list[Target]:
    """The targets, judged by these rows."""

    def of(key: str, *works: str) -> float | None:
        return worst([row[key] for row in rows if row["kind"] == "worker" and row["work"] in works])

    shares = [row["share"] for row in rows if row["kind"] == "mutator" and row["share"] is not None]
    how = "nothing moved, or no pace to compare with: needs larger --sizes, or a machine less busy"
    moved = [row["evacuated_share"] for row in rows if row["kind"] == "churned" and row["share"] == _CHURNED_SHARE]
    return [
        Target(
            "fix or build a page, local / memcpy", of("ratio_to_memcpy", "fix_local", "build_local"), _MEMCPY_RATIO, "x"
        ),
        Target(
            "page with 256 random references", of("page_us", "fix_random", "build_random"), _RANDOM_US, "us", how=how
        ),
        Target("clean page / bare CONTINUE", of("ratio_to_continue", "install"), _CONTINUE_RATIO, "x"),
        Target("a mutator's share during the move", min(shares, default=None), _MUTATOR_SHARE, at_least=True, how=how),
        Target(
            "evacuated of a heap with 5 % churned / live",
            worst(list(moved)),
            _CHURNED_SHARE,
        ),
    ]


def tables(rows: list[Row]) -> list[Table]:
    """The worker, the mutator, and cycles by what is sparse."""
    kinds: dict[str, list[Row]] = {"worker": [], "mutator": [], "churned": []}
    for row in rows:
        kinds[row["kind"]].append(row)
    return [
        Table(
            "one worker, microseconds a page: all that makes it ready, CONTINUE included; memcpy and CONTINUE alone",
            [
                Column("", lambda row: f"{WORK[row['work']]}, {in_units(row['size_bytes'])}"),
                Column("a page", number("page_us", 2)),
                Column("spread", span("spread_us", 2)),
                Column("pages", number("pages", 0)),
                Column("memcpy", number("memcpy_us", 2)),
                Column("spread", span("memcpy_spread_us", 2)),
                Column("CONTINUE", number("continue_us", 2)),
                Column("/ memcpy", number("ratio_to_memcpy", 2)),
                Column("/ CONTINUE", number("ratio_to_continue", 2)),
            ],
            kinds["worker"],
        ),
        Table(
            "one mutator walking a random graph, half of it sparse, operations a second",
            [
                Column("live and dead", size("size_bytes")),
                Column("quiet", number("quiet_per_s", 0)),
                Column("marking", number("marking_per_s", 0)),
                Column("moving", number("moving_per_s", 0)),
                Column("share", number("share", 3)),
                Column("spread", span("spread", 3)),
                Column("move ms", number("move_ms", 0)),
                Column("faults", number("faults", 0)),
                Column("longest us", number("longest_us", 0)),
            ],
            kinds["mutator"],
        ),
        Table(
            "a cycle over a dense heap of which a part was churned",
            [
                Column("churned", lambda row: f"{row['share']:.0%} of {in_units(row['live_bytes'])}, {row['where']}"),
                Column("evacuated", size("bytes_evacuated")),
                Column("of live", lambda row: f"{row['evacuated_share']:.1%}"),
                Column("built", number("pages_built", 0)),
                Column("fixed", number("pages_fixed", 0)),
                Column("clean", number("pages_installed", 0)),
                Column("worked on", lambda row: f"{row['worked_share']:.1%}"),
                Column("mark ms", number("mark_ms", 0)),
                Column("move ms", number("move_ms", 0)),
            ],
            kinds["churned"],
        ),
    ]


MOVE = Benchmark(
    name="move",
    summary="what a page costs the worker, a mutator meanwhile, and what a cycle costs by what is sparse",
    sizes=Sizes("bytes", (256 << 20,), "bytes of objects made"),
    repetitions=3,
    run=run,
    targets=targets,
    tables=tables,
)
