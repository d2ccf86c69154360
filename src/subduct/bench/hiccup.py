"""`hiccup`: the worst that threads feel while cycles run: single operations, a sleeper, the least utilisation."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

from subduct import _native
from subduct.bench.benchmark import Benchmark, Sizes
from subduct.bench.native import measured, named
from subduct.bench.samples import spread
from subduct.bench.table import Column, Row, Table, number, span
from subduct.bench.target import Target, worst

if TYPE_CHECKING:
    import argparse

    from subduct.bench.native import Progress

_LIMIT_US = 7_500.0
WINDOWS = ("1ms", "10ms", "100ms")


def run(arguments: argparse.Namespace, progress: Progress) -> list[Row]:
    """A row for each number of records; `phases` has what threads felt without cycles and with."""
    rows = []
    for records in arguments.sizes:
        runs = [
            measured(
                _native.measure_churn,
                records,
                threads=arguments.threads,
                seconds=arguments.seconds,
                delivery=None,
                recycle="pool",
                progress=named(progress, f"{records:,} records"),
            )
            for _ in range(arguments.repetitions)
        ]
        rows.append(_row(records, runs))
    return rows


def _row(records: int, runs: list[dict[str, Any]]) -> Row:
    steady = [max((each["us"] for each in run["longest"] if not each["stalled"]), default=None) for run in runs]
    return {
        "records": records,
        "threads": runs[0]["threads"],
        "delivery": runs[0]["delivery"],
        "repetitions": len(runs),
        "sound": all(run["sound"] for run in runs),
        "phases": {phase: _phase(runs, phase) for phase in ("quiet", "cycles")},
        "longest_us": max(run["cycles"]["operation"]["max_us"] for run in runs),
        "steady_longest_us": worst(steady),
        "sleeper_us": max(run["cycles"]["sleeper"]["max_us"] for run in runs),
        "collector": [run["collector"] for run in runs],
        "moves": sum(run["collector"]["moves"] for run in runs),
        "pause_max_us": max(run["collector"]["pause_max_us"] for run in runs),
        "stalls": [run["stalls"] for run in runs],
        "stall_us": max(run["stalls"]["max_us"] for run in runs),
        "memory_waits": sum(run["collector"]["stalls"] for run in runs),
        "held_back_ms": sum(run["collector"]["held_back_ms"] for run in runs),
        "rest_ms": sum(run["collector"]["rest_ms"] for run in runs),
        "longest": [run["longest"] for run in runs],
        "memory": [run["memory"] for run in runs],
    }


def _phase(runs: list[dict[str, Any]], phase: str) -> dict[str, Any]:
    found = [run[phase] for run in runs]
    return {
        "operations_per_s": median(each["operations_per_s"] for each in found),
        "spread_per_s": spread([each["operations_per_s"] for each in found]),
        "median_us": median(each["operation"]["median_us"] for each in found),
        "p99_us": median(each["operation"]["p99_us"] for each in found),
        "p99_9_us": median(each["operation"]["p99_9_us"] for each in found),
        "max_us": max(each["operation"]["max_us"] for each in found),
        "spread_max_us": spread([each["operation"]["max_us"] for each in found]),
        "count": sum(each["operation"]["count"] for each in found),
        "sleeper_p99_us": median(each["sleeper"]["p99_us"] for each in found),
        "sleeper_max_us": max(each["sleeper"]["max_us"] for each in found),
        "utilisation": {window: min(each["utilisation"][window] for each in found) for window in WINDOWS},
    }


def targets(rows: list[Row]) -> list[Target]:
    """The targets, judged by these rows."""
    moved = [row for row in rows if row["moves"]]
    how = "no cycle moved objects: needs more --seconds"
    return [
        Target(
            "worst single operation while cycles run",
            worst([row["longest_us"] for row in moved]),
            _LIMIT_US,
            "us",
            how=how,
        ),
        Target(
            "the same, without the machine's stalls",
            worst([row["steady_longest_us"] for row in moved]),
            _LIMIT_US,
            "us",
            how=how,
        ),
        Target(
            "worst 1 ms sleeper while cycles run", worst([row["sleeper_us"] for row in moved]), _LIMIT_US, "us", how=how
        ),
    ]


def tables(rows: list[Row]) -> list[Table]:
    """What threads felt, and what the collector did."""
    phases = [
        {
            "title": f"{row['records']:,} records, {row['threads']} threads, {name}",
            **row["phases"][phase],
        }
        for row in rows
        for phase, name in (("quiet", "no cycle"), ("cycles", "cycles running"))
    ]
    return [
        Table(
            "threads that read and replace records: operations, microseconds; a thread that sleeps 1 ms, how much later it runs",
            [
                Column("", lambda row: row["title"]),
                Column("a second", number("operations_per_s", 0)),
                Column("median", number("median_us", 2)),
                Column("p99", number("p99_us", 1)),
                Column("p99.9", number("p99_9_us", 0)),
                Column("max", number("max_us", 0)),
                Column("spread", span("spread_max_us", 0)),
                Column("sleeper p99", number("sleeper_p99_us", 0)),
                Column("max", number("sleeper_max_us", 0)),
            ],
            phases,
        ),
        Table(
            "least share of a thread's time that was its own (operations no longer than 99 of 100 without cycles)",
            [
                Column("in any", lambda row: row["title"]),
                *[Column(window.replace("ms", " ms"), number(f"utilisation.{window}", 3)) for window in WINDOWS],
            ],
            phases,
        ),
        Table(
            "beside it: the collector, and the control threads",
            [
                Column("records", number("records", 0)),
                Column("moves", number("moves", 0)),
                Column("longest pause us", number("pause_max_us", 0)),
                Column("waits for memory", number("memory_waits", 0)),
                Column("held back ms", number("held_back_ms", 0)),
                Column("marking rested ms", number("rest_ms", 0)),
                Column("machine's longest stall us", number("stall_us", 0)),
                Column("worst operation without us", number("steady_longest_us", 0)),
            ],
            rows,
        ),
    ]


HICCUP = Benchmark(
    name="hiccup",
    summary="the worst that threads feel while cycles run",
    sizes=Sizes("count", (4_000_000,), "records alive at any time"),
    repetitions=2,
    threads=2,
    seconds=15.0,
    run=run,
    targets=targets,
    tables=tables,
)
