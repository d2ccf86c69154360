"""What the sources share whose documents are the records of one file."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

from subduct.load.source import LoadError, Source

if TYPE_CHECKING:
    from subduct.load.origin import RecordFile
    from subduct.load.source import Key


class RecordSource(Source):
    """A file of records. Documents are stored under their numbers. Closes the file when it is closed."""

    def __init__(self, file: RecordFile) -> None:
        super().__init__(file.path)
        self._file = file

    def __len__(self) -> int:
        return len(self._file)

    @property
    def notes(self) -> list[str]:
        packed = self._file.packed
        return [] if packed is None else [f"{packed} data, unpacked into a temporary file in {tempfile.gettempdir()}"]

    def close(self) -> None:
        self._file.close()

    def key(self, number: int) -> Key:
        return number

    def error(self, line: int, what: str) -> LoadError:
        """The error for a line of this file. Where it is packed, the reason may be that the packed data are damaged."""
        try:
            self._file.check_packing()
        except LoadError as damaged:
            return damaged
        return LoadError(f"{self.path}:{line}: {what}")

    def not_utf8(self, line: int, error: UnicodeDecodeError) -> LoadError:
        """The error for bytes of a line that are not UTF-8."""
        return self.error(
            line,
            f"not UTF-8 (byte 0x{error.object[error.start]:02x}: {error.reason}); text is converted by iconv, such as: "
            "iconv -f LATIN1 -t UTF-8 FILE > NEW",
        )

    def zero_byte(self, line: int, column: int) -> LoadError:
        """The error for a zero byte at a character of a line, both counted from 1."""
        return self.error(
            line,
            f"a zero byte (column {column}), which no text has; write the file anew where it came from, or delete such bytes: "
            "tr -d '\\000' < FILE > NEW",
        )
