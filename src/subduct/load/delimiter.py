"""Which character separates the columns of a CSV file."""

from __future__ import annotations

import csv
import sys
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from subduct.load.origin import RecordFile

#: The characters that are looked for, and their names in messages.
NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}

# What is looked at: so many rows, and no more bytes.
_ROWS = 100
_BYTES = 1 << 20


class DelimiterError(Exception):
    """The first rows do not say how their columns are separated. The text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Delimiter:
    """A separator of columns, how many the header row has with it, and which characters were tried."""

    character: str
    columns: int
    tried: str

    def __str__(self) -> str:
        """What a person should know: it may not be what the file means."""
        if self.columns == 1:
            tried = ", ".join(map(name_of, self.tried))
            return f"one column: the header row is not split (tried: {tried}); --delimiter takes another character"
        return f"{self.columns} columns, separated by {name_of(self.character)}"


@dataclass(frozen=True, slots=True)
class _Look:
    """The first rows as one delimiter splits them: columns of the header, columns of each row below, and whether the
    quotes of all of them make sense."""

    character: str
    columns: int
    widths: list[int]
    sound: bool

    @property
    def rank(self) -> tuple[bool, float, int]:
        """What fits better is greater: quotes that make sense, then rows as wide as the header, then more columns."""
        return (self.sound, self._share(lambda width: width == self.columns), self.columns)

    @property
    def splits_most_rows(self) -> bool:
        """Whether more than half of the rows below the header have more than one column."""
        return self._share(lambda width: width > 1) > 0.5

    def _share(self, wanted: Callable[[int], bool]) -> float:
        return sum(map(wanted, self.widths)) / len(self.widths) if self.widths else 0.0


def name_of(character: str) -> str:
    """How messages name a delimiter."""
    return NAMES.get(character, repr(character))


def reader(lines: Iterable[str], delimiter: str) -> Any:
    """Rows of a CSV text; a misplaced or missing quote is a csv.Error."""
    # The module's limit guards against a missing quote; here a field may be as long as the file.
    csv.field_size_limit(sys.maxsize)
    return csv.reader(lines, strict=True, delimiter=delimiter)


def is_declaration(row: list[str]) -> bool:
    """Whether a row, split by the delimiter, is the line `sep=;` that spreadsheets write before the header."""
    return row == ["sep=", ""]


def given_delimiter(file: RecordFile, character: str) -> Delimiter:
    """The delimiter that somebody has named."""
    return Delimiter(character, _look(file, character).columns, character)


def find_delimiter(file: RecordFile, named: str | None) -> Delimiter:
    """What separates the columns: the one of `NAMES` that splits the header row and, quotes honoured, makes most of the
    first hundred rows as wide as it. `named`, which the file's name tells, is taken where another fits equally well.
    Where none splits the header, the file has one column.

    Raises DelimiterError where two fit equally well, and where the rows below are separated by what the header is not.
    """
    looks = [_look(file, character) for character in NAMES]
    splitting = [look for look in looks if look.columns > 1]
    most = max((look.rank for look in splitting), default=None)
    fitting = [look for look in splitting if look.rank == most]
    best = next((look for look in fitting if look.character == named), fitting[0] if fitting else None)
    if best is not None and len(fitting) > 1 and best.character != named:
        names = " or by ".join(name_of(look.character) for look in fitting)
        raise DelimiterError(
            f"the columns may be separated by {names}, which fit equally well; say which with --delimiter"
        )
    if best is None or (best.widths and not best.splits_most_rows):
        for look in looks:
            if look.sound and look.splits_most_rows and look.columns == 1:
                raise DelimiterError(
                    f"the rows below are separated by {name_of(look.character)}, and the header row is not; separate its "
                    "names likewise, quote the fields that hold such a character, or say the delimiter with --delimiter"
                )
    if best is None:
        return Delimiter(named or ",", min(1, looks[0].columns), "".join(NAMES))
    return Delimiter(best.character, best.columns, "".join(NAMES))


def _look(file: RecordFile, character: str) -> _Look:
    some = _Some(file)
    widths: list[int] = []
    sound = True
    try:
        rows = (row for row in reader(some, character) if row and not is_declaration(row))
        widths += map(len, islice(rows, _ROWS + 1))
    except csv.Error:
        # The last row may be cut off, which looks like a missing quote.
        sound = some.cut_off
    return _Look(character, widths[0] if widths else 0, widths[1:], sound)


class _Some:
    """The first lines of a file as text. What is not UTF-8 is told when the documents are read."""

    def __init__(self, file: RecordFile) -> None:
        self._file = file
        #: Whether there were more.
        self.cut_off = False

    def __iter__(self) -> Iterator[str]:
        size = 0
        for number, line in enumerate(self._file.lines()):
            if size > _BYTES:
                self.cut_off = True
                return
            size += len(line)
            yield line.decode("utf-8" if number else "utf-8-sig", "replace")
