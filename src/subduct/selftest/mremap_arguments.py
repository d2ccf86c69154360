"""What mremap refuses because of the arguments alone, or of what lies at the addresses: each errno of its check order."""

from __future__ import annotations

import errno
import resource
from pathlib import Path

from subduct.kernel import MapFlag, Prot, RemapFlag, calls
from subduct.selftest import child
from subduct.selftest.assumption import UsedBy, assumes
from subduct.selftest.expect import LackingError, equal, holds, name_of, refusal, refused, skip
from subduct.selftest.memory import (
    GIB,
    MEMFD_SHARED,
    PAGE,
    PRIVATE_ANONYMOUS,
    READ_WRITE,
    anonymous,
    hole,
    lock,
    reserve,
    stamped,
    stamps,
    write_stamps,
)
from subduct.selftest.proc import mapping_at, memory_bytes, setting

MAYMOVE, FIXED, DONTUNMAP = RemapFlag.MAYMOVE, RemapFlag.FIXED, RemapFlag.DONTUNMAP
_MANUAL = "mremap(2), ERRORS"
_SOURCE = "the kernel's order of checks; measured"
_TWO, _FOUR = 2 * PAGE, 4 * PAGE
# Above what any architecture gives to a process, and a multiple of every page size.
_BEYOND = 1 << 63
# More mappings than this take too long to make.
_MAPPINGS_MAX = 1 << 18


@assumes(
    "mremap.einval.unknown-flag",
    "A flag that the kernel does not know is EINVAL.",
    source=_MANUAL,
    used_by=UsedBy.BINDINGS,
)
def unknown_flag() -> None:
    refused(errno.EINVAL, calls.mremap, anonymous(2), _TWO, _TWO, MAYMOVE | 1 << 6)


@assumes(
    "mremap.einval.old-unaligned", "An old address inside a page is EINVAL.", source=_MANUAL, used_by=UsedBy.BINDINGS
)
def old_unaligned() -> None:
    refused(errno.EINVAL, calls.mremap, anonymous(2) + 1, PAGE, PAGE, MAYMOVE)


@assumes("mremap.einval.new-length-zero", "A new length of 0 is EINVAL.", source=_MANUAL, used_by=UsedBy.BINDINGS)
def new_length_zero() -> None:
    refused(errno.EINVAL, calls.mremap, anonymous(2), _TWO, 0, MAYMOVE)


@assumes(
    "mremap.einval.new-length-wraps",
    "A new length that becomes 0 when it is rounded up to pages is EINVAL.",
    source=_SOURCE,
    used_by=UsedBy.BINDINGS,
)
def new_length_wraps() -> None:
    refused(errno.EINVAL, calls.mremap, anonymous(2), _TWO, (1 << 64) - 1, MAYMOVE)


@assumes(
    "mremap.einval.new-unaligned-fixed",
    "With MREMAP_FIXED a new address inside a page is EINVAL.",
    source=_MANUAL,
    used_by=UsedBy.BINDINGS,
)
def new_unaligned_fixed() -> None:
    refused(errno.EINVAL, calls.mremap, anonymous(2), _TWO, _TWO, MAYMOVE | FIXED, reserve(2 * _TWO) + 1)


@assumes(
    "mremap.einval.new-unaligned-hint",
    "With MREMAP_DONTUNMAP a new address inside a page is EINVAL, though it is only a hint.",
    source=_SOURCE,
    used_by=UsedBy.BINDINGS,
)
def new_unaligned_hint() -> None:
    refused(errno.EINVAL, calls.mremap, anonymous(2), _TWO, _TWO, MAYMOVE | DONTUNMAP, reserve(2 * _TWO) + 1)


@assumes(
    "mremap.new-address-ignored",
    "Without MREMAP_FIXED and MREMAP_DONTUNMAP the new address means nothing, aligned or not.",
    source=_MANUAL,
    used_by=UsedBy.BINDINGS,
)
def new_address_ignored() -> None:
    old = anonymous(2)
    equal("the address returned", calls.mremap(old, _TWO, _TWO, MAYMOVE, reserve(2 * _TWO) + 1), old)


@assumes(
    "mremap.einval.fixed-alone",
    "MREMAP_FIXED without MREMAP_MAYMOVE is EINVAL.",
    source=_MANUAL,
    used_by=UsedBy.BINDINGS,
)
def fixed_alone() -> None:
    refused(errno.EINVAL, calls.mremap, anonymous(2), _TWO, _TWO, FIXED, reserve(_TWO))


@assumes(
    "mremap.einval.dontunmap-alone",
    "MREMAP_DONTUNMAP without MREMAP_MAYMOVE is EINVAL.",
    source=_MANUAL,
    used_by=UsedBy.BINDINGS,
)
def dontunmap_alone() -> None:
    refused(errno.EINVAL, calls.mremap, anonymous(2), _TWO, _TWO, DONTUNMAP)


@assumes(
    "mremap.einval.dontunmap-grows",
    "MREMAP_DONTUNMAP with a larger new length is EINVAL.",
    source=_MANUAL,
    used_by=UsedBy.BINDINGS,
)
def dontunmap_grows() -> None:
    refused(errno.EINVAL, calls.mremap, anonymous(2), PAGE, _TWO, MAYMOVE | DONTUNMAP)


@assumes(
    "mremap.einval.dontunmap-shrinks",
    "MREMAP_DONTUNMAP with a smaller new length is EINVAL.",
    source=_MANUAL,
    used_by=UsedBy.BINDINGS,
)
def dontunmap_shrinks() -> None:
    refused(errno.EINVAL, calls.mremap, anonymous(2), _TWO, PAGE, MAYMOVE | DONTUNMAP)


@assumes(
    "mremap.dontunmap.lengths-rounded",
    "From Linux 6.17 on MREMAP_DONTUNMAP compares lengths after rounding them up to pages.",
    source="the kernel's order of checks, 6.17; measured",
    used_by=UsedBy.BINDINGS,
    since=(6, 17),
)
def lengths_rounded() -> None:
    old = anonymous(2)
    error = refusal(calls.mremap, old, _TWO - 1, _TWO, MAYMOVE | DONTUNMAP)
    if error is not None:
        equal("how it is refused", name_of(error.errno), "EINVAL")
        raise LackingError("lengths that differ within a page are refused (EINVAL)")


@assumes(
    "mremap.einval.beyond-address-space",
    "A destination behind the end of the address space is EINVAL.",
    source=_SOURCE,
    used_by=UsedBy.BINDINGS,
)
def beyond_address_space() -> None:
    refused(errno.EINVAL, calls.mremap, anonymous(2), _TWO, _TWO, MAYMOVE | FIXED, _BEYOND)


@assumes(
    "mremap.einval.overlap",
    "Old and new ranges that overlap are EINVAL, before anything was unmapped.",
    source=_MANUAL,
    used_by=UsedBy.HEAP,
)
def overlap() -> None:
    old = anonymous(4)
    write_stamps(old, 4, "old")
    for flags in (MAYMOVE | FIXED, MAYMOVE | FIXED | DONTUNMAP):
        refused(errno.EINVAL, calls.mremap, old, _TWO, _TWO, flags, old + PAGE)
        refused(errno.EINVAL, calls.mremap, old + PAGE, _TWO, _TWO, flags, old)
        refused(errno.EINVAL, calls.mremap, old, _TWO, _TWO, flags, old)
    equal("the memory afterwards", stamps(old, 4), stamped("old", range(4)))


@assumes(
    "mremap.einval.overlap-hint",
    "With MREMAP_DONTUNMAP a hint that overlaps the old range is EINVAL, though it could be passed over.",
    source=_SOURCE,
    used_by=UsedBy.BINDINGS,
)
def overlap_hint() -> None:
    old = anonymous(4)
    refused(errno.EINVAL, calls.mremap, old, _TWO, _TWO, MAYMOVE | DONTUNMAP, old + PAGE)


@assumes(
    "mremap.efault.nothing-mapped",
    "An old address where nothing is mapped is EFAULT.",
    source=_MANUAL,
    used_by=UsedBy.BINDINGS,
)
def nothing_mapped() -> None:
    empty = hole(2)
    refused(errno.EFAULT, calls.mremap, empty, _TWO, _FOUR, MAYMOVE)
    refused(errno.EFAULT, calls.mremap, empty, _TWO, _TWO, MAYMOVE | DONTUNMAP)


@assumes(
    "mremap.efault.nothing-to-do",
    "Where nothing is mapped, a call that would neither move nor resize is EFAULT too.",
    source="the kernel's order of checks, 5.16; measured",
    used_by=UsedBy.BINDINGS,
    since=(5, 16),
)
def nothing_to_do() -> None:
    empty = hole(2)
    error = refusal(calls.mremap, empty, _TWO, _TWO, MAYMOVE)
    if error is None:
        raise LackingError("equal lengths succeed without a look at what is mapped")
    equal("how it is refused", name_of(error.errno), "EFAULT")


@assumes(
    "mremap.efault.runs-past-the-end",
    "An old range that runs past the end of its mapping into a gap is EFAULT, unless it only shrinks.",
    source=_MANUAL,
    used_by=UsedBy.BINDINGS,
)
def runs_past_the_end() -> None:
    start = hole(4)
    anonymous(2, address=start)
    refused(errno.EFAULT, calls.mremap, start, 3 * PAGE, 3 * PAGE, MAYMOVE | DONTUNMAP)
    refused(errno.EFAULT, calls.mremap, start, 3 * PAGE, 4 * PAGE, MAYMOVE)


@assumes(
    "mremap.efault.two-mappings",
    "An old range over two mappings is EFAULT where the kernel may choose the new address.",
    source=_MANUAL,
    used_by=UsedBy.BINDINGS,
)
def two_mappings() -> None:
    start = anonymous(4)
    calls.mprotect(start + _TWO, _TWO, Prot.READ)
    refused(errno.EFAULT, calls.mremap, start, 4 * PAGE, 4 * PAGE, MAYMOVE | DONTUNMAP)
    refused(errno.EFAULT, calls.mremap, start, 4 * PAGE, 8 * PAGE, MAYMOVE)


@assumes(
    "mremap.order.flags-before-address",
    "Wrong flags are told before a missing mapping: EINVAL, not EFAULT.",
    source=_SOURCE,
    used_by=UsedBy.BINDINGS,
)
def flags_before_address() -> None:
    empty = hole(2)
    refused(errno.EINVAL, calls.mremap, empty, _TWO, _TWO, DONTUNMAP)
    refused(errno.EINVAL, calls.mremap, empty, _TWO, PAGE, MAYMOVE | DONTUNMAP)
    refused(errno.EINVAL, calls.mremap, empty, _TWO, 0, MAYMOVE)


@assumes(
    "mremap.order.destination-kept",
    "When nothing is mapped at the old address, MREMAP_FIXED leaves the destination as it was.",
    source="the kernel's order of checks, 5.16; measured",
    used_by=UsedBy.BINDINGS,
    since=(5, 16),
)
def destination_kept() -> None:
    target = anonymous(2)
    write_stamps(target, 2, "kept")
    refused(errno.EFAULT, calls.mremap, hole(2), _TWO, _TWO, MAYMOVE | FIXED | DONTUNMAP, target)
    if mapping_at(target) is None:
        raise LackingError("the destination is unmapped before the old address is looked up")
    equal("the destination", stamps(target, 2), stamped("kept", range(2)))


@assumes(
    "mremap.order.destination-lost",
    "MREMAP_FIXED unmaps the destination before the last checks: a move that those refuse has lost it.",
    source=_SOURCE,
    used_by=UsedBy.BINDINGS,
)
def destination_lost() -> None:
    old, target = _sparse(GIB), reserve(GIB)
    _limit_address_space(GIB // 2 - GIB)
    # Only a destination that is mapped in part gives back less room than the move needs.
    calls.munmap(target + _TWO, GIB - _TWO)
    refused(errno.ENOMEM, calls.mremap, old, GIB, GIB, MAYMOVE | FIXED | DONTUNMAP, target)
    holds("the destination is unmapped", mapping_at(target) is None, mapping_at(target))


@assumes(
    "mremap.einval.old-length-zero-private",
    "An old length of 0, which duplicates shared memory, is EINVAL for a private mapping.",
    source=_MANUAL,
    used_by=UsedBy.BINDINGS,
)
def old_length_zero_private() -> None:
    refused(errno.EINVAL, calls.mremap, PRIVATE_ANONYMOUS.make(2), 0, _TWO, MAYMOVE)


@assumes(
    "mremap.old-length-zero-shared",
    "An old length of 0 makes a second mapping of shared memory, and leaves the first.",
    source="mremap(2), BUGS",
    used_by=UsedBy.BINDINGS,
)
def old_length_zero_shared() -> None:
    old = MEMFD_SHARED.make(2)
    new = calls.mremap(old, 0, _TWO, MAYMOVE)
    equal("the first mapping", stamps(old, 2), stamped("map", range(2)))
    equal("the second mapping", stamps(new, 2), stamped("map", range(2)))


@assumes(
    "mremap.enomem.grows-in-place",
    "Growing without MREMAP_MAYMOVE where the next page is taken is ENOMEM.",
    source=_MANUAL,
    used_by=UsedBy.BINDINGS,
)
def grows_in_place() -> None:
    start = reserve(4 * PAGE)
    anonymous(2, address=start)
    refused(errno.ENOMEM, calls.mremap, start, _TWO, 3 * PAGE, 0)


@assumes(
    "mremap.enomem.address-space-limit",
    "MREMAP_DONTUNMAP needs room for both ranges under RLIMIT_AS: ENOMEM, and the old range is as before.",
    source="setrlimit(2), RLIMIT_AS; measured",
    used_by=UsedBy.BINDINGS,
)
def address_space_limit() -> None:
    old = _sparse(GIB)
    write_stamps(old, 2, "old")
    _limit_address_space(GIB // 2)
    refused(errno.ENOMEM, calls.mremap, old, GIB, GIB, MAYMOVE | DONTUNMAP)
    equal("the old range", stamps(old, 2), stamped("old", range(2)))
    new = calls.mremap(old, GIB // 4, GIB // 4, MAYMOVE | DONTUNMAP)
    equal("a quarter, for which there is room", stamps(new, 2), stamped("old", range(2)))


def _sparse(length: int) -> int:
    """The address of private memory that nothing is charged for until it is touched."""
    flags = MapFlag.PRIVATE | MapFlag.ANONYMOUS | MapFlag.NORESERVE
    return calls.mmap(0, length, READ_WRITE, flags)


def _limit_address_space(spare: int) -> None:
    """Leaves this process `spare` bytes of address space."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * PAGE
    resource.setrlimit(resource.RLIMIT_AS, (used + spare, resource.getrlimit(resource.RLIMIT_AS)[1]))


@assumes(
    "mremap.enomem.commit-limit",
    "MREMAP_DONTUNMAP charges the whole new length of private memory: ENOMEM when the machine does not have it.",
    source="proc_sys_vm(5), overcommit_memory; 5.11, measured",
    used_by=UsedBy.BINDINGS,
    since=(5, 11),
)
def commit_limit() -> None:
    if setting("vm/overcommit_memory") != 0:
        skip("vm.overcommit_memory is not 0: what is granted depends on all processes, or on nothing")
    # Each half is granted, and the two become one mapping that is larger than all memory there is.
    half = (memory_bytes("MemTotal") + memory_bytes("SwapTotal")) * 3 // 4 // PAGE * PAGE
    start = reserve(2 * half)
    for address in (start, start + half):
        anonymous(half // PAGE, address=address)
    error = refusal(calls.mremap, start, 2 * half, 2 * half, MAYMOVE | DONTUNMAP)
    if error is None:
        raise LackingError("the charge is made without asking whether there is memory for it")
    equal("how it is refused", name_of(error.errno), "ENOMEM")
    refused(errno.ENOMEM, calls.mremap, start, 2 * half, 2 * half, MAYMOVE | FIXED | DONTUNMAP, reserve(2 * half))


@assumes(
    "mremap.enomem.too-many-mappings",
    "A process close to vm.max_map_count mappings cannot move one: ENOMEM.",
    source="proc_sys_vm(5), max_map_count",
    used_by=UsedBy.BINDINGS,
)
def too_many_mappings() -> None:
    most = setting("vm/max_map_count")
    if most is None or most > _MAPPINGS_MAX:
        skip(f"vm.max_map_count is {most}: too many to make")
    old, target, wide = anonymous(2), reserve(_TWO), reserve((most + 2) * PAGE)
    # Protecting every second page makes two mappings of one, until the kernel has enough of it.
    for page in range(1, most + 1, 2):
        if refusal(calls.mprotect, wide + page * PAGE, PAGE, Prot.READ) is not None:
            break
    refused(errno.ENOMEM, calls.mremap, old, _TWO, _TWO, MAYMOVE | DONTUNMAP)
    refused(errno.ENOMEM, calls.mremap, old, _TWO, _TWO, MAYMOVE | FIXED | DONTUNMAP, target)


@assumes(
    "mremap.eagain.locked-limit",
    "Growing locked memory over RLIMIT_MEMLOCK is EAGAIN.",
    source=_MANUAL,
    used_by=UsedBy.BINDINGS,
)
def locked_limit() -> None:
    child.give_up_rights()
    old = anonymous(2)
    lock(old, 2)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (_TWO, _TWO))
    refused(errno.EAGAIN, calls.mremap, old, _TWO, 4 * PAGE, MAYMOVE)
