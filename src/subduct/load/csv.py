"""A CSV file with a header row."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any, ClassVar

from subduct.load.delimiter import Delimiter, is_declaration, reader
from subduct.load.origin import split_lines
from subduct.load.records import RecordSource

if TYPE_CHECKING:
    from collections.abc import Iterator

    from subduct.load.origin import RecordFile


class CsvSource(RecordSource):
    """Rows of a CSV file as dicts from column name to text; no value is taken for a number.

    Rows of another length than the header are kept as `csv.DictReader` keeps them: None for what is missing, and a
    list under the key None for what is too much. A column name that is used again gets a number: "name.2".
    Rows are read one by one.
    """

    kind: ClassVar[str] = "csv"

    def __init__(self, file: RecordFile, delimiter: Delimiter) -> None:
        super().__init__(file)
        self._delimiter = delimiter
        self._columns: list[str] = []

    @property
    def notes(self) -> list[str]:
        return [*super().notes, str(self._delimiter)] if self._delimiter.columns else super().notes

    def documents(self) -> Iterator[dict[str | None, Any]]:
        rows = reader(self._lines(), self._delimiter.character)
        while True:
            start, line = self.bytes_read, rows.line_num + 1
            try:
                row = next(rows, None)
            except csv.Error as error:
                raise self.error(line, f"{_explained(error)}, in the row that begins here") from None
            if row is None:
                break
            if row and not self._columns:
                if not is_declaration(row):
                    self._columns = _column_names(row)
            elif row:
                self._file.add(start, self.bytes_read - start)
                yield self._record(row)
        if not self._columns:
            raise self.error(1, "expected a header row with the names of the columns")

    def rebuild(self, number: int) -> dict[str | None, Any]:
        # Not str.splitlines, which knows many more ends of a line than the file has.
        lines = split_lines(io.BytesIO(self._file.record(number)), self._file.line_end)
        return self._record(next(reader((line.decode() for line in lines), self._delimiter.character)))

    def _lines(self) -> Iterator[str]:
        """The lines as text. A row ends with the last line the reader has asked for: `bytes_read` is then its end."""
        for number, line in enumerate(self._file.lines(), 1):
            self.bytes_read += len(line)
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise self.not_utf8(number, error) from None
            if "\0" in text:
                raise self.zero_byte(number, text.index("\0") + 1)
            yield text

    def _record(self, row: list[str]) -> dict[str | None, Any]:
        columns = self._columns
        record: dict[str | None, Any] = dict(zip(columns, row, strict=False))
        if len(row) < len(columns):
            record.update(dict.fromkeys(columns[len(row) :]))
        elif len(row) > len(columns):
            record[None] = row[len(columns) :]
        return record


def _explained(error: csv.Error) -> str:
    """What the csv module says to programmers, for somebody who has a file."""
    text = str(error)
    if "new-line character" in text:
        return "a carriage return outside quotes, where other lines end with a line feed"
    if "unexpected end" in text:
        return "a quote that is never closed"
    if "expected after" in text:
        return 'a quote inside a quoted field, where it must be written twice ("")'
    return text


def _column_names(row: list[str]) -> list[str]:
    """The names of the columns, each different."""
    names: dict[str, None] = {}
    for name in row:
        unique, again = name, 2
        while unique in names:
            unique, again = f"{name}.{again}", again + 1
        names[unique] = None
    return list(names)
