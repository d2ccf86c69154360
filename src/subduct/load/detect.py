"""From what was named on the command line to the source that reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from subduct.load.csv import CsvSource
from subduct.load.json import JsonSource
from subduct.load.ndjson import NdjsonSource
from subduct.load.python_source import PythonSource
from subduct.load.source import LoadError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from subduct.load.source import Source

_BY_SUFFIX: dict[str, Callable[[Path], Source]] = {
    ".json": JsonSource,
    ".ndjson": NdjsonSource,
    ".jsonl": NdjsonSource,
    ".csv": CsvSource,
}


def open_source(path: Path | None) -> Source:
    """The source for a path: a file by its suffix, a folder as Python sources, None as the standard library.

    Raises LoadError for a path that does not exist or is of no known kind.
    """
    if path is None or path.is_dir():
        return PythonSource(path)
    if not path.exists():
        raise LoadError(f"{path}: no such file or folder")
    make = _BY_SUFFIX.get(path.suffix.lower())
    if make is None:
        raise LoadError(
            f"{path}: unknown kind of file; expected .json, .ndjson, .jsonl, .csv or a folder of Python sources"
        )
    return make(path)
