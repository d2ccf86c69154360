"""What mremap does with mappings that are special: made by the kernel, sealed, of huge pages, locked, several at once."""

from __future__ import annotations

import errno
from functools import partial
from typing import TYPE_CHECKING

from subduct.kernel import Advice, MapFlag, Prot, RemapFlag, calls
from subduct.selftest import child, raw
from subduct.selftest.assumption import UsedBy, assumes
from subduct.selftest.expect import LackingError, equal, holds, name_of, refused, skip
from subduct.selftest.memory import (
    MEMFD_SHARED,
    MIB,
    PAGE,
    PRIVATE_ANONYMOUS,
    READ_WRITE,
    ZEROS,
    Kind,
    anonymous,
    hole,
    lock,
    reserve,
    stamped,
    stamps,
    write_stamps,
)
from subduct.selftest.mremap_kinds import moved
from subduct.selftest.proc import count_in, flags_at, mapping_at, mappings

if TYPE_CHECKING:
    from collections.abc import Callable

_MOVE = RemapFlag.MAYMOVE
_KEEP = RemapFlag.MAYMOVE | RemapFlag.DONTUNMAP
_KEEP_AT = _KEEP | RemapFlag.FIXED
_MOVE_AT = RemapFlag.MAYMOVE | RemapFlag.FIXED
_TWO, _FOUR = 2 * PAGE, 4 * PAGE
_RULE = "commit a4609387859f (5.13): all but VM_DONTEXPAND and VM_PFNMAP; private anonymous memory only before"
_SEALS = "mseal(2), 6.10"
_SEVERAL = "mremap(2), MREMAP_FIXED over several mappings, 6.17; measured"
_HUGE = 2 * MIB


def _perf_ring() -> int:
    return calls.mmap(0, _TWO, READ_WRITE, MapFlag.SHARED, raw.perf_event())


def _io_uring() -> int:
    descriptor, length = raw.io_uring()
    return calls.mmap(0, length, READ_WRITE, MapFlag.SHARED, descriptor)


def _named(name: str) -> int:
    found = [line.start for line in mappings() if line.path == name]
    return found[0] if found else skip(f"this kernel maps no {name} into processes")


# The one thing that is mapped into each, and how to find it.
_KERNEL_MADE: dict[str, tuple[str, Callable[[], int]]] = {
    "perf-ring": ("the ring of a perf event", _perf_ring),
    "io-uring-ring": ("the ring of an io_uring", _io_uring),
    "aio-ring": ("the ring of an aio context", raw.aio_context),
    "vvar": ("the kernel's variables beside the vdso", lambda: _named("[vvar]")),
    "vdso": ("the vdso", lambda: _named("[vdso]")),
}
_NOT_ALLOWED = {errno.ENOSYS, errno.EPERM, errno.EACCES, errno.ENOENT, errno.ENOMEM, errno.EMFILE}


def _made(make: Callable[[], int]) -> tuple[int, int]:
    """Address and length of a mapping that the kernel made."""
    try:
        address = make()
    except OSError as error:
        if error.errno in _NOT_ALLOWED:
            skip(f"it cannot be made here: {error}")
        raise
    line = mapping_at(address)
    if line is None:
        raise AssertionError(f"nothing is mapped at {address:#x}")
    return line.start, line.end - line.start


def _cannot_be_kept(make: Callable[[], int]) -> None:
    address, length = _made(make)
    refused(errno.EINVAL, calls.mremap, address, length, length, _KEEP)
    refused(errno.EINVAL, calls.mremap, address, length, length, _KEEP_AT, reserve(length))
    holds("it is still mapped", mapping_at(address) is not None, mapping_at(address))


def _cannot_grow(make: Callable[[], int]) -> None:
    address, length = _made(make)
    refused(errno.EFAULT, calls.mremap, address, length, length + PAGE, _MOVE)


for _name, (_words, _make) in _KERNEL_MADE.items():
    assumes(
        f"mremap.dontunmap.refused.{_name}",
        f"MREMAP_DONTUNMAP of {_words} is EINVAL, for it exists once.",
        source=_RULE,
        used_by=UsedBy.BINDINGS,
    )(partial(_cannot_be_kept, _make))

for _name in ("perf-ring", "aio-ring"):
    _words, _make = _KERNEL_MADE[_name]
    assumes(f"mremap.efault.grows.{_name}", f"Growing {_words} is EFAULT.", source=_RULE, used_by=UsedBy.BINDINGS)(
        partial(_cannot_grow, _make)
    )


def _huge(length: int) -> int:
    """The address of a mapping of huge pages, none of which is taken."""
    flags = MapFlag.PRIVATE | MapFlag.ANONYMOUS | MapFlag.HUGETLB | MapFlag.NORESERVE
    try:
        return calls.mmap(0, length, READ_WRITE, flags)
    except OSError as error:
        skip(f"no mapping of huge pages here: {error}")


@assumes(
    "mremap.dontunmap.refused.hugetlb",
    "MREMAP_DONTUNMAP of a mapping of explicit huge pages is EINVAL.",
    source=_RULE,
    used_by=UsedBy.BINDINGS,
)
def keeps_no_huge_pages() -> None:
    address = _huge(_HUGE)
    refused(errno.EINVAL, calls.mremap, address, _HUGE, _HUGE, _KEEP)
    refused(errno.EINVAL, calls.mremap, address, _HUGE, _HUGE, _KEEP_AT, reserve(_HUGE, _HUGE))


@assumes(
    "mremap.einval.hugetlb-unaligned",
    "Addresses inside a huge page are EINVAL for a mapping of explicit huge pages.",
    source="mremap(2), ERRORS",
    used_by=UsedBy.BINDINGS,
)
def huge_pages_unaligned() -> None:
    address = _huge(2 * _HUGE)
    refused(errno.EINVAL, calls.mremap, address + PAGE, _HUGE, _HUGE, _KEEP)
    refused(errno.EINVAL, calls.mremap, address, _HUGE, _HUGE, _MOVE_AT, reserve(2 * _HUGE, _HUGE) + PAGE)


def _sealed(pages: int) -> int:
    """The address of anonymous memory that is sealed."""
    address = anonymous(pages)
    try:
        calls.mseal(address, pages * PAGE)
    except OSError as error:
        skip(f"this kernel seals no mappings: {error}")
    return address


@assumes(
    "mremap.eperm.sealed-source",
    "A sealed mapping cannot be moved, grown or shrunk: EPERM.",
    source=_SEALS,
    used_by=UsedBy.BINDINGS,
)
def sealed_source() -> None:
    old, target = _sealed(2), anonymous(2)
    write_stamps(target, 2, "kept")
    refused(errno.EPERM, calls.mremap, old, _TWO, _TWO, _KEEP)
    refused(errno.EPERM, calls.mremap, old, _TWO, PAGE, 0)
    refused(errno.EPERM, calls.mremap, old, _TWO, _FOUR, _MOVE)
    refused(errno.EPERM, calls.mremap, old, _TWO, _TWO, _KEEP_AT, reserve(_TWO))
    holds("the sealed mapping is still there", mapping_at(old) is not None, mapping_at(old))


@assumes(
    "mremap.eperm.sealed-destination",
    "MREMAP_FIXED over a sealed mapping is EPERM, and both ranges are as before.",
    source=_SEALS,
    used_by=UsedBy.BINDINGS,
)
def sealed_destination() -> None:
    old, target = anonymous(2), _sealed(2)
    write_stamps(old, 2, "old")
    write_stamps(target, 2, "sealed")
    refused(errno.EPERM, calls.mremap, old, _TWO, _TWO, _KEEP_AT, target)
    equal("the old range", stamps(old, 2), stamped("old", range(2)))
    equal("the destination", stamps(target, 2), stamped("sealed", range(2)))


@assumes(
    "mseal.holds",
    "A sealed mapping cannot be unmapped, replaced or protected otherwise: EPERM.",
    source=_SEALS,
    used_by=UsedBy.BINDINGS,
)
def seals_hold() -> None:
    address = _sealed(2)
    refused(errno.EPERM, calls.munmap, address, _TWO)
    refused(errno.EPERM, calls.mprotect, address, _TWO, Prot.READ)
    refused(errno.EPERM, anonymous_over, address)


def anonymous_over(address: int) -> int:
    """Maps two pages over what is there."""
    return anonymous(2, address=address)


def _two_mappings(kind: Kind) -> int:
    """The address of four pages in two mappings, the second one for reading only."""
    address = kind.make(4)
    calls.mprotect(address + _TWO, _TWO, Prot.READ)
    return address


def _moved_at_once(kind: Kind, address: int, length: int, flags: int, target: int) -> None:
    try:
        moved(kind, address, length // PAGE, flags, target)
    except OSError as error:
        equal("how it is refused", name_of(error.errno), "EFAULT")
        raise LackingError("several mappings cannot be moved at once (EFAULT)") from error


@assumes(
    "mremap.several.refused",
    "Until Linux 6.16 an old range over two mappings is EFAULT with MREMAP_FIXED too.",
    source="mremap(2), ERRORS",
    used_by=UsedBy.BINDINGS,
    until=(6, 16),
)
def several_refused() -> None:
    refused(errno.EFAULT, calls.mremap, _two_mappings(PRIVATE_ANONYMOUS), _FOUR, _FOUR, _MOVE_AT, reserve(_FOUR))
    refused(errno.EFAULT, calls.mremap, _two_mappings(PRIVATE_ANONYMOUS), _FOUR, _FOUR, _KEEP_AT, reserve(_FOUR))


@assumes(
    "mremap.several.move",
    "MREMAP_FIXED with equal lengths moves several mappings, each with its protection.",
    source=_SEVERAL,
    used_by=UsedBy.BINDINGS,
    since=(6, 17),
)
def several_move() -> None:
    old, target = _two_mappings(PRIVATE_ANONYMOUS), reserve(_FOUR)
    _moved_at_once(PRIVATE_ANONYMOUS, old, _FOUR, _MOVE_AT, target)
    equal("the new range", stamps(target, 4), stamped("map", range(4)))
    equal("mappings at the old range", count_in(old, old + _FOUR), 0)
    modes = [line.permissions[:2] for line in mappings() if target <= line.start < target + _FOUR]
    equal("what may be done with the two", modes, ["rw", "r-"])


def _several_kept(kind: Kind) -> None:
    old, target = _two_mappings(kind), reserve(_FOUR)
    _moved_at_once(kind, old, _FOUR, _KEEP_AT, target)
    equal("the new range", stamps(target, 4), stamped("map", range(4)))
    equal("the old range", stamps(old, 4), kind.left(range(4)))
    equal("mappings at the old range", count_in(old, old + _FOUR), 2)


for _kind in (PRIVATE_ANONYMOUS, MEMFD_SHARED):
    assumes(
        f"mremap.several.dontunmap.{_kind.name}",
        f"MREMAP_DONTUNMAP moves several mappings of {_kind.words.removeprefix('a ')}, and the old ones show "
        + ("the same pages again." if _kind.shared else "zeros."),
        source=_SEVERAL,
        used_by=UsedBy.BINDINGS,
        since=(6, 17),
    )(partial(_several_kept, _kind))


@assumes(
    "mremap.several.gap-between",
    "A gap between the mappings is passed over: what lies at its place in the destination stays.",
    source=_SEVERAL,
    used_by=UsedBy.BINDINGS,
    since=(6, 17),
)
def gap_between() -> None:
    # First, so that it does not come to lie in the gap.
    target = anonymous(6)
    write_stamps(target, 6, "target")
    old = hole(6)
    for start in (old, old + _FOUR):
        write_stamps(anonymous(2, address=start), 2, "old")
    _moved_at_once(PRIVATE_ANONYMOUS, old, 6 * PAGE, _KEEP_AT, target)
    two, gap = stamped("old", range(2)), stamped("target", range(2, 4))
    equal("the new range", stamps(target, 6), two + gap + two)
    holds("the gap is still one", mapping_at(old + _TWO) is None, mapping_at(old + _TWO))


@assumes(
    "mremap.several.gap-at-start",
    "A gap at the start of the old range is EFAULT.",
    source=_SEVERAL,
    used_by=UsedBy.BINDINGS,
)
def gap_at_start() -> None:
    old = hole(4)
    anonymous(2, address=old + _TWO)
    refused(errno.EFAULT, calls.mremap, old, _FOUR, _FOUR, _MOVE_AT, reserve(_FOUR))


@assumes(
    "mremap.several.resize-refused",
    "Several mappings with a new length that differs are EFAULT.",
    source=_SEVERAL,
    used_by=UsedBy.BINDINGS,
)
def several_resized() -> None:
    old = _two_mappings(PRIVATE_ANONYMOUS)
    refused(errno.EFAULT, calls.mremap, old, _FOUR, 5 * PAGE, _MOVE_AT, reserve(6 * PAGE))
    equal("the old range", stamps(old, 4), stamped("map", range(4)))


@assumes(
    "mremap.dontunmap.locked",
    "Locked memory can be moved: the new range is locked, the old one is not any more.",
    source="mremap(2), NOTES",
    since=(5, 13),
)
def locked() -> None:
    old = MEMFD_SHARED.make(2)
    lock(old, 2)
    target = reserve(_TWO)
    moved(MEMFD_SHARED, old, 2, _KEEP_AT, target)
    holds("the new range is locked", "lo" in flags_at(target), sorted(flags_at(target)))
    holds("the old range is not locked", "lo" not in flags_at(old), sorted(flags_at(old)))
    equal("the old range", stamps(old, 2), stamped("map", range(2)))


@assumes(
    "mremap.dontunmap.advice-kept",
    "Both ranges keep what madvise said of the old one: not for children, not for core dumps.",
    source="measured",
    used_by=UsedBy.HEAP,
    since=(5, 13),
)
def advice_kept() -> None:
    old, target = MEMFD_SHARED.make(2), reserve(_TWO)
    calls.madvise(old, _TWO, Advice.DONTFORK)
    calls.madvise(old, _TWO, Advice.DONTDUMP)
    moved(MEMFD_SHARED, old, 2, _KEEP_AT, target)
    for words, address in (("the old range", old), ("the new range", target)):
        holds(f"{words} is not for children or dumps", flags_at(address) >= {"dc", "dd"}, sorted(flags_at(address)))


@assumes(
    "mremap.dontunmap.one-mapping",
    "The old range stays one mapping when the whole of it is moved, however often.",
    source="measured",
    used_by=UsedBy.HEAP,
    since=(5, 13),
)
def one_mapping() -> None:
    old, target = MEMFD_SHARED.make(4), reserve(_FOUR)
    for _ in range(3):
        moved(MEMFD_SHARED, old, 4, _KEEP_AT, target)
        equal("mappings of the old range", count_in(old, old + _FOUR), 1)
        calls.mmap(target, _FOUR, Prot.NONE, MapFlag.PRIVATE | MapFlag.ANONYMOUS | MapFlag.NORESERVE | MapFlag.FIXED)


@assumes(
    "mremap.move-takes-away",
    "Without MREMAP_DONTUNMAP nothing is mapped at the old range after a move: touching it is SIGSEGV.",
    source="mremap(2)",
    used_by=UsedBy.BINDINGS,
)
def move_takes_away() -> None:
    old, target = anonymous(2), reserve(_TWO)
    write_stamps(old, 2, "old")
    calls.mremap(old, _TWO, _TWO, _MOVE_AT, target)
    equal("the new range", stamps(target, 2), stamped("old", range(2)))
    equal("what touching the old range does", child.signal_of(lambda: calls.load(old, 1)), "SIGSEGV")


@assumes(
    "mremap.grows-and-shrinks",
    "Memory grows by zeros and shrinks from its end.",
    source="mremap(2)",
    used_by=UsedBy.BINDINGS,
)
def grows_and_shrinks() -> None:
    old = anonymous(2)
    write_stamps(old, 2, "old")
    grown = calls.mremap(old, _TWO, _FOUR, _MOVE)
    equal("after growing", stamps(grown, 4), [*stamped("old", range(2)), ZEROS, ZEROS])
    equal("the address after shrinking", calls.mremap(grown, _FOUR, PAGE, 0), grown)
    equal("after shrinking", stamps(grown, 1), stamped("old", range(1)))
    holds("the rest is unmapped", mapping_at(grown + PAGE) is None, mapping_at(grown + PAGE))
