"""/proc/PID/pagemap: proc_pid_pagemap(5), and Linux's Documentation/admin-guide/mm/pagemap.rst."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass

from subduct.kernel._checks import PAGE_SIZE, page_range

_ENTRY = 8
_FRAME = (1 << 55) - 1


@dataclass(frozen=True, slots=True)
class Page:
    """What the page table says of one page."""

    entry: int
    """The kernel's 64 bits."""

    @property
    def present(self) -> bool:
        """In memory and mapped here. A page of a file that is in memory, but was not touched through this mapping, is not."""
        return bool(self.entry >> 63 & 1)

    @property
    def swapped(self) -> bool:
        """Swapped out; also set for the markers of userfaultfd (write protection of an absent page, poison)."""
        return bool(self.entry >> 62 & 1)

    @property
    def file_or_shared(self) -> bool:
        """Of a file, or of shared anonymous memory (Linux 3.5)."""
        return bool(self.entry >> 61 & 1)

    @property
    def guard(self) -> bool:
        """A guard page: MADV_GUARD_INSTALL (Linux 6.15 says so here)."""
        return bool(self.entry >> 58 & 1)

    @property
    def write_protected(self) -> bool:
        """Write-protected through a userfaultfd (Linux 5.13)."""
        return bool(self.entry >> 57 & 1)

    @property
    def exclusive(self) -> bool:
        """Mapped here and nowhere else (Linux 4.2)."""
        return bool(self.entry >> 56 & 1)

    @property
    def soft_dirty(self) -> bool:
        """Written since /proc/PID/clear_refs was told to forget; always set where the kernel does not track it."""
        return bool(self.entry >> 55 & 1)

    @property
    def frame(self) -> int:
        """Number of the page frame; 0 where it is not present, or without CAP_SYS_ADMIN (Linux 4.2)."""
        return self.entry & _FRAME if self.present else 0


def pagemap(address: int, length: int, *, process: int | None = None) -> list[Page]:
    """The pages of a range of this process, or of another that may be looked at.

    Raises ValueError for a range that is not whole pages, OSError where /proc does not say. O(pages).
    """
    page_range(address, length)
    count = length // PAGE_SIZE
    file = os.open(f"/proc/{'self' if process is None else process}/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    try:
        offset, end = address // PAGE_SIZE * _ENTRY, (address // PAGE_SIZE + count) * _ENTRY
        read = bytearray()
        while offset < end and (some := os.pread(file, end - offset, offset)):
            read += some
            offset += len(some)
    finally:
        os.close(file)
    return [Page(entry) for (entry,) in struct.iter_unpack("=Q", read)]
