"""Where in a file each record came from."""

from __future__ import annotations

import io
import os
import stat
from array import array
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from subduct.load.packing import HEAD_BYTES, check_text, packing, unpack
from subduct.load.source import LoadError
from subduct.load.unpacked import UnpackedFile, temporary_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# What is looked at to tell how lines end, and what is read at a time where they end with a carriage return.
_CHUNK_BYTES = 1 << 16


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
    """One open file of text and the byte range of each record in it: 16 bytes of memory a record.

    A file that is packed with gzip or zstd is unpacked while it is read; offsets and lengths are those of what it holds.
    Lines end with a line feed, or where the first 64 KiB have none, with a carriage return.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = _open(path)
        self._content: BinaryIO = self._file
        try:
            self._fingerprint = Fingerprint(os.fstat(self._file.fileno()))
            with _reading(path):
                #: "gzip", "zstd", or None where the file lies there as it is.
                self.packed = packing(self._file.read(HEAD_BYTES))
                self._file.seek(0)
                if self.packed is not None:
                    unpacking = unpack(self.packed, self._file, path)
                    unpacked = UnpackedFile(unpacking, temporary_file(path), path)
                    self._content = io.BufferedReader(unpacked, _CHUNK_BYTES)
                head = self._content.read(_CHUNK_BYTES)
            check_text(head[:HEAD_BYTES], path, self.packed)
        except BaseException:
            self.close()
            raise
        #: What ends a line.
        self.line_end = b"\r" if b"\r" in head and b"\n" not in head else b"\n"
        self._offsets = array("Q")
        self._lengths = array("Q")

    @property
    def size_bytes(self) -> int:
        """Size of the file as it lies on disk."""
        return os.fstat(self._file.fileno()).st_size

    def __len__(self) -> int:
        return len(self._offsets)

    def read_all(self) -> bytes:
        """The whole content."""
        with _reading(self.path):
            self._content.seek(0)
            return self._content.read()

    def lines(self) -> Iterator[bytes]:
        """The content line by line, each with its end."""
        with _reading(self.path):
            self._content.seek(0)
            yield from split_lines(self._content, self.line_end)

    def check_packing(self) -> None:
        """Reads to the end, where a packing has its checksums. Raises LoadError for damaged data."""
        if self.packed is not None:
            with _reading(self.path):
                while self._content.read(_CHUNK_BYTES):
                    pass

    def add(self, offset: int, length: int) -> None:
        """Remembers the byte range of the next record."""
        self._offsets.append(offset)
        self._lengths.append(length)

    def record(self, number: int) -> bytes:
        """The bytes of a record. Thread-safe. Raises LoadError when the file has changed."""
        self._fingerprint.check(os.fstat(self._file.fileno()), self.path)
        with _reading(self.path):
            return os.pread(self._content.fileno(), self._lengths[number], self._offsets[number])

    def close(self) -> None:
        """Closes the file; no record can be read afterwards."""
        self._content.close()
        self._file.close()


def split_lines(content: BinaryIO, end: bytes) -> Iterator[bytes]:
    """The lines from where `content` stands, each with its end, which the last may lack."""
    if end == b"\n":
        # Not `yield from`: with the generator that would close the file.
        for line in content:
            yield line
        return
    rest = b""
    while chunk := content.read(_CHUNK_BYTES):
        *whole, rest = (rest + chunk).split(end)
        for line in whole:
            yield line + end
    if rest:
        yield rest


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """What the kernel refuses becomes a LoadError with the file's name."""
    try:
        yield
    except OSError as error:
        raise LoadError(f"{path}: cannot be read: {error.strerror or error}") from None


def _open(path: Path) -> BinaryIO:
    try:
        # A pipe would be waited for when it is opened, and cannot be read again.
        if not stat.S_ISREG(path.stat().st_mode):
            raise LoadError(f"{path}: not a file; documents are read more than once, so save them to a file first")
        return path.open("rb")
    except OSError as error:
        raise LoadError(f"{path}: {error.strerror or error}") from None
