"""How a file's content is packed, told by its first bytes and never by its name."""

from __future__ import annotations

import gzip
import importlib
import shlex
import sys
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from subduct.load.source import LoadError

if TYPE_CHECKING:
    from pathlib import Path

#: Enough of a file to tell what it is.
HEAD_BYTES = 512

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
# A zstd file may begin with frames to be skipped: 16 magic numbers that differ in their first byte.
_ZSTD_SKIPPED_FIRST = range(0x50, 0x60)
_ZSTD_SKIPPED_REST = b"\x2a\x4d\x18"
# The format's largest window. Files of `zstd --long` need more than the library allows by itself.
_ZSTD_WINDOW_LOG_MAX = 31
# Nobody reads these here: what it is, and the command that unpacks it.
_OTHERS = {
    b"BZh": ("bzip2 data", "bunzip2"),
    b"\xfd7zXZ\x00": ("xz data", "unxz"),
    b"PK\x03\x04": ("a zip archive", "unzip"),
}
_TAR = b"ustar"
_TAR_OFFSET = 257
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def packing(head: bytes) -> str | None:
    """The packing, "gzip" or "zstd" where data begin as such data do, None otherwise."""
    if head.startswith(_GZIP):
        return "gzip"
    skipped = head[:1] and head[0] in _ZSTD_SKIPPED_FIRST and head[1:4] == _ZSTD_SKIPPED_REST
    return "zstd" if head.startswith(_ZSTD) or skipped else None


def check_text(head: bytes, path: Path, packed: str | None) -> None:
    """Raises LoadError for what begins as no text does: other packings, archives, UTF-16, zeros. `packed` is what `head` was
    unpacked from."""
    name = shlex.quote(path.name)
    inside = "" if packed is None else f" in {packed} data"
    again = packing(head)
    if again is not None:
        raise LoadError(f"{path}: {again} data{inside}; unpack the file once, and load what comes out")
    for magic, (what, command) in _OTHERS.items():
        if head.startswith(magic):
            raise LoadError(f"{path}: {what}{inside}, which is not read here; unpack it first: {command} {name}")
    if head[_TAR_OFFSET:].startswith(_TAR):
        raise LoadError(f"{path}: a tar archive{inside}; unpack it first, and load one of its files: tar -xf {name}")
    marked = head.startswith(_UTF16_MARKS)
    zeros = _halves_of_zero(head)
    if zeros and all(zeros) and not marked:
        raise LoadError(f"{path}: no text{inside}: most of its first bytes are zero; was it written to its end?")
    if marked or any(zeros):
        what = "UTF-16 text" if marked else "every other byte is zero, as in UTF-16 text"
        file = name if packed is None else "FILE"
        raise LoadError(f"{path}: {what}{inside}; convert text by: iconv -f UTF-16 -t UTF-8 {file} > NEW")


def _halves_of_zero(head: bytes) -> list[bool]:
    """Whether most bytes at even places are zero, and whether most at odd ones are: the characters of UTF-16 have one of these."""
    return [2 * half.count(0) > len(half) for half in (head[::2], head[1::2]) if half]


class Unpacked(Protocol):
    """A stream of what comes out."""

    def read1(self, size: int, /) -> bytes: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Unpacking:
    """What is unpacked, a stream of the bytes that come out, and what it raises for damaged data."""

    packed: str
    stream: Unpacked
    errors: tuple[type[Exception], ...]
    follows: str
    """What such an error says where the data are whole, and something else comes behind them."""


def unpack(packed: str, file: BinaryIO, path: Path) -> Unpacking:
    """Unpacks `file`, which lies at `path` and is packed so. Raises LoadError where this Python cannot."""
    if packed == "gzip":
        stream = gzip.GzipFile(fileobj=file, mode="rb")
        return Unpacking(packed, stream, (gzip.BadGzipFile, zlib.error), "Not a gzipped file")
    zstd = _zstd_module(path)
    options = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG_MAX}
    return Unpacking(packed, zstd.ZstdFile(file, options=options), (zstd.ZstdError,), "Unknown frame descriptor")


def _zstd_module(path: Path) -> Any:
    in_library = sys.version_info >= (3, 14)
    try:
        return importlib.import_module("compression.zstd" if in_library else "backports.zstd")
    except ImportError:
        remedy = "" if in_library else "install the extra that reads it (pip install 'subduct[zstd]'), or "
        raise LoadError(
            f"{path}: zstd data, which this Python has no module for; {remedy}unpack it first: "
            f"zstd -d {shlex.quote(path.name)}"
        ) from None
