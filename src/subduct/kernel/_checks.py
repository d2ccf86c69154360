"""What is checked before a call: what the kernel would answer with a bare EINVAL."""

from __future__ import annotations

import mmap
import operator
import os
from enum import IntFlag
from functools import cache, reduce
from typing import Protocol, TypeVar, runtime_checkable

PAGE_SIZE = mmap.PAGESIZE
"""Bytes of an OS page on this machine."""

_END = 1 << 64
# Offsets in files are signed.
_FILE_END = 1 << 63
_DESCRIPTORS_END = 1 << 31
_Flags = TypeVar("_Flags", bound=IntFlag)


@runtime_checkable
class HasFileno(Protocol):
    """An object with a descriptor: a file, a socket, a `Memfd`."""

    def fileno(self) -> int: ...


def integer(name: str, number: object) -> int:
    """The number; TypeError for what is none, such as text."""
    try:
        return operator.index(number)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name} must be a whole number, not {type(number).__name__} {number!r}") from None


def known(kind: type[_Flags], name: str, bits: int) -> _Flags:
    """The bits as flags; ValueError for bits that have no name there."""
    number = integer(name, bits)
    if number & ~_every(kind):
        raise ValueError(f"{name} must be made of {', '.join(kind.__members__)}, not {number:#x}")
    return kind(number)


@cache
def _every(kind: type[IntFlag]) -> int:
    return reduce(operator.or_, map(int, kind.__members__.values()))


def file_length(length: int) -> int:
    """The length, if a file can have it; else ValueError."""
    if not 0 <= integer("a file's length", length) < _FILE_END:
        raise ValueError(f"a file's length is not negative and less than 2**63 bytes: {length}")
    return length


def descriptor(file: int | HasFileno) -> int:
    """The number of a descriptor; ValueError for what cannot be one."""
    if not isinstance(file, int | HasFileno):
        raise TypeError(f"a file is a descriptor or an object with fileno(), not {type(file).__name__}")
    number = file if isinstance(file, int) else file.fileno()
    if not 0 <= number < _DESCRIPTORS_END:
        raise ValueError(f"a descriptor is not negative and less than 2**31: {number}")
    return number


def aligned(name: str, number: int) -> int:
    """The number, if it is one of the 64-bit multiples of the page size; else ValueError."""
    if not 0 <= integer(name, number) < _END or number % PAGE_SIZE:
        raise ValueError(f"{name} must be a multiple of the page size ({PAGE_SIZE} bytes), not {number:#x}")
    return number


def file_offset(number: int) -> int:
    """The offset, if it is a multiple of the page size that a file can have; else ValueError."""
    if aligned("offset", number) >= _FILE_END:
        raise ValueError(f"an offset in a file is less than 2**63 bytes: {number}")
    return number


def whole_pages(length: int) -> int:
    """The length, if it is one or more whole pages; else ValueError."""
    if not 0 < integer("length", length) < _END or length % PAGE_SIZE:
        raise ValueError(f"a length must be a multiple of the page size ({PAGE_SIZE} bytes) and not 0, not {length}")
    return length


def page_range(address: int, length: int) -> tuple[int, int]:
    """The range, if both ends are page-aligned and it does not wrap around; else ValueError."""
    aligned("address", address)
    whole_pages(length)
    if address + length > _END:
        raise ValueError(f"address {address:#x} and length {length} leave the address space")
    return address, length


def part(whole: int, offset: int, length: int | None) -> tuple[int, int]:
    """Offset and length in whole pages of a part of `whole` bytes; ValueError where it is not one."""
    aligned("offset", offset)
    if length is None:
        length = whole - offset
    whole_pages(length)
    if offset + length > whole:
        raise ValueError(f"offset {offset} and length {length} leave the {whole} bytes there are")
    return offset, length


def resident_bytes(file: int) -> int:
    """Bytes of memory or disk that a file holds right now: fstat(2), st_blocks."""
    return os.fstat(file).st_blocks * 512
