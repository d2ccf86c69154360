"""A file with one JSON value on each line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

from subduct.load.json_text import decode
from subduct.load.records import RecordSource

if TYPE_CHECKING:
    from collections.abc import Iterator


class NdjsonSource(RecordSource):
    """Records of a newline-delimited JSON file, read line by line. Blank lines are left out."""

    kind: ClassVar[str] = "ndjson"

    def documents(self) -> Iterator[Any]:
        offset = 0
        for number, line in enumerate(self._file.lines(), 1):
            start, length = offset, len(line)
            offset += length
            self.bytes_read = offset
            if not line.isspace():
                value = self._parse(line, number)
                self._file.add(start, length)
                yield value

    def rebuild(self, number: int) -> Any:
        return _decode(self._file.record(number))

    def _parse(self, line: bytes, number: int) -> Any:
        try:
            return _decode(line)
        except json.JSONDecodeError as error:
            if "\0" in error.doc:
                raise self.zero_byte(number, error.doc.index("\0") + 1) from None
            raise self.error(number, f"{error.msg} (column {error.pos + 1})") from None
        except UnicodeDecodeError as error:
            raise self.not_utf8(number, error) from None
        except RecursionError:
            raise self.error(number, "nested too deeply for Python's JSON reader") from None


def _decode(line: bytes) -> Any:
    # The first line may start with a byte order mark.
    return decode(line.rstrip(b"\r\n").decode("utf-8-sig"))
