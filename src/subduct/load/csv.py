"""A CSV file with a header row."""

from __future__ import annotations

import csv
import io
import sys
from typing import TYPE_CHECKING, Any, ClassVar

from subduct.load.records import RecordSource

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


class CsvSource(RecordSource):
    """Rows of a comma-separated file as dicts from column name to text; no value is taken for a number.

    Rows of another length than the header are kept as `csv.DictReader` keeps them: None for what is missing, and a
    list under the key None for what is too much. A column name that is used again gets a number: "name.2".
    Rows are read one by one.
    """

    kind: ClassVar[str] = "csv"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._columns: list[str] = []

    def documents(self) -> Iterator[dict[str | None, Any]]:
        reader = _reader(self._lines())
        while True:
            start, line = self.bytes_read, reader.line_num + 1
            try:
                row = next(reader, None)
            except csv.Error as error:
                raise self.error(line, f"{error}, in the row that begins here") from None
            if row is None:
                break
            if row and not self._columns:
                self._columns = _column_names(row)
            elif row:
                self._file.add(start, self.bytes_read - start)
                yield self._record(row)
        if not self._columns:
            raise self.error(1, "expected a header row with the names of the columns")

    def rebuild(self, number: int) -> dict[str | None, Any]:
        # As in `_lines`, only a line feed ends a line: str.splitlines knows many more ends.
        lines = io.BytesIO(self._file.record(number))
        return self._record(next(_reader(line.decode() for line in lines)))

    def _lines(self) -> Iterator[str]:
        """The lines as text. A row ends with the last line the reader has asked for: `bytes_read` is then its end."""
        for number, line in enumerate(self._file.lines(), 1):
            self.bytes_read += len(line)
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise self.not_utf8(number, error) from None

    def _record(self, row: list[str]) -> dict[str | None, Any]:
        columns = self._columns
        record: dict[str | None, Any] = dict(zip(columns, row, strict=False))
        if len(row) < len(columns):
            record.update(dict.fromkeys(columns[len(row) :]))
        elif len(row) > len(columns):
            record[None] = row[len(columns) :]
        return record


def _reader(lines: Iterable[str]) -> Any:
    # The module's limit guards against a missing quote; here a field may be as long as the file.
    csv.field_size_limit(sys.maxsize)
    return csv.reader(lines, strict=True)


def _column_names(row: list[str]) -> list[str]:
    """The names of the columns, each different."""
    names: dict[str, None] = {}
    for name in row:
        unique, again = name, 2
        while unique in names:
            unique, again = f"{name}.{again}", again + 1
        names[unique] = None
    return list(names)
