"""`mark`: nanoseconds for each object of a graph, beside CPython's collector."""

from __future__ import annotations

import gc
import time
from random import Random
from statistics import median
from typing import TYPE_CHECKING

from subduct import _native
from subduct.bench.benchmark import Benchmark, Sizes
from subduct.bench.native import measured, named
from subduct.bench.samples import ratio, spread
from subduct.bench.table import Column, Row, Table, number, span
from subduct.bench.target import Target, worst

if TYPE_CHECKING:
    import argparse

    from subduct.bench.native import Progress

_LIMIT_NS = 60.0
_TARGET_OBJECTS = 10_000_000
# A graph of lists takes ten times the memory; its cost for each object hardly depends on their number.
_CPYTHON_OBJECTS = 1_000_000
_REFERENCES = 4

#: What objects refer to, as the rows name it, and as people do.
GRAPHS = {"local": "references to neighbours", "random": "random references"}


def run(arguments: argparse.Namespace, progress: Progress) -> list[Row]:
    """Two rows for each number of objects: references to neighbours, and random ones."""
    rows = []
    for objects in arguments.sizes:
        for graph in GRAPHS:
            told = named(progress, f"{objects:,} objects, {GRAPHS[graph]}")
            rows.append(_row(objects, graph, arguments.repetitions, told))
    return rows


def _row(objects: int, graph: str, repetitions: int, progress: Progress) -> Row:
    is_random = graph == "random"
    found = measured(_native.measure_mark, objects, random=is_random, cycles=repetitions, progress=progress)
    each_ns = [mark_us * 1e3 / found["live_objects"] for mark_us in found["mark_us"]]
    progress("CPython's collector")
    python_objects = min(objects, _CPYTHON_OBJECTS)
    python_ns = collect_lists(python_objects, repetitions, is_random=is_random)
    return {
        "graph": graph,
        "objects": found["live_objects"],
        "live_bytes": found["live_bytes"],
        "mark_ms": median(found["mark_us"]) / 1e3,
        "object_ns": median(each_ns),
        "spread_ns": spread(each_ns),
        "reference_ns": median(found["mark_us"]) * 1e3 / found["references"],
        "count": len(each_ns),
        "cpython_objects": python_objects,
        "cpython_ns": median(python_ns),
        "cpython_spread_ns": spread(python_ns),
        "ratio_to_cpython": ratio(median(each_ns), median(python_ns)),
    }


def collect_lists(objects: int, repetitions: int, *, is_random: bool) -> list[float]:
    """Nanoseconds for each object of `gc.collect()` on so many lists that refer to four others, at random or beside them; one
    figure for each repetition."""
    random = Random(1)
    lists: list[list[object]] = [[] for _ in range(objects)]
    for place, each in enumerate(lists):
        near = range(place - 1, place - 1 - _REFERENCES, -1)
        each.extend(lists[random.randrange(objects) if is_random else other] for other in near)
    gc.collect()
    taken = []
    for _ in range(repetitions):
        began = time.perf_counter()
        gc.collect()
        taken.append((time.perf_counter() - began) * 1e9 / objects)
    for each in lists:
        each.clear()
    return taken


def targets(rows: list[Row]) -> list[Target]:
    """The target, judged by these rows."""
    large = [row["object_ns"] for row in rows if row["objects"] >= _TARGET_OBJECTS]
    return [Target("marking an object, from 10M objects on", worst(large), _LIMIT_NS, "ns", how="needs --sizes 10M")]


def tables(rows: list[Row]) -> list[Table]:
    """One table."""
    return [
        Table(
            "a full mark of objects that refer to four others each, and gc.collect() of lists that do",
            [
                Column("objects", lambda row: f"{row['objects']:,}, {GRAPHS[row['graph']]}"),
                Column("MiB", lambda row: f"{row['live_bytes'] / (1 << 20):,.0f}"),
                Column("mark ms", number("mark_ms", 0)),
                Column("ns an object", number("object_ns", 1)),
                Column("spread", span("spread_ns", 1)),
                Column("ns a reference", number("reference_ns", 1)),
                Column("lists", number("cpython_objects", 0)),
                Column("ns a list", number("cpython_ns", 1)),
                Column("spread", span("cpython_spread_ns", 1)),
                Column("ratio", number("ratio_to_cpython", 2)),
            ],
            rows,
        )
    ]


MARK = Benchmark(
    name="mark",
    summary="marking a graph that does not fit the caches, beside CPython's collector",
    sizes=Sizes("count", (_TARGET_OBJECTS,), "objects of the graph", least=2 * _REFERENCES),
    repetitions=3,
    run=run,
    targets=targets,
    tables=tables,
)
