"""Where in a file each record came from."""

from __future__ import annotations

import os
from array import array
from typing import TYPE_CHECKING

from subduct.load.source import LoadError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Fingerprint:
    """Size and time of change of a file: enough to notice that it is no longer the one that was read."""

    __slots__ = ("_stamp",)

    def __init__(self, status: os.stat_result) -> None:
        self._stamp = (status.st_size, status.st_mtime_ns)

    def check(self, status: os.stat_result, path: Path) -> None:
        """Raises LoadError when `status` is not that of the same content."""
        if (status.st_size, status.st_mtime_ns) != self._stamp:
            raise LoadError(f"{path}: changed on disk since it was loaded, so nothing can be compared with it")


class RecordFile:
    """One open file and the byte range of each record in it: 16 bytes of memory a record."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise LoadError(f"{path}: {error.strerror or error}") from None
        self._fingerprint = Fingerprint(os.fstat(self._file.fileno()))
        self._offsets = array("Q")
        self._lengths = array("Q")

    @property
    def size_bytes(self) -> int:
        """Size of the file."""
        return os.fstat(self._file.fileno()).st_size

    def __len__(self) -> int:
        return len(self._offsets)

    def read_all(self) -> bytes:
        """The whole file."""
        self._file.seek(0)
        return self._file.read()

    def lines(self) -> Iterator[bytes]:
        """The file line by line, each with its end."""
        self._file.seek(0)
        return iter(self._file)

    def add(self, offset: int, length: int) -> None:
        """Remembers the byte range of the next record."""
        self._offsets.append(offset)
        self._lengths.append(length)

    def record(self, number: int) -> bytes:
        """The bytes of a record. Thread-safe. Raises LoadError when the file has changed."""
        descriptor = self._file.fileno()
        self._fingerprint.check(os.fstat(descriptor), self.path)
        return os.pread(descriptor, self._lengths[number], self._offsets[number])

    def close(self) -> None:
        """Closes the file; no record can be read afterwards."""
        self._file.close()
