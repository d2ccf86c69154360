"""What the sources share whose documents are the records of one file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from subduct.load.origin import RecordFile
from subduct.load.source import LoadError, Source

if TYPE_CHECKING:
    from pathlib import Path

    from subduct.load.source import Key


class RecordSource(Source):
    """A file of records. Documents are stored under their numbers."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._file = RecordFile(path)

    def __len__(self) -> int:
        return len(self._file)

    def close(self) -> None:
        self._file.close()

    def key(self, number: int) -> Key:
        return number

    def error(self, line: int, what: str) -> LoadError:
        """The error for a line of this file."""
        return LoadError(f"{self.path}:{line}: {what}")

    def not_utf8(self, line: int, error: UnicodeDecodeError) -> LoadError:
        """The error for bytes of a line that are not UTF-8."""
        return self.error(line, f"not UTF-8 (byte 0x{error.object[error.start]:02x}: {error.reason})")
