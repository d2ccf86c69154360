"""`memory`: what stays resident after churn, what the policies of reuse cost, and records beside CPython's dicts."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from subduct import _native
from subduct.bench.benchmark import Benchmark, Sizes
from subduct.bench.footprint import footprint
from subduct.bench.native import measured, named
from subduct.bench.samples import ratio, spread
from subduct.bench.table import Column, Row, Table, number, size, span
from subduct.bench.target import Target, worst

if TYPE_CHECKING:
    import argparse

    from subduct.bench.native import Progress

_MIB = 1 << 20
_OVERHEAD = 1.10
_SLACK_BYTES = 4 * _MIB
_TABLES_SHARE = 0.04
_DICTS_RATIO = 0.35
_DICTS_RECORDS = 2_000_000
_TABLES_BYTES = 256 * _MIB
# Native records for the policies: a share of those that Python makes, since a policy shows with any number.
_POLICY_SHARE = 4
POLICIES = ("keep", "pool", "release")


def run(arguments: argparse.Namespace, progress: Progress) -> list[Row]:
    """Rows of three kinds: `policy`, `tables` and `records`."""
    rows = [_tables(move_all, progress) for move_all in (False, True)]
    for records in arguments.sizes:
        told = named(progress, f"{records:,} records")
        churned = max(records // _POLICY_SHARE, 1)
        rows += [_policy(policy, churned, arguments, told) for policy in POLICIES]
        rows.append(_records(records, told))
    return rows


def _policy(policy: str, records: int, arguments: argparse.Namespace, progress: Progress) -> Row:
    runs = [
        measured(
            _native.measure_churn,
            records,
            threads=arguments.threads,
            seconds=arguments.seconds,
            delivery=None,
            recycle=policy,
            progress=named(progress, f"recycle={policy}"),
        )
        for _ in range(arguments.repetitions)
    ]
    memory = [run["memory"] for run in runs]
    rates = [run["cycles"]["operations_per_s"] for run in runs]
    return {
        "kind": "policy",
        "policy": policy,
        "records": records,
        "operations_per_s": median(rates),
        "spread_per_s": spread(rates),
        "p99_us": median(run["cycles"]["operation"]["p99_us"] for run in runs),
        "cycles": sum(run["collector"]["cycles"] for run in runs),
        "peak_bytes": max(each["peak_bytes"] for each in memory),
        "resident_bytes": max(each["resident_bytes"] for each in memory),
        "live_bytes": max(each["collected_live_bytes"] for each in memory),
        "collected_bytes": max(each["collected_resident_bytes"] for each in memory),
        "over_live": max(
            (each["collected_resident_bytes"] - _SLACK_BYTES) / each["collected_live_bytes"] for each in memory
        ),
        "count": len(runs),
    }


def _tables(move_all: bool, progress: Progress) -> Row:
    found = measured(
        _native.measure_side_tables, _TABLES_BYTES, move_all=move_all, progress=named(progress, "side tables")
    )
    return {
        "kind": "tables",
        "moved": move_all,
        "private_bytes": found["private_bytes"],
        "live_bytes": found["live_bytes"],
        "share": found["private_bytes"] / found["live_bytes"],
    }


def _records(records: int, progress: Progress) -> Row:
    progress("dicts of CPython")
    dicts = footprint("dicts", records)
    progress("in a heap")
    heap = footprint("heap", records)
    return {
        "kind": "records",
        "records": records,
        "dict_bytes": dicts["bytes"],
        "dict_build_s": dicts["seconds"],
        "heap_bytes": heap["bytes"],
        "heap_file_bytes": heap["file_bytes"],
        "heap_build_s": heap["seconds"],
        "record_bytes": heap["bytes"] / records,
        "ratio_to_dicts": ratio(heap["bytes"], dicts["bytes"]),
    }


def targets(rows: list[Row]) -> list[Target]:
    """The targets, judged by these rows."""

    def of(kind: str, key: str) -> float | None:
        return worst([row[key] for row in rows if row["kind"] == kind])

    large = [row["ratio_to_dicts"] for row in rows if row["kind"] == "records" and row["records"] >= _DICTS_RECORDS]
    # A policy of keeping everything is asked for what it promises, not for what it must not do.
    given_back = [row["over_live"] for row in rows if row["kind"] == "policy" and row["policy"] != "keep"]
    return [
        Target("(resident - 4 MiB) / live after a full collection", worst(list(given_back)), _OVERHEAD, "x"),
        Target("side tables / heap", of("tables", "share"), _TABLES_SHARE),
        Target("2M small records / dicts", worst(large), _DICTS_RATIO, "x", how="needs --sizes 2M"),
    ]


def tables(rows: list[Row]) -> list[Table]:
    """The policies, the side tables, the records."""
    kinds: dict[str, list[Row]] = {"policy": [], "tables": [], "records": []}
    for row in rows:
        kinds[row["kind"]].append(row)
    return [
        Table(
            "churn, by what becomes of freed memory",
            [
                Column("recycle", lambda row: f"{row['policy']}, {row['records']:,} records"),
                Column("operations/s", number("operations_per_s", 0)),
                Column("spread", span("spread_per_s", 0)),
                Column("p99 us", number("p99_us", 1)),
                Column("cycles", number("cycles", 0)),
                Column("peak", size("peak_bytes")),
                Column("after the churn", size("resident_bytes")),
                Column("collected", size("collected_bytes")),
                Column("live", size("live_bytes")),
                Column("(collected - 4 MiB) / live", number("over_live", 3)),
            ],
            kinds["policy"],
        ),
        Table(
            "side tables: private memory of the process beside the heap's file",
            [
                Column("after a cycle", lambda row: "that moved everything" if row["moved"] else "that moved nothing"),
                Column("live", size("live_bytes")),
                Column("tables", size("private_bytes")),
                Column("share", lambda row: f"{row['share']:.1%}"),
            ],
            kinds["tables"],
        ),
        Table(
            "small records ({id, name, email, balance}), each in a process of its own: all memory it takes",
            [
                Column("records", number("records", 0)),
                Column("dicts", size("dict_bytes")),
                Column("heap, tables included", size("heap_bytes")),
                Column("its file", size("heap_file_bytes")),
                Column("bytes a record", number("record_bytes", 0)),
                Column("ratio", number("ratio_to_dicts", 3)),
                Column("dicts s", number("dict_build_s", 1)),
                Column("heap s", number("heap_build_s", 1)),
            ],
            kinds["records"],
        ),
    ]


MEMORY = Benchmark(
    name="memory",
    summary="what stays resident, what reuse costs, and records beside dicts",
    sizes=Sizes("count", (_DICTS_RECORDS,), "small records"),
    repetitions=1,
    threads=2,
    seconds=5.0,
    run=run,
    targets=targets,
    tables=tables,
)
