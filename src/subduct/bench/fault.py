"""`fault`: an access to a page that is not ready, beside a handler that only continues."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

from subduct import _native
from subduct.bench.benchmark import Benchmark, Sizes, positive
from subduct.bench.native import measured, named
from subduct.bench.samples import batches, ratio, spread, times
from subduct.bench.table import Column, Row, Table, in_units, number, size, span
from subduct.bench.target import Target, worst

if TYPE_CHECKING:
    import argparse

    from subduct.bench.native import Progress

_RATIO = 1.5
_LEAST_BYTES = 16 << 10
_MOST_BYTES = 64 << 10

#: What was timed, as the native module names it, and as people do.
KINDS = {
    "heap": "heap operation with one fault",
    "bare": "handler that only continues as many pages",
    "bare_quiet": "the same, no worker beside it",
    "bare_one": "the same, one page",
    "first_touch": "first touch without userfaultfd",
    "heap_ready": "heap operation without a fault",
}


def run(arguments: argparse.Namespace, progress: Progress) -> list[Row]:
    """A row for each size."""
    rows = []
    for size_bytes in arguments.sizes:
        found = measured(
            _native.measure_fault,
            size_bytes,
            flips=arguments.flips,
            delivery="sigbus",
            progress=named(progress, in_units(size_bytes)),
        )
        rows.append(_row(size_bytes, found, arguments.repetitions))
    return rows


def _row(size_bytes: int, found: dict[str, Any], repetitions: int) -> Row:
    kinds: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        samples = found[f"{kind}_us"]
        if samples:
            kinds[kind] = {
                **times(samples),
                "spread_us": spread([median(batch) for batch in batches(samples, repetitions)]),
            }
    bare = kinds["bare"]["median_us"] if "bare" in kinds else 0.0
    for figures in kinds.values():
        figures["ratio_to_bare"] = ratio(figures["median_us"], bare)
    return {
        "size_bytes": size_bytes,
        **kinds,
        "ratio_to_bare": kinds["heap"]["ratio_to_bare"] if "heap" in kinds else None,
        "pages_per_fault": found["pages_per_fault"],
        "bytes_per_fault": found["bytes_per_fault"],
        "faults": found["faults"],
    }


def targets(rows: list[Row]) -> list[Target]:
    """The targets, judged by these rows."""
    together = [row["bytes_per_fault"] for row in rows if row["faults"]]
    return [
        Target(
            "median fault / handler that only continues", worst([row["ratio_to_bare"] for row in rows]), _RATIO, "x"
        ),
        Target("bytes served together, on average", min(together, default=None), _LEAST_BYTES, "bytes", at_least=True),
        Target("bytes served together, on average", max(together, default=None), _MOST_BYTES, "bytes"),
    ]


def tables(rows: list[Row]) -> list[Table]:
    """One table for each size."""
    columns = [
        Column("", lambda row: row["kind"]),
        Column("median", number("median_us", 2)),
        Column("spread", span("spread_us", 2)),
        Column("p99", number("p99_us", 2)),
        Column("max", number("max_us", 0)),
        Column("count", number("count", 0)),
        Column("/ bare", number("ratio_to_bare", 2)),
    ]
    shown = []
    for row in rows:
        title = (
            f"one access, microseconds, {in_units(row['size_bytes'])} alive; a fault serves "
            f"{row['pages_per_fault']:.1f} pages ({size('bytes_per_fault')(row)}) on average"
        )
        kinds = [{"kind": name, **row[kind]} for kind, name in KINDS.items() if kind in row]
        shown.append(Table(title, columns, kinds))
    return shown


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--flips", type=positive, default=20, metavar="N", help="flips for each size (default: 20)")


FAULT = Benchmark(
    name="fault",
    summary="an access to a page that is not ready, beside a handler that only continues",
    sizes=Sizes("bytes", (512 << 20,), "live bytes of the heap"),
    repetitions=5,
    options=_options,
    run=run,
    targets=targets,
    tables=tables,
)
