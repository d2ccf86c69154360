"""Mappings, advice, and what is counted for them."""

from __future__ import annotations

import errno

from subduct.kernel import Advice, MapFlag, Prot, RemapFlag, calls
from subduct.selftest import child
from subduct.selftest.assumption import KnownBug, UsedBy, assumes
from subduct.selftest.expect import LackingError, equal, holds, name_of, refusal, refused, skip
from subduct.selftest.memory import (
    GIB,
    MEMFD_SHARED,
    PAGE,
    PRIVATE_ANONYMOUS,
    READ_WRITE,
    STAMP_BYTES,
    ZEROS,
    anonymous,
    hole,
    lock,
    memfd,
    reserve,
    stamp,
    stamped,
    stamps,
    view,
    write_stamps,
)
from subduct.selftest.mremap_kinds import moved
from subduct.selftest.proc import count_in, flags_at, is_present, memory_bytes, status_bytes

_KEEP = RemapFlag.MAYMOVE | RemapFlag.DONTUNMAP
_TWO, _FOUR = 2 * PAGE, 4 * PAGE
_MMAP = "mmap(2)"
_MADVISE = "madvise(2)"
_RESERVED = MapFlag.PRIVATE | MapFlag.ANONYMOUS | MapFlag.NORESERVE


@assumes(
    "mmap.fixed-replaces",
    "MAP_FIXED replaces exactly the range, in one step, and leaves what is beside it.",
    source=_MMAP,
    used_by=UsedBy.HEAP,
)
def fixed_replaces() -> None:
    address = anonymous(4)
    write_stamps(address, 4, "old")
    equal("the address", calls.mmap(address + PAGE, _TWO, READ_WRITE, _RESERVED | MapFlag.FIXED), address + PAGE)
    equal("the pages", stamps(address, 4), [stamp("old", 0), ZEROS, ZEROS, stamp("old", 3)])


@assumes(
    "mmap.fixed-noreplace",
    "MAP_FIXED_NOREPLACE over a mapping is EEXIST, and over nothing gives the address.",
    source=f"{_MMAP}, 4.17",
    used_by=UsedBy.BINDINGS,
)
def fixed_noreplace() -> None:
    taken, free = anonymous(2), hole(2)
    flags = MapFlag.PRIVATE | MapFlag.ANONYMOUS | MapFlag.FIXED_NOREPLACE
    refused(errno.EEXIST, calls.mmap, taken + PAGE, PAGE, READ_WRITE, flags)
    equal("the address", calls.mmap(free, _TWO, READ_WRITE, flags), free)


@assumes(
    "mmap.arguments",
    "No length, an unaligned fixed address and an unaligned file offset are EINVAL.",
    source=_MMAP,
    used_by=UsedBy.BINDINGS,
)
def arguments() -> None:
    private, file = MapFlag.PRIVATE | MapFlag.ANONYMOUS, memfd(2)
    refused(errno.EINVAL, calls.mmap, 0, 0, READ_WRITE, private)
    refused(errno.EINVAL, calls.mmap, reserve(_TWO) + 1, PAGE, READ_WRITE, private | MapFlag.FIXED)
    refused(errno.EINVAL, calls.mmap, 0, PAGE, READ_WRITE, MapFlag.SHARED, file, 1)


@assumes(
    "mmap.reservation",
    "An inaccessible private mapping without reservation holds a range and is not charged: touching it is SIGSEGV.",
    source=f"{_MMAP}, MAP_NORESERVE; proc_sys_vm(5)",
    used_by=UsedBy.HEAP,
)
def reservation() -> None:
    address = reserve(64 * GIB)
    holds("nothing is charged for it", "ac" not in flags_at(address), sorted(flags_at(address)))
    refused(errno.EFAULT, calls.peek, address, 1)
    equal("what touching it does", child.signal_of(lambda: calls.load(address, 1)), "SIGSEGV")


@assumes(
    "mmap.reservation-whole-again",
    "A reservation over whose parts other mappings came and went is one mapping again.",
    source="measured",
    used_by=UsedBy.HEAP,
)
def reservation_whole_again() -> None:
    address = reserve(_FOUR)
    calls.munmap(address - PAGE, PAGE)
    calls.munmap(address + _FOUR, PAGE)
    view(memfd(1), 1, address=address + PAGE)
    anonymous(1, address=address + _TWO)
    calls.mmap(address + PAGE, _TWO, Prot.NONE, _RESERVED | MapFlag.FIXED)
    equal("mappings", count_in(address, address + _FOUR), 1)


@assumes(
    "madvise.dontfork",
    "A forked child does not have memory with MADV_DONTFORK: touching it is SIGSEGV; the parent keeps it.",
    source=_MADVISE,
    used_by=UsedBy.HEAP,
)
def dontfork() -> None:
    address = MEMFD_SHARED.make(2)
    calls.madvise(address, _TWO, Advice.DONTFORK)
    equal("what touching it in the child does", child.signal_of(lambda: calls.load(address, 1)), "SIGSEGV")
    equal("the parent's pages", stamps(address, 2), stamped("map", range(2)))


@assumes(
    "madvise.dontdump",
    "Memory with MADV_DONTDUMP is marked as left out of core dumps.",
    source=_MADVISE,
    used_by=UsedBy.HEAP,
)
def dontdump() -> None:
    address = MEMFD_SHARED.make(2)
    holds("not marked before", "dd" not in flags_at(address), sorted(flags_at(address)))
    calls.madvise(address, _TWO, Advice.DONTDUMP)
    holds("marked afterwards", "dd" in flags_at(address), sorted(flags_at(address)))


@assumes(
    "madvise.part-splits",
    "Advice that is kept for a part of a mapping splits it; mremap of the whole is then refused or costs more.",
    source=_MADVISE,
    used_by=UsedBy.HEAP,
)
def part_splits() -> None:
    address = MEMFD_SHARED.make(4)
    calls.madvise(address + PAGE, PAGE, Advice.DONTFORK)
    equal("mappings", count_in(address, address + _FOUR), 3)
    refused((errno.EFAULT, errno.EINVAL), calls.mremap, address, _FOUR, _FOUR, _KEEP)


@assumes(
    "madvise.dontneed-private",
    "MADV_DONTNEED makes private anonymous memory zeros.",
    source=_MADVISE,
    used_by=UsedBy.HEAP,
)
def dontneed_private() -> None:
    address = PRIVATE_ANONYMOUS.make(2)
    calls.madvise(address, _TWO, Advice.DONTNEED)
    equal("the pages", stamps(address, 2), [ZEROS, ZEROS])


@assumes("madvise.dontneed-locked", "MADV_DONTNEED on locked memory is EINVAL.", source=_MADVISE, used_by=UsedBy.HEAP)
def dontneed_locked() -> None:
    address = MEMFD_SHARED.make(2)
    lock(address, 2)
    refused(errno.EINVAL, calls.madvise, address, _TWO, Advice.DONTNEED)


@assumes(
    "madvise.populate-write",
    "MADV_POPULATE_WRITE maps all pages of a range, keeping what they hold.",
    source=f"{_MADVISE}, 5.14",
    used_by=UsedBy.HEAP,
    since=(5, 14),
)
def populate_write() -> None:
    address = view(memfd(4), 4)
    calls.store(address + PAGE, stamp("kept", 1))
    error = refusal(calls.madvise, address, _FOUR, Advice.POPULATE_WRITE)
    if error is not None:
        equal("how it is refused", name_of(error.errno), "EINVAL")
        raise LackingError("this kernel does not know MADV_POPULATE_WRITE (EINVAL)")
    equal("what the page tables have", [is_present(address + page * PAGE, PAGE) for page in range(4)], [True] * 4)
    equal("the page that was there", calls.load(address + PAGE, STAMP_BYTES), stamp("kept", 1))


@assumes(
    "madvise.unknown",
    "Advice that the kernel does not know is EINVAL; for a range that is not mapped, ENOMEM.",
    source=_MADVISE,
    used_by=UsedBy.BINDINGS,
)
def unknown_advice() -> None:
    refused(errno.EINVAL, calls.madvise, anonymous(1), PAGE, 9999)
    refused(errno.ENOMEM, calls.madvise, hole(1), PAGE, Advice.DONTNEED)


@assumes(
    "peek.efault",
    "On oneself, process_vm_readv and process_vm_writev report memory that cannot be touched: EFAULT, no signal.",
    source="process_vm_readv(2)",
    used_by=UsedBy.BINDINGS,
)
def peek_efault() -> None:
    # The hole comes last: what is mapped after it may land in it.
    read_only, empty = anonymous(1, prot=Prot.READ), hole(1)
    refused(errno.EFAULT, calls.peek, empty, 1)
    refused(errno.EFAULT, calls.poke, empty, b"x")
    refused(errno.EFAULT, calls.poke, read_only, b"x")
    equal("what can be read", calls.peek(read_only, 1), bytes(1))


@assumes(
    "accounting.locked-memory",
    "Moving locked memory with MREMAP_DONTUNMAP and unmapping both ranges leaves no locked memory in VmLck.",
    source="measured; mended in 7.3, and in 7.2 with 7.2.8",
    used_by=UsedBy.HEAP,
    since=(5, 13),
    known_bug=KnownBug((6, 15), (7, 2), "VmLck after both are unmapped"),
)
def locked_memory() -> None:
    before = status_bytes("VmLck")
    old = MEMFD_SHARED.make(4)
    lock(old, 4)
    equal("VmLck once locked", status_bytes("VmLck") - before, _FOUR)
    new = moved(MEMFD_SHARED, old, 4, _KEEP)
    calls.munmap(old, _FOUR)
    calls.munmap(new, _FOUR)
    equal("VmLck after both are unmapped", status_bytes("VmLck") - before, 0)


@assumes(
    "accounting.charge-kept",
    "After MREMAP_DONTUNMAP of private memory both ranges are marked as charged for.",
    source="measured; mended in 6.18-rc3",
    known_bug=KnownBug((6, 15), (6, 17), "the old range is"),
)
def charge_kept() -> None:
    old = PRIVATE_ANONYMOUS.make(4)
    holds("charged for before", "ac" in flags_at(old), sorted(flags_at(old)))
    new = moved(PRIVATE_ANONYMOUS, old, 4, _KEEP)
    holds("the new range is", "ac" in flags_at(new), sorted(flags_at(new)))
    holds("the old range is", "ac" in flags_at(old), sorted(flags_at(old)))


@assumes(
    "accounting.committed",
    "After MREMAP_DONTUNMAP of private memory Committed_AS rises by its length, and falls back when both ranges are unmapped.",
    source="measured; proc_meminfo(5)",
    known_bug=KnownBug((6, 15), (6, 17), "Committed_AS falls back"),
)
def committed() -> str:
    # Larger than what the rest of the machine is likely to change meanwhile, and no more than the kernel grants at once.
    length = min(4 * GIB, memory_bytes("MemTotal") // 4) // PAGE * PAGE
    slack = length // 2
    before = memory_bytes("Committed_AS")
    try:
        old = anonymous(length // PAGE)
        new = moved(PRIVATE_ANONYMOUS, old, length // PAGE, _KEEP)
    except OSError as error:
        skip(f"{length >> 20} MiB twice are not granted here: {error}")
    both = memory_bytes("Committed_AS") - before
    calls.munmap(old, length)
    calls.munmap(new, length)
    none = memory_bytes("Committed_AS") - before
    holds("Committed_AS rises by both ranges", abs(both - 2 * length) < slack, both)
    holds("Committed_AS falls back", abs(none) < slack, none)
    return f"{length >> 20} MiB twice: rises by {both >> 20} MiB, {none >> 20} MiB are left"
