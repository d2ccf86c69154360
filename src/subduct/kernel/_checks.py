"""What is checked before a call: what the kernel would answer with a bare EINVAL."""

from __future__ import annotations

import mmap
import os
from typing import Protocol, runtime_checkable

PAGE_SIZE = mmap.PAGESIZE
"""Bytes of an OS page on this machine."""

_END = 1 << 64


@runtime_checkable
class HasFileno(Protocol):
    """An object with a descriptor: a file, a socket, a `Memfd`."""

    def fileno(self) -> int: ...


def descriptor(file: int | HasFileno) -> int:
    """The number of a descriptor; ValueError for what cannot be one."""
    number = file if isinstance(file, int) else file.fileno()
    if number < 0:
        raise ValueError(f"a descriptor is not negative: {number}")
    return number


def aligned(name: str, number: int) -> int:
    """The number, if it is one of the 64-bit multiples of the page size; else ValueError."""
    if not 0 <= number < _END or number % PAGE_SIZE:
        raise ValueError(f"{name} must be a multiple of the page size ({PAGE_SIZE} bytes), not {number:#x}")
    return number


def whole_pages(length: int) -> int:
    """The length, if it is one or more whole pages; else ValueError."""
    if not 0 < length < _END or length % PAGE_SIZE:
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
    if length is None:
        length = whole - offset
    aligned("offset", offset)
    whole_pages(length)
    if offset + length > whole:
        raise ValueError(f"offset {offset} and length {length} leave the {whole} bytes there are")
    return offset, length


def resident_bytes(file: int) -> int:
    """Bytes of memory or disk that a file holds right now: fstat(2), st_blocks."""
    return os.fstat(file).st_blocks * 512
