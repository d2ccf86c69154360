"""From what was named on the command line to the source that reads it."""

from __future__ import annotations

import re
import stat
from typing import TYPE_CHECKING

from subduct.load.csv import CsvSource
from subduct.load.delimiter import Delimiter, DelimiterError, find_delimiter, given_delimiter
from subduct.load.json import JsonSource
from subduct.load.json_text import decode
from subduct.load.ndjson import NdjsonSource
from subduct.load.origin import RecordFile
from subduct.load.python_source import PythonSource
from subduct.load.source import LoadError

if TYPE_CHECKING:
    from pathlib import Path

    from subduct.load.source import Source

_KINDS = {".json": "json", ".ndjson": "ndjson", ".jsonl": "ndjson", ".csv": "csv", ".tsv": "csv"}
_PACKED_SUFFIXES = (".gz", ".gzip", ".zst", ".zstd")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# How a JSON text begins, and no row of column names.
_JSON_OPENING = re.compile(rb'[\[{]\s*(?:["\[{]|$)')
_VALUE_OPENING = re.compile(rb'[\[{"0-9tfn-]')


def open_source(path: Path | None, delimiter: str | None = None) -> Source:
    """The source for a path: a file by its content and its suffix, a folder as Python sources, None as the standard
    library. `delimiter` separates the columns of a CSV file; without it the first rows tell.

    Raises LoadError for a path that cannot be read or is of no known kind, and for a delimiter where there are no columns.
    """
    if path is None or _is_folder(path):
        if delimiter is not None:
            raise LoadError(f"{path or 'the standard library'}: --delimiter is for CSV files")
        return PythonSource(path)
    file = RecordFile(path)
    try:
        return _open(file, delimiter)
    except BaseException:
        file.close()
        raise


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except FileNotFoundError:
        raise LoadError(f"{path}: no such file or folder") from None
    except OSError as error:
        raise LoadError(f"{path}: {error.strerror or error}") from None


def _open(file: RecordFile, delimiter: str | None) -> Source:
    path = file.path
    suffix = _suffix(path)
    kind = _kind(file, _KINDS.get(suffix, "csv" if delimiter is not None else None))
    if kind == "csv":
        return CsvSource(file, _delimiter(file, delimiter, "\t" if suffix == ".tsv" else None))
    if delimiter is not None:
        raise LoadError(f"{path}: --delimiter is for CSV files, and this holds JSON")
    if kind == "json":
        return JsonSource(file)
    if kind == "ndjson":
        return NdjsonSource(file)
    raise LoadError(
        f"{path}: unknown kind of file; expected .json, .ndjson, .jsonl, .csv, .tsv, one of these packed with gzip or zstd, "
        "any other name for JSON, or a folder of Python sources; --delimiter reads any file as CSV"
    )


def _suffix(path: Path) -> str:
    """The suffix that tells the kind, without that of a packing."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    while suffixes and suffixes[-1] in _PACKED_SUFFIXES:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _kind(file: RecordFile, named: str | None) -> str | None:
    """What the content says, or what the name says where the content leaves it open.

    A first line that is a JSON value, with another value on the next, is NDJSON; a bracket alone on the first line is
    JSON. Blank lines do not count.
    """
    lines = filter(None, map(bytes.strip, file.lines()))
    first = next(lines, b"").removeprefix(_BYTE_ORDER_MARK).lstrip()
    if named == "ndjson":
        return "json" if first in (b"[", b"{") else named
    if first[:1] not in (b"[", b"{") and (named != "json" or not first):
        return named
    if _VALUE_OPENING.match(next(lines, b"")) and _is_value(first):
        return "ndjson"
    if named == "csv" and not _JSON_OPENING.match(first):
        return named
    return "json"


def _is_value(line: bytes) -> bool:
    try:
        decode(line.decode())
    except (ValueError, RecursionError):
        return False
    return True


def _delimiter(file: RecordFile, character: str | None, named: str | None) -> Delimiter:
    try:
        return find_delimiter(file, named) if character is None else given_delimiter(file, character)
    except DelimiterError as error:
        raise LoadError(f"{file.path}: {error}") from None
