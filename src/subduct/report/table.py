"""Small tables of text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def aligned(rows: Iterable[Sequence[str]], *, right: frozenset[int] = frozenset()) -> list[str]:
    """Lines with the cells of each column below one another, two spaces between columns. The columns in `right` are
    aligned to the right; the last column is not padded."""
    table = [list(row) for row in rows]
    columns = max(map(len, table), default=0)
    widths = [max(len(row[column]) for row in table if column < len(row)) for column in range(columns)]
    lines = []
    for row in table:
        cells = [
            cell.rjust(widths[column]) if column in right else cell.ljust(widths[column])
            for column, cell in enumerate(row)
        ]
        lines.append("  ".join(cells).rstrip())
    return lines
