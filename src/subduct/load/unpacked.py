"""A packed file as the bytes that it holds, each of them readable again."""

from __future__ import annotations

import io
import os
import shlex
import tempfile
from typing import TYPE_CHECKING, BinaryIO, cast

from subduct.load.source import LoadError

if TYPE_CHECKING:
    from pathlib import Path

    from _typeshed import WriteableBuffer

    from subduct.load.packing import Unpacking


def temporary_file(path: Path) -> BinaryIO:
    """A file without a name, for what `path` holds. Raises LoadError where there is no folder for one."""
    try:
        return cast("BinaryIO", tempfile.TemporaryFile(buffering=0))
    except OSError as error:
        raise LoadError(
            f"{path}: no temporary file to unpack it into: {error.strerror}; name a folder in TMPDIR"
        ) from None


class UnpackedFile(io.RawIOBase):
    """The content of a packed file, unpacked as far as somebody has read, with a copy of it in a temporary file.

    Raises LoadError for data that are damaged or cut off, and where the temporary file finds no room.
    """

    def __init__(self, unpacking: Unpacking, copy: BinaryIO, path: Path) -> None:
        super().__init__()
        self._unpacking = unpacking
        self._copy = copy
        self._path = path
        self._size = 0
        self._position = 0

    def fileno(self) -> int:
        """The descriptor of the temporary file."""
        return self._copy.fileno()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Goes to a place that has been read already."""
        self._position = offset + (self._position if whence == os.SEEK_CUR else 0)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        if self._position < self._size:
            count = os.preadv(self.fileno(), [view], self._position)
        else:
            data = self._unpack(len(view))
            count = len(data)
            view[:count] = data
        self._position += count
        return count

    def close(self) -> None:
        if not self.closed:
            self._unpacking.stream.close()
            self._copy.close()
        super().close()

    def _unpack(self, size: int) -> bytes:
        try:
            # Not `read`: where an error comes, that loses what was unpacked before it.
            data = self._unpacking.stream.read1(size)
        except EOFError:
            raise LoadError(
                f"{self._path}: the {self._unpacking.packed} data end too early: the file was cut off; "
                f"{self._size:,} bytes could be unpacked"
            ) from None
        except self._unpacking.errors as error:
            packed = self._unpacking.packed
            if self._unpacking.follows in str(error):
                raise LoadError(
                    f"{self._path}: behind the {packed} data, {self._size:,} bytes unpacked, comes something else; "
                    f"leave it away by: {packed} -dc {shlex.quote(self._path.name)} > NEW"
                ) from None
            raise LoadError(
                f"{self._path}: the {packed} data are damaged after {self._size:,} unpacked bytes: {error}"
            ) from None
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[self._copy.write(rest) :]
        except OSError as error:
            raise LoadError(
                f"{self._path}: no room to unpack it in {tempfile.gettempdir()}: {error.strerror}; name a folder with "
                "more room in TMPDIR, or unpack the file yourself"
            ) from None
        self._size += len(data)
        return data
