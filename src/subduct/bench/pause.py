"""`pause`: the flip, by heap size, beside the two bare system calls on the same window with the same threads parked."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from subduct import _native
from subduct.bench.benchmark import Benchmark, Sizes, positive
from subduct.bench.native import measured, named
from subduct.bench.samples import batches, quantile, ratio, spread, times
from subduct.bench.table import Column, Row, Table, at, in_units, number, size, span
from subduct.bench.target import Target, worst

if TYPE_CHECKING:
    import argparse

    from subduct.bench.native import Progress

_GIB = 1 << 30
_RATIO = 1.3
_P99_US = 150.0
_P99_SIZE_BYTES = 8 * _GIB
_LONGEST_US = 286.0
_RENDEZVOUS_US = 100.0
_FLIPS = 200
# Bytes marked in all for the rendezvous of marking: a few gigabytes take some seconds.
_MARKED_BYTES = 4 * _GIB
_MARKS = (3, 20)

#: Other ways to take the pages away, as the native module names them, and as people do.
WAYS = {
    "move_2mib_aligned": "move at 2 MiB, not 1 GiB",
    "misaligned_move": "misaligned move",
    "register_first_move": "register first, then move",
    "madv_dontneed": "MADV_DONTNEED",
    "map_fixed_over": "mmap(MAP_FIXED) over it",
    "fork": "fork of as much memory",
    "memcpy": "memcpy of it all",
    "empty_continue": "CONTINUE of every page",
}


def run(arguments: argparse.Namespace, progress: Progress) -> list[Row]:
    """A row for each size."""
    rows = []
    for size_bytes in arguments.sizes:
        marks = min(max(_MARKED_BYTES // size_bytes, _MARKS[0]), _MARKS[1])
        found = measured(
            _native.measure_pause,
            size_bytes,
            flips=arguments.flips,
            threads=arguments.threads,
            marks=marks,
            repetitions=arguments.alternatives,
            progress=named(progress, in_units(size_bytes)),
        )
        rows.append(_row(size_bytes, found, arguments.repetitions))
    return rows


def _row(size_bytes: int, found: dict[str, Any], repetitions: int) -> Row:
    pauses = found["pause_us"]
    steady = [pause for pause, stalled in zip(pauses, found["stalled"], strict=True) if not stalled]
    bare = found["bare_us"]
    return {
        "size_bytes": size_bytes,
        **times(pauses),
        "spread_us": spread([median(batch) for batch in batches(pauses, repetitions)]),
        "stalled": len(pauses) - len(steady),
        "steady_p99_us": quantile(steady, 0.99) if steady else None,
        "steady_max_us": max(steady, default=None),
        "bare": times(bare) | {"spread_us": spread([median(batch) for batch in batches(bare, repetitions)])},
        "bare_parked": times(found["bare_parked_us"]),
        "parking": times(found["parking_us"]),
        "ratio_to_bare": ratio(median(pauses), median(bare)),
        "ratio_to_bare_parked": ratio(median(pauses), median(found["bare_parked_us"])),
        "mark_start": times(found["mark_start_us"]),
        "mark_end": times(found["mark_end_us"]),
        "alternatives": {
            name: _alternative(samples, median(pauses)) for name, samples in found["alternatives"].items()
        },
        "stalls": found["stalls"],
        "threads": found["threads"],
        "live_bytes": found["live_bytes"],
        "resident_bytes": found["resident_bytes"],
        "window_bytes": found["window_bytes"],
    }


def _alternative(samples: Any, pause_us: float) -> dict[str, Any]:
    if isinstance(samples, dict):
        return samples
    return {**times(samples), "spread_us": spread(samples), "ratio_to_pause": ratio(median(samples), pause_us)}


def targets(rows: list[Row]) -> list[Target]:
    """The targets, judged by these rows."""
    counted = [row for row in rows if row["count"] >= _FLIPS]
    large = [row for row in rows if row["size_bytes"] >= _P99_SIZE_BYTES]
    rendezvous = [row[which]["median_us"] for row in rows for which in ("mark_start", "mark_end")]
    return [
        Target("median pause / bare calls, worst size", worst([row["ratio_to_bare"] for row in rows]), _RATIO, "x"),
        Target(
            "p99 of the pause from 8 GiB on, stalls apart",
            worst([row["steady_p99_us"] for row in large]),
            _P99_US,
            "us",
            how="needs --sizes 8GiB",
        ),
        Target(
            "longest pause, stalls apart, 200 flips a size",
            worst([row["steady_max_us"] for row in counted]),
            _LONGEST_US,
            "us",
            how="needs --flips 200",
        ),
        Target("median rendezvous where marking begins or ends", worst(rendezvous), _RENDEZVOUS_US, "us"),
    ]


def tables(rows: list[Row]) -> list[Table]:
    """Pauses beside the bare calls; the rendezvous and the control; the alternatives."""
    alternatives = [
        {"way": way, "size_bytes": row["size_bytes"], **at(row, f"alternatives.{name}")}
        for row in rows
        for name, way in WAYS.items()
        if at(row, f"alternatives.{name}") is not None
    ]
    return [
        Table(
            "pause, microseconds: threads kept out by a flip; bare: mremap and register alone, same threads parked",
            [
                Column("live", size("size_bytes")),
                Column("median", number("median_us")),
                Column("spread", span("spread_us")),
                Column("p99", number("p99_us")),
                Column("max", number("max_us")),
                Column("flips", number("count", 0)),
                Column("bare median", number("bare.median_us")),
                Column("spread", span("bare.spread_us")),
                Column("bare p99", number("bare.p99_us")),
                Column("bare max", number("bare.max_us")),
                Column("ratio", number("ratio_to_bare", 2)),
                Column("bare + parking", number("bare_parked.median_us")),
            ],
            rows,
        ),
        Table(
            "beside it, microseconds: parking alone; rendezvous where marking begins and ends; the control threads",
            [
                Column("live", size("size_bytes")),
                Column("parking", number("parking.median_us")),
                Column("mark start", number("mark_start.median_us")),
                Column("max", number("mark_start.max_us")),
                Column("mark end", number("mark_end.median_us")),
                Column("max", number("mark_end.max_us")),
                Column("stalls", number("stalls.count", 0)),
                Column("longest", number("stalls.max_us", 0)),
                Column("flips in stalls", number("stalled", 0)),
                Column("p99 without", number("steady_p99_us")),
                Column("max without", number("steady_max_us")),
            ],
            rows,
        ),
        Table(
            "instead of it, microseconds, same threads parked",
            [
                Column("way", lambda row: f"{row['way']}, {in_units(row['size_bytes'])}"),
                Column("median", number("median_us", 0)),
                Column("spread", span("spread_us", 0)),
                Column("/ pause", number("ratio_to_pause", 0)),
                Column("", lambda row: row.get("unavailable")),
            ],
            alternatives,
        ),
    ]


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--flips", type=positive, default=_FLIPS, metavar="N", help="flips for each size (default: 200)"
    )
    parser.add_argument(
        "--alternatives",
        type=int,
        choices=range(101),
        default=3,
        metavar="N",
        help="how often each alternative is measured; 0 leaves them out (default: 3)",
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the pause against the heap's size, as SVG")


PAUSE = Benchmark(
    name="pause",
    summary="the flip by heap size, beside the bare system calls and what else could be done",
    sizes=Sizes("bytes", (64 << 20, 256 << 20, 1 << 30), "live bytes of the heap"),
    repetitions=5,
    threads=1,
    options=_options,
    run=run,
    targets=targets,
    tables=tables,
)
