"""A JSON file whose top level is an array of records, or an object of records by key."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, ClassVar

from subduct.load.json_text import decode, raw_decode
from subduct.load.records import RecordSource

if TYPE_CHECKING:
    from collections.abc import Iterator

    from subduct.load.source import Key

_SPACE = re.compile(r"[ \t\n\r]*")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LARGE_FILE_BYTES = 256 << 20


class JsonSource(RecordSource):
    """Records of a JSON file.

    The file is held in memory as text while it is read, one record at a time is held as Python values. A top-level
    object keeps its keys; it must not have the same key twice.
    """

    kind: ClassVar[str] = "json"

    _text = ""
    #: Of a top-level object; None of an array. Each key is here before its document is handed out: where a document is
    #: stored and where it is looked for are the same from the first on, also when reading ends early.
    _keys: list[str] | None = None

    @property
    def notes(self) -> list[str]:
        size = self._file.size_bytes
        if size < _LARGE_FILE_BYTES:
            return super().notes
        return [
            *super().notes,
            f"{self.path.name} has {size >> 20} MiB: JSON that is not one value a line is held in memory as text, outside "
            "the heap's budget, until it is loaded; one record a line (NDJSON) is read line by line",
        ]

    def documents(self) -> Iterator[Any]:
        start, self._text = self._decode()
        try:
            position = self._skip(0)
            opening = self._text[position : position + 1]
            if opening not in ("[", "{"):
                raise self._error(position, "expected an array or an object of records at the top level")
            is_object = opening == "{"
            if is_object:
                self._keys = []
            yield from self._members(position + 1, is_object, start)
        finally:
            self._text = ""

    def key(self, number: int) -> Key:
        return number if self._keys is None else self._keys[number]

    def rebuild(self, number: int) -> Any:
        return decode(self._file.record(number).decode())

    def _decode(self) -> tuple[int, str]:
        """Byte offset of the text in the file, and the text."""
        data = self._file.read_all()
        start = len(_BYTE_ORDER_MARK) if data.startswith(_BYTE_ORDER_MARK) else 0
        try:
            text = data[start:].decode() if start else data.decode()
        except UnicodeDecodeError as error:
            raise self.not_utf8(data.count(b"\n", 0, error.start) + 1, error) from None
        if "\0" in text:
            raise self.zero_byte(*_place(text, text.index("\0")))
        return start, text

    def _members(self, position: int, is_object: bool, offset: int) -> Iterator[Any]:
        """The members of the array or object that opens before `position`; `offset` is the byte offset of the text."""
        text = self._text
        closing = "}" if is_object else "]"
        seen: set[str] = set()
        counted = 0  # characters up to here are contained in `offset`
        position = self._skip(position)
        if text[position : position + 1] != closing:
            while True:
                if is_object:
                    position = self._member_key(position, seen)
                value, end = self._value(position)
                offset += self._bytes(counted, position)
                length = self._bytes(position, end)
                self._file.add(offset, length)
                offset += length
                counted = end
                self.bytes_read = offset
                yield value
                position = self._skip(end)
                separator = text[position : position + 1]
                if separator == closing:
                    break
                if separator != ",":
                    raise self._error(position, f"expected ',' or '{closing}' after a record")
                position = self._skip(position + 1)
        position = self._skip(position + 1)
        if position != len(text):
            what = "unexpected text after the end of the records"
            if text[position] in "[{":
                what += ": one JSON value may follow another only where each has a line of its own, as NDJSON"
            raise self._error(position, what)

    def _member_key(self, position: int, seen: set[str]) -> int:
        """Reads `"key":` of the top-level object, which must not be among those seen; returns where its value begins."""
        if self._text[position : position + 1] != '"':
            raise self._error(position, "expected a key in double quotes")
        key, end = self._value(position)
        assert self._keys is not None
        if key in seen:
            raise self._error(position, f"key {key!r} appears twice")
        seen.add(key)
        self._keys.append(key)
        end = self._skip(end)
        if self._text[end : end + 1] != ":":
            raise self._error(end, "expected ':' after a key")
        return self._skip(end + 1)

    def _value(self, position: int) -> tuple[Any, int]:
        try:
            return raw_decode(self._text, position)
        except json.JSONDecodeError as error:
            raise self._error(error.pos, error.msg) from None
        except RecursionError:
            raise self._error(position, "nested too deeply for Python's JSON reader") from None

    def _skip(self, position: int) -> int:
        match = _SPACE.match(self._text, position)
        return match.end() if match else position

    def _bytes(self, start: int, end: int) -> int:
        """Length in the file of a part of the text."""
        return len(self._text[start:end].encode())

    def _error(self, position: int, what: str) -> Exception:
        line, column = _place(self._text, position)
        return self.error(line, f"{what} (column {column})")


def _place(text: str, position: int) -> tuple[int, int]:
    """Line and column of a position, counted from 1."""
    return text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position)
