"""madvise: the advice that changes what memory shows or which flags a mapping has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from subduct.model.fault import Access, fault_in
from subduct.model.mapping import SPECIAL, VmFlag
from subduct.model.memfd import punch_file
from subduct.model.uapi import PAGE, Advice, Prot, page_up

if TYPE_CHECKING:
    from subduct.model.mapping import Mapping
    from subduct.model.state import State

_READ_AHEAD = VmFlag.RANDOM | VmFlag.SEQUENTIAL
# Advice that changes flags: which it clears and which it sets.
_FLAGS = {
    Advice.NORMAL: (_READ_AHEAD, VmFlag.NONE),
    Advice.RANDOM: (_READ_AHEAD, VmFlag.RANDOM),
    Advice.SEQUENTIAL: (_READ_AHEAD, VmFlag.SEQUENTIAL),
    Advice.DONTFORK: (VmFlag.NONE, VmFlag.DONTCOPY),
    Advice.DOFORK: (VmFlag.DONTCOPY, VmFlag.NONE),
    Advice.DONTDUMP: (VmFlag.NONE, VmFlag.DONTDUMP),
    Advice.DODUMP: (VmFlag.DONTDUMP, VmFlag.NONE),
}
_POPULATE = (Advice.POPULATE_READ, Advice.POPULATE_WRITE)
_DISCARDS = (Advice.DONTNEED, Advice.REMOVE, Advice.DONTFORK)


def madvise(state: State, address: int, length: int, advice: int) -> None:
    """Raises RefusedCall; what comes before an error is done, and gaps are skipped."""
    book = state.book
    known = advice in set(Advice) and (advice not in _POPULATE or book.holds("madvise.populate"))
    book.check("madvise.unknown", not known)
    book.check("madvise.address-unaligned", address % PAGE)
    if length == 0:
        return
    end = address + page_up(length)
    if advice in _POPULATE:
        _populate(state, address, end, write=advice == Advice.POPULATE_WRITE)
        return
    whole = state.covered(address, end)
    for begin, stop in [(max(address, m.start), min(end, m.end)) for m in state.layout.within(address, end)]:
        mapping = state.layout.at(begin)
        assert mapping is not None, "a part of a mapping is mapped"
        _check_sealed(state, mapping, Advice(advice))
        _advise(state, mapping, begin, stop, Advice(advice))
    book.check("madvise.unmapped", not whole)


def _check_sealed(state: State, mapping: Mapping, advice: Advice) -> None:
    protected = VmFlag.SEALED in mapping.flags and mapping.anonymous and Prot.WRITE not in mapping.prot
    state.book.check("madvise.discard-sealed", protected and advice in _DISCARDS)


def _advise(state: State, mapping: Mapping, start: int, end: int, advice: Advice) -> None:
    if advice == Advice.DONTNEED:
        state.book.check("madvise.dontneed-locked", mapping.flags & (VmFlag.LOCKED | VmFlag.PFNMAP))
        state.table.clear(start, end)
    elif advice == Advice.REMOVE:
        _remove(state, mapping, start, end)
    else:
        state.book.check("madvise.dodump-special", advice == Advice.DODUMP and mapping.flags & SPECIAL)
        cleared, added = _FLAGS[advice]
        flags = mapping.flags & ~cleared | added
        if flags != mapping.flags:
            part = state.change(mapping, start, end)
            part.flags = flags
            state.layout.settle(part)


def _remove(state: State, mapping: Mapping, start: int, end: int) -> None:
    check = state.book.check
    check("madvise.remove-locked", VmFlag.LOCKED in mapping.flags)
    check("madvise.remove-anonymous", mapping.file is None)
    check("madvise.remove-private", not mapping.shared or VmFlag.MAYWRITE not in mapping.flags)
    check("madvise.remove-read-only", Prot.WRITE not in mapping.prot)
    assert mapping.file is not None
    punch_file(state, mapping.file, mapping.index_at(start), mapping.index_at(end))


def _populate(state: State, start: int, end: int, *, write: bool) -> None:
    check = state.book.check
    for address in range(start, end, PAGE):
        mapping = state.layout.at(address)
        check("madvise.unmapped", mapping is None)
        assert mapping is not None
        allowed = (Prot.WRITE if write else Prot.READ) in mapping.prot
        check("madvise.populate-special", not allowed or VmFlag.PFNMAP in mapping.flags)
        check("madvise.populate-fault", fault_in(state, mapping, address, write=write) is not Access.OK)
