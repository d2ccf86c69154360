"""Mappings to try things on. Nothing is undone: every check has a process of its own."""

from __future__ import annotations

import os
import resource
import tempfile
from dataclasses import dataclass
from pathlib import Path

from subduct.kernel import MapFlag, MemfdFlag, Prot, calls
from subduct.selftest.expect import skip
from subduct.selftest.proc import file_system

PAGE = os.sysconf("SC_PAGE_SIZE")
MIB = 1 << 20
GIB = 1 << 30

READ_WRITE = Prot.READ | Prot.WRITE
STAMP_BYTES = 16
ZEROS = bytes(STAMP_BYTES)

_IN_MEMORY = {"tmpfs", "ramfs", "rootfs", "devtmpfs"}


def anonymous(pages: int, *, shared: bool = False, prot: int = READ_WRITE, address: int = 0) -> int:
    """The address of new anonymous memory, at `address` (replacing what is there) unless that is 0."""
    kind = MapFlag.SHARED if shared else MapFlag.PRIVATE
    fixed = MapFlag.FIXED if address else MapFlag(0)
    return calls.mmap(address, pages * PAGE, prot, kind | MapFlag.ANONYMOUS | fixed)


def reserve(length: int, alignment: int = PAGE) -> int:
    """The address of an inaccessible range of `length` bytes, with nothing of ours right before or behind it."""
    slack = alignment + 2 * PAGE
    flags = MapFlag.PRIVATE | MapFlag.ANONYMOUS | MapFlag.NORESERVE
    try:
        start = calls.mmap(0, length + slack, Prot.NONE, flags) + PAGE
    except OSError as error:
        if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
            raise
        skip(f"the address space is limited (ulimit -v): {error}")
    return (start + alignment - 1) // alignment * alignment


def hole(pages: int) -> int:
    """The address of a range where nothing is mapped, with an inaccessible page on either side."""
    address = reserve(pages * PAGE)
    calls.munmap(address, pages * PAGE)
    return address


def lock(address: int, pages: int) -> None:
    """Locks pages into memory; skips where this user may not."""
    try:
        calls.mlock(address, pages * PAGE)
    except OSError as error:
        skip(f"this user may not lock memory (ulimit -l): {error}")


def memfd(pages: int, flags: int = 0) -> int:
    """A new sparse memfd."""
    descriptor = calls.memfd_create("subduct-selftest", MemfdFlag.CLOEXEC | flags)
    calls.ftruncate(descriptor, pages * PAGE)
    return descriptor


def disk_file(pages: int) -> int:
    """A new sparse file without a name, on a file system that is not memory."""
    for folder in (tempfile.gettempdir(), "/var/tmp", str(Path.home()), "."):
        if not os.access(folder, os.W_OK | os.X_OK) or file_system(folder) in _IN_MEMORY:
            continue
        descriptor, path = tempfile.mkstemp(prefix="subduct-selftest-", dir=folder)
        # In this order: network file systems change the length by name.
        os.ftruncate(descriptor, pages * PAGE)
        Path(path).unlink()
        return descriptor
    skip("no folder on a disk that this user can write to: set TMPDIR")
    return None


def view(descriptor: int, pages: int, *, shared: bool = True, address: int = 0, first: int = 0) -> int:
    """The address of a mapping of a file, from page `first` on; at `address`, replacing what is there, unless that is 0."""
    kind = MapFlag.SHARED if shared else MapFlag.PRIVATE
    fixed = MapFlag.FIXED if address else MapFlag(0)
    return calls.mmap(address, pages * PAGE, READ_WRITE, kind | fixed, descriptor, first * PAGE)


def stamp(tag: str, page: int) -> bytes:
    """What `write_stamps` puts at the start of a page."""
    return f"{tag}:{page}".encode().ljust(STAMP_BYTES, b".")


def write_stamps(address: int, pages: int, tag: str) -> None:
    """Marks each page of a range with a tag and its number."""
    for page in range(pages):
        calls.store(address + page * PAGE, stamp(tag, page))


def stamps(address: int, pages: int) -> list[bytes]:
    """The first bytes of each page of a range, by plain loads."""
    return [calls.load(address + page * PAGE, STAMP_BYTES) for page in range(pages)]


def stamped(tag: str, pages: range) -> list[bytes]:
    """What pages with these numbers show after `write_stamps`."""
    return [stamp(tag, page) for page in pages]


@dataclass(frozen=True)
class Kind:
    """A kind of memory that a mapping may show."""

    name: str
    words: str
    shared: bool
    file: str
    """What is behind it: "", "memfd" or "disk"."""

    def make(self, pages: int) -> int:
        """The address of a new mapping. Every page was written: with "file" into the file, and then with "map" through the mapping."""
        if not self.file:
            address = anonymous(pages, shared=self.shared)
        else:
            descriptor = memfd(pages) if self.file == "memfd" else disk_file(pages)
            try:
                for page in range(pages):
                    os.pwrite(descriptor, stamp("file", page), page * PAGE)
                address = view(descriptor, pages, shared=self.shared)
            except OSError as error:
                skip(f"files of this file system cannot be mapped so: {error}")
        write_stamps(address, pages, "map")
        return address

    def left(self, pages: range) -> list[bytes]:
        """What the pages with these numbers show in the old range after MREMAP_DONTUNMAP."""
        if self.shared:
            return stamped("map", pages)
        return stamped("file", pages) if self.file else [ZEROS for _ in pages]


PRIVATE_ANONYMOUS = Kind("anon-private", "private anonymous memory", False, "")
MEMFD_SHARED = Kind("memfd-shared", "a shared mapping of a memfd", True, "memfd")
DISK_SHARED = Kind("disk-shared", "a shared mapping of a file on a disk", True, "disk")
DISK_PRIVATE = Kind("disk-private", "a private mapping of a file on a disk", False, "disk")
KINDS = (
    PRIVATE_ANONYMOUS,
    Kind("anon-shared", "shared anonymous memory", True, ""),
    MEMFD_SHARED,
    Kind("memfd-private", "a private mapping of a memfd", False, "memfd"),
    DISK_SHARED,
    DISK_PRIVATE,
)
