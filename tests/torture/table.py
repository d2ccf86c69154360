"""What the command prints at the end."""

from collections.abc import Iterable
from itertools import groupby

from torture.driver import Result

HEAD = ("torment", "delivery", "slices", "seconds", "rounds", "operations", "cycles", "moves", "faults", "result")
COUNTS = HEAD[4:-1]
TEXTS = 2


def table(results: Iterable[Result]) -> str:
    """A row for each torment over each delivery, with the sums of its slices."""

    def key(result: Result) -> tuple[str, str]:
        return result.slice.name, result.slice.delivery

    rows = [HEAD, *(_row(*each, list(group)) for each, group in groupby(sorted(results, key=key), key))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        [
            cell.rjust(width) if TEXTS <= at < len(HEAD) - 1 else cell.ljust(width)
            for at, (cell, width) in enumerate(cells)
        ]
        for cells in (zip(row, widths, strict=True) for row in rows)
    ]
    return "\n".join("  ".join(line).rstrip() for line in lines)


def _row(name: str, delivery: str, results: list[Result]) -> tuple[str, ...]:
    sums = [sum(each.done.get(count, 0) for each in results) for count in COUNTS]
    failed = sum(bool(each.problem) for each in results)
    counts = (f"{sum(each.seconds for each in results):,.1f}", *(f"{each:,}" for each in sums))
    return name, delivery, str(len(results)), *counts, f"{failed} FAILED" if failed else "well"
