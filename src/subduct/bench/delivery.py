"""`delivery`: what Python pays for a value, a field and a record with each delivery, and how each collects."""

from __future__ import annotations

import gc
import time
from contextlib import ExitStack
from random import Random
from statistics import median
from typing import TYPE_CHECKING, Any

from subduct import Heap, Unsupported, _native
from subduct.bench.benchmark import Benchmark, Sizes
from subduct.bench.native import measured, named
from subduct.bench.record import record
from subduct.bench.samples import ratio, spread
from subduct.bench.table import Column, Row, Table, number, span
from subduct.bench.target import Target

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable

    from subduct.bench.native import Progress

_GET_NS = 250.0
_FIELD_NS = 100.0
_SET_NS = 1_500.0
_SOFTWARE_RATIO = 1.10
DELIVERIES = ("sigbus", "thread", "software", "pause")
#: The builtin dict, measured the same way.
BUILTIN = "dict"
OPERATIONS = ("get", "field", "set")
# Accesses in one timed loop: some ten milliseconds.
_LOOP = 50_000
# Record proxies that are held while their fields are read.
_HELD = 1_000
_BYTES_PER_RECORD = 2_000
_LEAST_BUDGET = 256 << 20


def run(arguments: argparse.Namespace, progress: Progress) -> list[Row]:
    """A row for each delivery, and one for the builtin dict, for each number of records."""
    rows = []
    for records in arguments.sizes:
        told = named(progress, f"{records:,} records")
        with ExitStack() as stack:
            subjects, refused = _subjects(records, stack)
            told(f"Python on {', '.join(subjects)}")
            access = _accesses(subjects, records, arguments.repetitions)
        for name in (*DELIVERIES, BUILTIN):
            row: Row = {"delivery": name, "records": records}
            if name in refused:
                rows.append(row | {"unavailable": refused[name]})
                continue
            row |= {operation: access[name, operation] for operation in OPERATIONS}
            if name != BUILTIN:
                row["churn"] = _churn(name, records, arguments, told)
            rows.append(row)
        _compare([row for row in rows if row["records"] == records])
    return rows


def _subjects(records: int, stack: ExitStack) -> tuple[dict[str, Any], dict[str, str]]:
    """A filled dict of records for each delivery that works here, and why the others do not."""
    subjects: dict[str, Any] = {}
    refused: dict[str, str] = {}
    for name in DELIVERIES:
        budget = max(_BYTES_PER_RECORD * records, _LEAST_BUDGET)
        try:
            # mypy knows the names that the package promises; a benchmark asks for all there may be.
            heap = stack.enter_context(Heap(budget, delivery=name, name=f"subduct-bench-{name}"))  # type: ignore[arg-type]
        except (Unsupported, ValueError) as error:
            refused[name] = str(error)
            continue
        heap.root["data"] = {"scalars": {}, "records": {}}
        subjects[name] = heap.root["data"]
    subjects[BUILTIN] = {"scalars": {}, "records": {}}
    for data in subjects.values():
        data["scalars"].update({number: number * 3 for number in range(records)})
        data["records"].update({number: record(number) for number in range(records)})
    return subjects, refused


def _accesses(subjects: dict[str, Any], records: int, repetitions: int) -> dict[tuple[str, str], dict[str, Any]]:
    """Nanoseconds for each operation on each subject. The subjects take turns, so that a slow moment of the machine hits all."""
    random = Random(1)
    keys = [random.randrange(records) for _ in range(_LOOP)]
    taken: dict[tuple[str, str], list[float]] = {}
    held = {name: [data["records"][key] for key in keys[:_HELD]] for name, data in subjects.items()}
    enabled = gc.isenabled()
    gc.disable()
    try:
        turns = list(subjects.items())
        for _ in range(repetitions + 1):
            # Nobody is always the first.
            turns.append(turns.pop(0))
            for name, data in turns:
                scalars, stored, new = data["scalars"], data["records"], record(0)
                for operation, timed in (
                    ("get", lambda: _get(scalars, keys)),  # noqa: B023
                    ("field", lambda: _field(held[name] * (_LOOP // _HELD))),  # noqa: B023
                    ("set", lambda: _set(stored, keys, new)),  # noqa: B023
                ):
                    taken.setdefault((name, operation), []).append(_ns(timed))
    finally:
        if enabled:
            gc.enable()
    # The first round warms up.
    return {which: {"median_ns": median(ns[1:]), "spread_ns": spread(ns[1:])} for which, ns in taken.items()}


def _ns(loop: Callable[[], None]) -> float:
    began = time.perf_counter()
    loop()
    return (time.perf_counter() - began) * 1e9 / _LOOP


def _get(scalars: Any, keys: Iterable[int]) -> None:
    for key in keys:
        scalars[key]


def _field(records: Iterable[Any]) -> None:
    for each in records:
        each["id"]


def _set(records: Any, keys: Iterable[int], new: dict[str, Any]) -> None:
    for key in keys:
        records[key] = new


def _churn(delivery: str, records: int, arguments: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    """How a heap with that delivery collects under threads that do nothing but use it."""
    found = measured(
        _native.measure_churn,
        records,
        threads=arguments.threads,
        seconds=arguments.seconds,
        delivery=delivery,
        recycle="pool",
        progress=named(progress, delivery),
    )
    collector = found["collector"]
    return {
        "operations_per_s": found["cycles"]["operations_per_s"],
        "p99_9_us": found["cycles"]["operation"]["p99_9_us"],
        "max_us": found["cycles"]["operation"]["max_us"],
        "moves": collector["moves"],
        "pause_median_us": collector["pause_p50_us"],
        "pause_p99_us": collector["pause_p99_us"],
        "pause_max_us": collector["pause_max_us"],
        "sound": found["sound"],
    }


def _compare(rows: list[Row]) -> None:
    """Adds to each row how its operations compare with those of the dict, and of sigbus."""
    by_name = {row["delivery"]: row for row in rows}
    for row in rows:
        for other in (BUILTIN, "sigbus"):
            reference = by_name.get(other, {})
            if "get" in row and "get" in reference:
                row[f"ratio_to_{other}"] = {
                    operation: ratio(row[operation]["median_ns"], reference[operation]["median_ns"])
                    for operation in OPERATIONS
                }


def targets(rows: list[Row]) -> list[Target]:
    """The targets, judged by these rows; those of speed for what a heap chooses first, sigbus."""
    by_name = {row["delivery"]: row for row in rows}
    first = by_name.get("sigbus", {})

    def ns(operation: str) -> float | None:
        return first[operation]["median_ns"] if operation in first else None

    software = by_name.get("software", {}).get("ratio_to_sigbus")
    how = "this delivery does not work here"
    return [
        Target("scalar get, sigbus", ns("get"), _GET_NS, "ns", how=how),
        Target("field of a record, sigbus", ns("field"), _FIELD_NS, "ns", how=how),
        Target("storing a record of four fields, sigbus", ns("set"), _SET_NS, "ns", how=how),
        Target("scalar get, software / sigbus", software["get"] if software else None, _SOFTWARE_RATIO, "x", how=how),
    ]


def tables(rows: list[Row]) -> list[Table]:
    """Python's accesses, and the collector."""
    return [
        Table(
            "one access through Python, nanoseconds, the loop around it included",
            [
                Column("", lambda row: f"{row['delivery']}, {row['records']:,} records"),
                Column("scalar get", number("get.median_ns", 0)),
                Column("spread", span("get.spread_ns", 0)),
                Column("record field", number("field.median_ns", 0)),
                Column("spread", span("field.spread_ns", 0)),
                Column("store a record", number("set.median_ns", 0)),
                Column("spread", span("set.spread_ns", 0)),
                Column("get / sigbus", number("ratio_to_sigbus.get", 2)),
                Column("get / dict", number("ratio_to_dict.get", 1)),
                Column("", lambda row: row.get("unavailable")),
            ],
            rows,
        ),
        Table(
            "threads that read and replace records natively: operations, and the collector's pauses, microseconds",
            [
                Column("", lambda row: f"{row['delivery']}, {row['records']:,} records"),
                Column("operations/s", number("churn.operations_per_s", 0)),
                Column("p99.9", number("churn.p99_9_us", 0)),
                Column("max", number("churn.max_us", 0)),
                Column("moves", number("churn.moves", 0)),
                Column("pause median", number("churn.pause_median_us")),
                Column("p99", number("churn.pause_p99_us")),
                Column("max", number("churn.pause_max_us")),
            ],
            [row for row in rows if "churn" in row],
        ),
    ]


DELIVERY = Benchmark(
    name="delivery",
    summary="what Python pays for an access with each delivery, and how each collects",
    sizes=Sizes("count", (200_000,), "records in each heap"),
    repetitions=7,
    threads=2,
    seconds=5.0,
    run=run,
    targets=targets,
    tables=tables,
)
