"""mprotect, mlock, munlock and mseal: calls that change what mappings allow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from subduct.model.fault import populate
from subduct.model.mapping import SPECIAL, VmFlag
from subduct.model.uapi import PAGE, Prot, page_up

if TYPE_CHECKING:
    from collections.abc import Iterator

    from subduct.model.mapping import Mapping
    from subduct.model.state import State


def _pieces(state: State, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The parts of a range that different mappings cover, up to the first gap."""
    pieces = [(max(start, each.start), min(end, each.end)) for each in state.layout.within(start, end)]
    for begin, stop in pieces:
        if begin != start:
            return
        start = stop
        yield begin, stop


def _at(state: State, address: int) -> Mapping:
    mapping = state.layout.at(address)
    assert mapping is not None, "a piece of a range is mapped"
    return mapping


def mprotect(state: State, address: int, length: int, prot: int) -> None:
    """Raises RefusedCall; what comes before an error is done."""
    book = state.book
    book.check("mprotect.address-unaligned", address % PAGE)
    end = address + page_up(length)
    if length == 0:
        return
    whole = state.covered(address, end)
    for begin, stop in _pieces(state, address, end):
        mapping = _at(state, begin)
        forbidden = prot & Prot.WRITE and VmFlag.MAYWRITE not in mapping.flags
        book.check("mprotect.write-sealed", forbidden)
        book.check("mprotect.sealed", VmFlag.SEALED in mapping.flags)
        if mapping.prot != prot:
            _protect(state, mapping, begin, stop, Prot(prot))
    book.check("mprotect.unmapped", not whole)


def _protect(state: State, mapping: Mapping, start: int, end: int, prot: Prot) -> None:
    unwritten = mapping.anonymous and mapping.anon is None
    was_writable = Prot.WRITE in mapping.prot
    part = state.change(mapping, start, end)
    part.prot = prot
    if Prot.WRITE in prot:
        if not was_writable and not part.shared:
            part.flags |= VmFlag.ACCOUNT
    elif unwritten and state.book.holds("mprotect.uncharges"):
        part.flags &= ~VmFlag.ACCOUNT
    part = state.layout.settle(part)
    if VmFlag.LOCKED in part.flags and not was_writable and Prot.WRITE in prot and not part.shared:
        populate(state, part, start, end)


def mlock(state: State, address: int, length: int) -> None:
    """Raises RefusedCall; what comes before a gap is locked, but not populated."""
    start, end = _whole_pages(address, length)
    limit = state.limits.locked_bytes
    state.book.check("mlock.forbidden", limit == 0)
    if start == end:
        return
    if limit is not None and (state.locked_pages * PAGE) + end - start > limit:
        already = sum(
            min(end, each.end) - max(start, each.start)
            for each in state.layout.within(start, end)
            if VmFlag.LOCKED in each.flags
        )
        state.book.check("mlock.limit", state.locked_pages * PAGE + end - start - already > limit)
    whole = state.covered(start, end)
    for begin, stop in _pieces(state, start, end):
        mapping = _at(state, begin)
        if VmFlag.LOCKED not in mapping.flags and not mapping.flags & SPECIAL:
            state.locked_pages += (stop - begin) // PAGE
            _lock(state, mapping, begin, stop, locked=True)
    state.book.check("mlock.unmapped", not whole)
    for mapping in state.layout.within(start, end):
        if VmFlag.LOCKED in mapping.flags:
            state.book.check("mlock.not-populated", not populate(state, mapping, start, end))


def munlock(state: State, address: int, length: int) -> None:
    """Raises RefusedCall; what comes before a gap is unlocked."""
    start, end = _whole_pages(address, length)
    if start == end:
        return
    whole = state.covered(start, end)
    for begin, stop in _pieces(state, start, end):
        mapping = _at(state, begin)
        if VmFlag.LOCKED in mapping.flags:
            state.locked_pages -= (stop - begin) // PAGE
            _lock(state, mapping, begin, stop, locked=False)
    state.book.check("mlock.unmapped", not whole)


def _whole_pages(address: int, length: int) -> tuple[int, int]:
    start = address - address % PAGE
    return start, start + page_up(length + address % PAGE)


def _lock(state: State, mapping: Mapping, start: int, end: int, *, locked: bool) -> None:
    part = state.change(mapping, start, end)
    part.flags = part.flags | VmFlag.LOCKED if locked else part.flags & ~VmFlag.LOCKED
    state.layout.settle(part)


def mseal(state: State, address: int, length: int) -> None:
    """Raises RefusedCall; nothing is sealed then."""
    book = state.book
    book.check("mseal.missing", broken=True)
    book.check("mseal.address-unaligned", address % PAGE)
    end = address + page_up(length)
    if end == address:
        return
    book.check("mseal.unmapped", not state.covered(address, end))
    for begin, stop in _pieces(state, address, end):
        mapping = _at(state, begin)
        if VmFlag.SEALED not in mapping.flags:
            part = state.change(mapping, begin, stop)
            part.flags |= VmFlag.SEALED
            state.layout.settle(part)
