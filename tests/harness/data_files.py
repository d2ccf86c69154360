"""Data of every kind that `subduct run` loads, each with the same number of documents."""

import gzip
import json
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

DOCUMENTS = 40

zstd: Any = import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")

RECORDS = [{"id": str(number), "text": f'ä "{number}"'} for number in range(DOCUMENTS)]


def _array() -> bytes:
    return json.dumps(RECORDS, indent=1).encode()


def _by_key() -> bytes:
    return json.dumps({f"key {number}": record for number, record in enumerate(RECORDS)}).encode()


def _lines(end: str = "\n") -> bytes:
    return "".join(json.dumps(record) + end for record in RECORDS).encode()


def csv_text(delimiter: str, end: str = "\r\n") -> bytes:
    """A table with quotes in its second column."""
    rows = [["id", "text"], *([record["id"], '"' + record["text"].replace('"', '""') + '"'] for record in RECORDS)]
    return "".join(delimiter.join(row) + end for row in rows).encode()


#: File names, and what makes the content.
FILES: dict[str, Callable[[], bytes]] = {
    "array.json": _array,
    "by_key.json": _by_key,
    "lines.ndjson": _lines,
    "lines.json": _lines,
    "lines_of_an_old_mac.jsonl": lambda: _lines("\r"),
    "commas.csv": lambda: csv_text(","),
    "semicolons.csv": lambda: csv_text(";"),
    "tabs.tsv": lambda: csv_text("\t"),
    "bars.csv": lambda: csv_text("|"),
    "table_of_an_old_mac.csv": lambda: csv_text(";", "\r"),
    "array.json.gz": lambda: gzip.compress(_array()),
    "by_key.json.gz": lambda: gzip.compress(_by_key()),
    "lines_in_gzip.ndjson": lambda: gzip.compress(_lines()),
    "tabs.csv.gz": lambda: gzip.compress(csv_text("\t")),
    "by_key.json.zst": lambda: bytes(zstd.compress(_by_key())),
    "lines.zst": lambda: bytes(zstd.compress(_lines())),
    "bars.csv.zst": lambda: bytes(zstd.compress(csv_text("|"))),
}
#: All kinds, the folder of Python sources among them.
KINDS = [*FILES, "folder"]


def write_data(folder: Path, kind: str) -> Path:
    """Writes data of a kind into a folder; returns what to load."""
    if kind != "folder":
        path = folder / kind
        path.write_bytes(FILES[kind]())
        return path
    sources = folder / "sources"
    sources.mkdir()
    for number in range(DOCUMENTS):
        (sources / f"m{number:02}.py").write_text(f"def f{number}(shared):\n    return shared.x + {number}\n")
    return sources
