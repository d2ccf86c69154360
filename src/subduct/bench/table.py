"""A table of a report: a title, and rows of a benchmark shown in columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from subduct.report.table import aligned

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: One row of a benchmark: figures by name, units last in the names.
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """A heading, and how a row's cell is made. An empty cell where the row has no such figure."""

    heading: str
    cell: Callable[[Row], str | None]


@dataclass(frozen=True, slots=True)
class Table:
    """Some rows, and the columns they are shown in. The first column is aligned to the left, the others to the right."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]

    def lines(self) -> list[str]:
        """As text, title first."""
        cells = [[column.heading for column in self.columns]]
        cells += [[column.cell(row) or "" for column in self.columns] for row in self.rows]
        return [self.title, *aligned(cells, right=frozenset(range(1, len(self.columns))))]


def number(key: str, digits: int = 1, unit: str = "") -> Callable[[Row], str | None]:
    """A cell with the number at `key`, where parts are joined by dots, with so many decimals."""

    def cell(row: Row) -> str | None:
        value = at(row, key)
        return None if value is None else f"{value:,.{digits}f}{unit}"

    return cell


def text(key: str) -> Callable[[Row], str | None]:
    """A cell with what is at `key`, as it is."""
    return lambda row: None if at(row, key) is None else str(at(row, key))


def span(key: str, digits: int = 1) -> Callable[[Row], str | None]:
    """A cell with the least and the most of the spread at `key`."""

    def cell(row: Row) -> str | None:
        found = at(row, key)
        return None if found is None else f"{found['min']:,.{digits}f}..{found['max']:,.{digits}f}"

    return cell


def size(key: str) -> Callable[[Row], str | None]:
    """A cell with a number of bytes in the largest binary unit of which there is at least one."""

    def cell(row: Row) -> str | None:
        value = at(row, key)
        return None if value is None else in_units(value)

    return cell


def in_units(size_bytes: float) -> str:
    """A size as people read it: 64 MiB, 1.5 GiB."""
    for unit, power in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size_bytes >= 1 << power:
            return f"{size_bytes / (1 << power):.4g} {unit}"
    return f"{size_bytes:.0f} B"


def at(row: Row, key: str) -> Any:
    """What is at a key whose parts are joined by dots; None where there is nothing."""
    found: Any = row
    for part in key.split("."):
        if not isinstance(found, dict) or part not in found:
            return None
        found = found[part]
    return found
