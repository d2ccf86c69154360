"""Memfds: seals, holes, and what their pages do under mappings."""

from __future__ import annotations

import errno
import os

from subduct.kernel import Advice, FallocFlag, MemfdFlag, Seal, calls
from subduct.selftest import child
from subduct.selftest.assumption import UsedBy, assumes
from subduct.selftest.expect import LackingError, equal, holds, name_of, refusal, refused
from subduct.selftest.memory import PAGE, STAMP_BYTES, ZEROS, memfd, stamp, stamped, stamps, view, write_stamps
from subduct.selftest.proc import is_present, mapping_at

_MANUAL = "memfd_create(2)"
_SEALS = "fcntl(2), File Sealing"
_HOLES = "fallocate(2)"
_BLOCK_BYTES = 512
_PUNCH = FallocFlag.PUNCH_HOLE | FallocFlag.KEEP_SIZE


def _resident(file: int) -> int:
    return os.fstat(file).st_blocks * _BLOCK_BYTES


@assumes("memfd.unknown-flag", "A flag that the kernel does not know is EINVAL.", source=_MANUAL, used_by=UsedBy.HEAP)
def unknown_flag() -> None:
    refused(errno.EINVAL, calls.memfd_create, "subduct-selftest", 1 << 10)


@assumes(
    "memfd.noexec-seal",
    "MFD_NOEXEC_SEAL makes a memfd that cannot be executed, and that can be sealed.",
    source=f"{_MANUAL}, 6.3",
    used_by=UsedBy.HEAP,
    since=(6, 3),
)
def noexec_seal() -> None:
    error = refusal(calls.memfd_create, "subduct-selftest", MemfdFlag.CLOEXEC | MemfdFlag.NOEXEC_SEAL)
    if error is not None:
        equal("how it is refused", name_of(error.errno), "EINVAL")
        raise LackingError("this kernel does not know MFD_NOEXEC_SEAL (EINVAL)")
    file = memfd(1, MemfdFlag.NOEXEC_SEAL)
    equal("rights to execute", os.fstat(file).st_mode & 0o111, 0)
    holds("it is sealed so", bool(calls.get_seals(file) & Seal.EXEC), calls.get_seals(file))
    calls.add_seals(file, Seal.SHRINK)


@assumes("memfd.name", "A mapping of a memfd shows its name in /proc/PID/maps.", source=_MANUAL, used_by=UsedBy.HEAP)
def name() -> None:
    line = mapping_at(view(memfd(1), 1))
    equal("the path", None if line is None else line.path, "/memfd:subduct-selftest (deleted)")


@assumes(
    "memfd.seal.size",
    "Sealed against growing and shrinking, a memfd can be neither truncated nor extended: EPERM.",
    source=_SEALS,
    used_by=UsedBy.HEAP,
)
def seal_size() -> None:
    file = memfd(2, MemfdFlag.ALLOW_SEALING)
    calls.add_seals(file, Seal.GROW | Seal.SHRINK)
    refused(errno.EPERM, calls.ftruncate, file, PAGE)
    refused(errno.EPERM, calls.ftruncate, file, 3 * PAGE)
    refused(errno.EPERM, calls.fallocate, file, 0, 2 * PAGE, PAGE)
    equal("the size", os.fstat(file).st_size, 2 * PAGE)


@assumes(
    "memfd.seal.allows-holes",
    "Sealed against growing and shrinking, a memfd can still be filled and punched.",
    source=_SEALS,
    used_by=UsedBy.HEAP,
)
def seal_allows_holes() -> None:
    file = memfd(2, MemfdFlag.ALLOW_SEALING)
    calls.add_seals(file, Seal.GROW | Seal.SHRINK | Seal.SEAL)
    calls.fallocate(file, 0, 0, 2 * PAGE)
    equal("resident bytes", _resident(file), 2 * PAGE)
    calls.fallocate(file, _PUNCH, 0, 2 * PAGE)
    equal("resident bytes afterwards", _resident(file), 0)


@assumes("memfd.seal.seal", "F_SEAL_SEAL ends sealing: EPERM.", source=_SEALS, used_by=UsedBy.HEAP)
def seal_seal() -> None:
    file = memfd(1, MemfdFlag.ALLOW_SEALING)
    calls.add_seals(file, Seal.SEAL | Seal.GROW)
    refused(errno.EPERM, calls.add_seals, file, Seal.WRITE)
    equal("the seals", calls.get_seals(file), int(Seal.SEAL | Seal.GROW))


@assumes(
    "memfd.seal.needs-flag",
    "Without MFD_ALLOW_SEALING a memfd cannot be sealed: EPERM.",
    source=_MANUAL,
    used_by=UsedBy.BINDINGS,
)
def seal_needs_flag() -> None:
    refused(errno.EPERM, calls.add_seals, memfd(1), Seal.GROW)


@assumes(
    "memfd.seal.write-mapped",
    "F_SEAL_WRITE is EBUSY while a shared writable mapping exists.",
    source=_SEALS,
    used_by=UsedBy.BINDINGS,
)
def seal_write_mapped() -> None:
    file = memfd(1, MemfdFlag.ALLOW_SEALING)
    address = view(file, 1)
    refused(errno.EBUSY, calls.add_seals, file, Seal.WRITE)
    calls.munmap(address, PAGE)
    calls.add_seals(file, Seal.WRITE)
    refused(errno.EPERM, view, file, 1)


@assumes(
    "memfd.truncated",
    "Touching a page behind the end of a truncated memfd is SIGBUS.",
    source="mmap(2), ERRORS",
    used_by=UsedBy.HEAP,
)
def truncated() -> None:
    file = memfd(2)
    address = view(file, 2)
    write_stamps(address, 2, "whole")
    calls.ftruncate(file, PAGE)
    equal("the page that is left", stamps(address, 1), stamped("whole", range(1)))
    equal("what touching the other does", child.signal_of(lambda: calls.load(address + PAGE, 1)), "SIGBUS")


@assumes(
    "memfd.sparse",
    "A memfd of any size holds no memory until it is written; st_blocks counts what it holds.",
    source="tmpfs(5); measured",
    used_by=UsedBy.HEAP,
)
def sparse() -> None:
    file = memfd((1 << 40) // PAGE)
    equal("resident bytes", _resident(file), 0)
    address = view(file, 8)
    write_stamps(address, 2, "written")
    equal("resident bytes after two pages were written", _resident(file), 2 * PAGE)


@assumes(
    "memfd.read-hole",
    "Reading a hole through a mapping gives zeros.",
    source="tmpfs(5)",
    used_by=UsedBy.HEAP,
)
def read_hole() -> None:
    equal("the pages", stamps(view(memfd(3), 3), 3), [ZEROS] * 3)


@assumes(
    "memfd.populate",
    "A range that fallocate made resident is zeros where there was a hole, and unchanged where there was a page.",
    source=_HOLES,
    used_by=UsedBy.HEAP,
)
def populate() -> None:
    file = memfd(4)
    address = view(file, 4)
    calls.store(address + PAGE, stamp("kept", 1))
    calls.fallocate(file, 0, 0, 3 * PAGE)
    equal("resident bytes", _resident(file), 3 * PAGE)
    equal("the pages", stamps(address, 4), [ZEROS, stamp("kept", 1), ZEROS, ZEROS])


@assumes(
    "memfd.punch",
    "Punching a range gives its memory back: it reads as zeros in every view, and st_blocks falls.",
    source=_HOLES,
    used_by=UsedBy.HEAP,
)
def punch() -> None:
    file = memfd(4)
    first, second = view(file, 4), view(file, 4)
    write_stamps(first, 4, "full")
    equal("the second view", stamps(second, 4), stamped("full", range(4)))
    calls.fallocate(file, _PUNCH, PAGE, 2 * PAGE)
    for address in (first, second):
        equal("the pages", stamps(address, 4), [stamp("full", 0), ZEROS, ZEROS, stamp("full", 3)])
    # Reading a hole through a mapping may fill it, so the file is asked before anybody reads in the next round.
    calls.fallocate(file, _PUNCH, 0, 4 * PAGE)
    equal("resident bytes", _resident(file), 0)


@assumes(
    "memfd.punch-needs-keep-size",
    "FALLOC_FL_PUNCH_HOLE without FALLOC_FL_KEEP_SIZE is EOPNOTSUPP.",
    source=_HOLES,
    used_by=UsedBy.BINDINGS,
)
def punch_needs_keep_size() -> None:
    refused(errno.EOPNOTSUPP, calls.fallocate, memfd(1), FallocFlag.PUNCH_HOLE, 0, PAGE)


@assumes(
    "memfd.two-views",
    "Two views of a memfd show the same pages at once.",
    source="mmap(2), MAP_SHARED",
    used_by=UsedBy.HEAP,
)
def two_views() -> None:
    file = memfd(2)
    first, second = view(file, 2), view(file, 2)
    write_stamps(first, 2, "first")
    equal("the second view", stamps(second, 2), stamped("first", range(2)))
    calls.store(second, stamp("second", 0))
    equal("the first view", calls.load(first, STAMP_BYTES), stamp("second", 0))


@assumes(
    "memfd.dontneed-keeps-pages",
    "MADV_DONTNEED on a shared mapping drops page-table entries only: the file keeps its pages.",
    source="madvise(2)",
    used_by=UsedBy.HEAP,
)
def dontneed_keeps_pages() -> None:
    file = memfd(2)
    address = view(file, 2)
    write_stamps(address, 2, "kept")
    calls.madvise(address, 2 * PAGE, Advice.DONTNEED)
    equal("what the page tables have", [is_present(address + page * PAGE, PAGE) for page in range(2)], [False, False])
    equal("resident bytes", _resident(file), 2 * PAGE)
    equal("the pages", stamps(address, 2), stamped("kept", range(2)))


@assumes(
    "memfd.remove",
    "MADV_REMOVE punches the pages of a mapping out of the file.",
    source="madvise(2)",
    used_by=UsedBy.HEAP,
)
def remove() -> None:
    file = memfd(3)
    address = view(file, 3)
    write_stamps(address, 3, "full")
    calls.madvise(address + PAGE, PAGE, Advice.REMOVE)
    equal("resident bytes", _resident(file), 2 * PAGE)
    equal("the pages", stamps(address, 3), [stamp("full", 0), ZEROS, stamp("full", 2)])
