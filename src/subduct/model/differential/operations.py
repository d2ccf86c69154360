"""The kinds of operation that a comparison is made of, and the calls they become."""

from __future__ import annotations

from typing import TYPE_CHECKING

from subduct.model.differential import ground
from subduct.model.differential.call import Call
from subduct.model.uapi import PAGE, PMD, PUD, Advice, MapFlag, Prot, RegisterMode, RemapFlag, Seal

if TYPE_CHECKING:
    from collections.abc import Callable

    from subduct.model.differential.choice import Choice
    from subduct.model.mapping import Mapping

# The numbers that stand for file descriptors; one that is never open.
FILES = (10, 11)
SPARSE_FILE = 12
DESCRIPTORS = (20, 21)
_CLOSED = 99
_FILE_PAGES = 16
_FIXED, _MAYMOVE, _DONTUNMAP = RemapFlag.FIXED, RemapFlag.MAYMOVE, RemapFlag.DONTUNMAP
_READ_WRITE = Prot.READ | Prot.WRITE
_FAR = 1 << 62

SETUP_FILES = (
    *(Call("memfd_create", (fd, 1)) for fd in FILES),
    *(Call("ftruncate", (fd, _FILE_PAGES * PAGE)) for fd in FILES),
    Call("memfd_create", (SPARSE_FILE, 0)),
    Call("ftruncate", (SPARSE_FILE, 2 * PUD)),
    Call("mmap", (ground.START, 8 * PAGE, _READ_WRITE, MapFlag.SHARED | MapFlag.FIXED, FILES[0], 0)),
    *(Call("poke", (ground.START + number * PAGE, 1000 + number)) for number in range(4)),
)
SETUP_DESCRIPTORS = tuple(Call("userfaultfd", (fd,)) for fd in DESCRIPTORS)


def _map(choice: Choice) -> Call:
    flags = choice.among(
        (MapFlag.SHARED, MapFlag.PRIVATE | MapFlag.ANONYMOUS, MapFlag.PRIVATE, MapFlag.SHARED | MapFlag.ANONYMOUS)
    )
    prot = choice.among((_READ_WRITE, _READ_WRITE, _READ_WRITE, Prot.READ, Prot.NONE))
    fd = -1 if flags & MapFlag.ANONYMOUS else choice.among((*FILES, FILES[0], FILES[0]))
    offset = choice.number(8) * PAGE
    address, length = choice.page(), choice.length()
    beside = choice.mapping() if choice.number(2) else None
    if beside is not None and beside.end < ground.END:
        address = beside.end
        if beside.anonymous and choice.number(2):
            flags, prot, fd = MapFlag.PRIVATE | MapFlag.ANONYMOUS, beside.prot, -1
        if fd >= 0 and beside.file is choice.state.files.get(fd):
            offset = beside.index_at(beside.end) * PAGE
    flags |= choice.among((MapFlag.FIXED, MapFlag.FIXED, MapFlag.FIXED, MapFlag.FIXED_NOREPLACE, MapFlag(0)))
    length = min(length, ground.END - address)
    if choice.number(12) == 11:
        odd = choice.number(6)
        fd = _CLOSED if odd == 0 and fd >= 0 else fd
        offset += 1 if odd == 1 else 0
        length = 0 if odd == 2 else length
        flags &= ~(MapFlag.SHARED | MapFlag.PRIVATE) if odd == 3 else ~MapFlag(0)
        address += 1 if odd == 4 and flags & MapFlag.FIXED else 0
        address = _FAR if odd == 5 and flags & MapFlag.FIXED else address
    return Call("mmap", (address, length, prot, flags, fd, offset))


def _unmap(choice: Choice) -> Call:
    address, length = choice.span()
    if choice.rarely():
        return Call("munmap", choice.among(((address, 0), (_FAR, length), (address, _FAR))))
    return Call("munmap", (choice.odd(address), choice.odd(length)))


_REMAP_FLAGS = (
    *(_MAYMOVE | _FIXED,) * 6,
    *(_MAYMOVE | _FIXED | _DONTUNMAP,) * 8,
    *(_MAYMOVE | _DONTUNMAP,) * 4,
    *(_MAYMOVE,) * 4,
    *(RemapFlag(0),) * 3,
    _FIXED,
    _DONTUNMAP,
    8 | _MAYMOVE,
)


def _up_to_next(choice: Choice, address: int, length: int) -> int:
    """The length that makes a range reach the next mapping, or a page more than it has."""
    following = choice.state.layout.after(address + length)
    if following is None or following.start >= ground.END or following.start == address + length:
        return length + PAGE
    return following.start - address


def _remap(choice: Choice) -> Call:
    flags = choice.among(_REMAP_FLAGS)
    address, length = choice.span()
    new_length = length
    change = choice.number(8)
    if change == 4 and not flags & (_FIXED | _DONTUNMAP):
        new_length = _up_to_next(choice, address, length)
    elif change == 5 or (change == 3 and not flags & _DONTUNMAP):
        new_length += choice.length()
    elif change == 6:
        new_length = max(PAGE, length - choice.length())
    elif change == 7:
        new_length = choice.among((0, _FAR, length - 1, length - 1))
    target = choice.page()
    near = choice.number(4)
    mapping = choice.mapping() if near > 1 else None
    if mapping is not None:
        target = mapping.start if near == 2 else min(mapping.end, ground.END - PAGE)
    elif choice.rarely():
        target = choice.among((_FAR, 0, target + 1))
    # With MREMAP_DONTUNMAP the address is a hint that is followed where there is room.
    aimed = flags & (_FIXED | _DONTUNMAP)
    if aimed and target != _FAR and new_length != _FAR and target + new_length > ground.END:
        target = ground.END - min(new_length, ground.PAGES * PAGE)
    old_length = 0 if choice.rarely() else length
    return Call("mremap", (choice.odd(address), old_length, new_length, flags, target))


def _protect(choice: Choice) -> Call:
    address, length = choice.span()
    prot = choice.among((Prot.READ, _READ_WRITE, Prot.NONE))
    return Call("mprotect", (choice.odd(address), length, prot))


_ADVICE = (*(Advice.DONTNEED,) * 6, *(Advice.REMOVE,) * 2, *Advice)


def _advise(choice: Choice) -> Call:
    advice = choice.among(_ADVICE)
    address, length = choice.span()
    return Call("madvise", (choice.odd(address), length, 200 if choice.rarely() else advice))


def _lock(choice: Choice) -> Call:
    return Call("mlock", choice.span())


def _unlock(choice: Choice) -> Call:
    return Call("munlock", choice.span())


def _seal(choice: Choice) -> Call:
    address, length = choice.span()
    return Call("mseal", (choice.odd(address), length))


def _truncate(choice: Choice) -> Call:
    size = choice.number(_FILE_PAGES + 4) * PAGE
    return Call("ftruncate", (_CLOSED if choice.rarely() else choice.among(FILES), size))


def _punch(choice: Choice) -> Call:
    length = 0 if choice.rarely() else choice.length()
    return Call("punch", (choice.among(FILES), choice.number(_FILE_PAGES) * PAGE, length))


def _allocate(choice: Choice) -> Call:
    length = 0 if choice.rarely() else choice.length()
    return Call("fallocate", (choice.among(FILES), choice.number(_FILE_PAGES) * PAGE, length))


def _seal_file(choice: Choice) -> Call:
    seal = choice.among((Seal.SHRINK, Seal.GROW, Seal.WRITE, Seal.WRITE, Seal.SEAL))
    return Call("add_seals", (choice.among((*FILES, FILES[1])), seal))


def _peek(choice: Choice) -> Call:
    return Call("peek", (choice.address(),))


def _poke(choice: Choice) -> Call:
    return Call("poke", (choice.address(), 1 + choice.number(250)))


def _load(choice: Choice) -> Call:
    return Call("load", (choice.address(),))


def _store(choice: Choice) -> Call:
    return Call("store", (choice.address(), 1 + choice.number(250)))


_MODES = (
    RegisterMode.MISSING | RegisterMode.MINOR,
    RegisterMode.MISSING,
    RegisterMode.MISSING,
    RegisterMode.MINOR,
    RegisterMode.MISSING | RegisterMode.WP,
    RegisterMode.WP,
)


def _descriptor(choice: Choice) -> int:
    return choice.among((*DESCRIPTORS[:1] * 7, DESCRIPTORS[1]))


def _register(choice: Choice) -> Call:
    mode = choice.among(_MODES)
    address, length = choice.span()
    wrong = choice.among((0, 8)) if choice.rarely() else mode
    return Call("uffd_register", (_descriptor(choice), choice.odd(address), length, wrong))


def _unregister(choice: Choice) -> Call:
    address, length = choice.span()
    return Call("uffd_unregister", (_descriptor(choice), choice.odd(address), length))


def _registered(choice: Choice) -> tuple[int, int] | None:
    """A range to fill: of registered pages, rarely of any. None if nothing is registered."""
    if choice.rarely():
        return choice.span()
    found = [each for each in choice.state.layout if each.registration and ground.START <= each.start < ground.END]
    if not found:
        return None
    mapping = choice.among(found)
    start = min(mapping.start + choice.number(mapping.pages) * PAGE, ground.END - PAGE)
    return start, min(choice.length(), ground.END - start)


def _copy(choice: Choice) -> Call:
    span = _registered(choice)
    if span is None:
        return _register(choice)
    values = [2000 + choice.number(250) for _ in range(span[1] // PAGE)]
    return Call("uffd_copy", (_descriptor(choice), choice.odd(span[0]), values, choice.number(2)))


def _zeropage(choice: Choice) -> Call:
    span = _registered(choice)
    if span is None:
        return _register(choice)
    return Call("uffd_zeropage", (_descriptor(choice), span[0], choice.odd(span[1]), choice.number(2)))


def _continue(choice: Choice) -> Call:
    span = _registered(choice)
    if span is None:
        return _register(choice)
    return Call("uffd_continue", (_descriptor(choice), *span, 8 if choice.rarely() else choice.number(2)))


_SHIFTS = (0, 0, PMD, PAGE)
_SIZES = (PUD, PUD, 2 * PMD, PMD)


def _slot(choice: Choice) -> tuple[int, int]:
    """Address and length of something large: often of all levels of page tables, at times of fewer."""
    shift, size = choice.among(_SHIFTS), choice.among(_SIZES)
    return choice.among(ground.SLOTS) + shift, size - shift if size == PUD else size


def _map_slot(choice: Choice) -> Call:
    address, length = _slot(choice)
    kind = choice.among((MapFlag.SHARED, MapFlag.SHARED, MapFlag.PRIVATE))
    offset = choice.among((0, PUD, PAGE))
    return Call("mmap", (address, length, _READ_WRITE, kind | MapFlag.FIXED, SPARSE_FILE, offset))


def _slots(choice: Choice) -> list[Mapping]:
    return [each for each in choice.state.layout if ground.SLOTS[0] <= each.start < ground.RING]


def _poke_slot(choice: Choice) -> Call:
    mapped = [at for at in ground.LANDMARKS if choice.state.layout.at(at)]
    if not mapped:
        return _map_slot(choice)
    return Call("poke", (choice.among(mapped), 1 + choice.number(250)))


def _remap_slot(choice: Choice) -> Call:
    found = _slots(choice)
    if not found:
        return _map_slot(choice)
    target, length = _slot(choice)
    mapping = choice.among(found)
    address, size = mapping.start, min(mapping.length, PUD)
    if choice.number(3) == 2:
        size = min(size, length)
    flags = choice.among((_MAYMOVE | _FIXED | _DONTUNMAP, _MAYMOVE | _FIXED))
    target = min(target, ground.SLOTS[-1] + PUD - size)
    return Call("mremap", (address, size, size, flags, target))


def _register_slot(choice: Choice) -> Call:
    found = _slots(choice)
    if not found:
        return _map_slot(choice)
    mapping = choice.among(found)
    address, length = mapping.start, choice.among((mapping.length, mapping.length, PAGE))
    return Call("uffd_register", (_descriptor(choice), address, length, choice.among(_MODES)))


def _map_ring(_choice: Choice) -> Call:
    return Call("map_ring", ())


def _remap_ring(choice: Choice) -> Call:
    if choice.state.layout.at(ground.RING) is None:
        return _map_ring(choice)
    length = ground.RING_PAGES * PAGE
    flags = choice.among((_MAYMOVE | _DONTUNMAP, _MAYMOVE | _FIXED | _DONTUNMAP, _MAYMOVE, RemapFlag(0)))
    new_length = length if flags & _DONTUNMAP else 2 * length
    return Call("mremap", (ground.RING, length, new_length, flags, ground.RING + 32 * PAGE))


def _remap_vvar(choice: Choice) -> Call:
    flags = choice.among((_MAYMOVE | _DONTUNMAP, _MAYMOVE, RemapFlag(0)))
    return Call("remap_vvar", (flags, 0 if flags & _DONTUNMAP else PAGE))


def _register_ring(choice: Choice) -> Call:
    if choice.state.layout.at(ground.RING) is None:
        return _map_ring(choice)
    return Call("uffd_register", (_descriptor(choice), ground.RING, ground.RING_PAGES * PAGE, choice.among(_MODES)))


def _dump_ring(choice: Choice) -> Call:
    if choice.state.layout.at(ground.RING) is None:
        return _map_ring(choice)
    return Call("madvise", (ground.RING, ground.RING_PAGES * PAGE, Advice.DODUMP))


# How often each kind is chosen, and how it becomes a call.
KINDS: dict[str, tuple[int, Callable[[Choice], Call]]] = {
    "map": (10, _map),
    "unmap": (2, _unmap),
    "remap": (16, _remap),
    "protect": (3, _protect),
    "advise": (5, _advise),
    "lock": (3, _lock),
    "unlock": (1, _unlock),
    "seal": (2, _seal),
    "truncate": (2, _truncate),
    "punch": (3, _punch),
    "allocate": (2, _allocate),
    "seal file": (2, _seal_file),
    "peek": (5, _peek),
    "poke": (8, _poke),
    "load": (1, _load),
    "store": (1, _store),
    "register": (7, _register),
    "unregister": (2, _unregister),
    "copy": (4, _copy),
    "zeropage": (3, _zeropage),
    "continue": (4, _continue),
    "map slot": (2, _map_slot),
    "poke slot": (3, _poke_slot),
    "remap slot": (3, _remap_slot),
    "register slot": (1, _register_slot),
    "map ring": (1, _map_ring),
    "remap ring": (1, _remap_ring),
    "remap vvar": (1, _remap_vvar),
    "register ring": (1, _register_ring),
    "dump ring": (1, _dump_ring),
}

NEED_USERFAULTFD = frozenset(
    {"register", "unregister", "copy", "zeropage", "continue", "register slot", "register ring"}
)
NEED_VVAR = frozenset({"remap vvar"})
NEED_PERF = frozenset({"map ring", "remap ring", "register ring", "dump ring"})
