"""mremap, step by step in the order of the version."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from subduct.model.fault import populate
from subduct.model.mapping import SPECIAL, Mapping, VmFlag
from subduct.model.table import Levels, Steps
from subduct.model.uapi import PAGE, PMD, TASK_SIZE, WORD, Feature, RemapFlag, page_up

if TYPE_CHECKING:
    from collections.abc import Callable

    from subduct.model.state import State

_KNOWN = int(RemapFlag.MAYMOVE | RemapFlag.FIXED | RemapFlag.DONTUNMAP)
# The kernel stays this far below the limit, since a move may split mappings.
_SPARE_MAPPINGS = 5


@dataclass(slots=True)
class Request:
    """The arguments of a call, as the steps change them; the mapping at the old address, once it is looked up; the result,
    once there is one; the checks that were passed."""

    address: int
    old_length: int
    new_length: int
    flags: int
    new_address: int
    found: Mapping | None = None
    result: int | None = None
    passed: list[str] = field(default_factory=list)

    @property
    def mapping(self) -> Mapping:
        """The mapping that was looked up."""
        assert self.found is not None, "no step has looked the mapping up"
        return self.found

    @property
    def targeted(self) -> bool:
        """Whether the flags imply a new address."""
        return bool(self.flags & (RemapFlag.FIXED | RemapFlag.DONTUNMAP))

    @property
    def fixed(self) -> bool:
        """MREMAP_FIXED."""
        return bool(self.flags & RemapFlag.FIXED)

    @property
    def keeps_old(self) -> bool:
        """MREMAP_DONTUNMAP."""
        return bool(self.flags & RemapFlag.DONTUNMAP)

    @property
    def growth(self) -> int:
        """Bytes that the mapping grows by."""
        return max(0, self.new_length - self.old_length)

    @property
    def end(self) -> int:
        """The end of the old range."""
        return self.address + self.old_length


def mremap(state: State, request: Request) -> int:
    """The new address. Raises RefusedCall."""
    _run(state, request, "mremap.entry")
    if request.fixed and request.old_length == request.new_length and state.book.holds("mremap.several-mappings"):
        return _move_several(state, request)
    return _remap(state, request)


def _remap(state: State, request: Request) -> int:
    _run(state, request, "mremap.to" if request.targeted else "mremap.at")
    assert request.result is not None, "the steps end in a result"
    return request.result


def _run(state: State, request: Request, order: str) -> None:
    for step in state.book.order(order):
        if request.result is not None:
            return
        if step in _CHECKS:
            state.book.check(step, _CHECKS[step](state, request))
            request.passed.append(step)
        else:
            _ACTIONS[step](state, request)


def _move_several(state: State, request: Request) -> int:
    """Moves all mappings in the old range one by one, each as a call of its own; what was moved before an error stays so."""
    pieces = state.layout.within(request.address, request.end)
    state.book.check("mremap.several-gap", not pieces or pieces[0].start > request.address)
    ranges = [(max(each.start, request.address), min(each.end, request.end)) for each in pieces]
    for start, end in ranges:
        found = state.layout.at(start)
        assert found is not None, "moving one mapping leaves the others"
        alone = start == request.address and found.end >= request.end
        state.book.check("mremap.several-registered", found.registration is not None and not alone)
        new = request.new_address + start - request.address
        piece = Request(start, end - start, end - start, request.flags, new, passed=request.passed)
        _remap(state, piece)
    return request.new_address


def _shared(_state: State, request: Request) -> bool:
    return request.keeps_old and not (request.mapping.anonymous and not request.mapping.shared)


def _overlap(_state: State, request: Request) -> bool:
    new_end = request.new_address + request.new_length
    return request.targeted and request.end > request.new_address and new_end > request.address


def _finds_no_place(state: State, request: Request) -> bool:
    hint = request.new_address if request.targeted else 0
    return not request.fixed and state.choose(hint, request.new_length) <= 0


def _beyond_end(_state: State, request: Request) -> bool:
    return request.targeted and request.new_address > TASK_SIZE - request.new_length


def _index_overflows(_state: State, request: Request) -> bool:
    index = request.mapping.index_at(request.address)
    return bool(request.growth) and index + request.new_length // PAGE >= WORD


def _locks_too_much(state: State, request: Request) -> bool:
    limit = state.limits.locked_bytes
    locked = state.locked_pages * PAGE + request.growth
    return bool(request.growth) and VmFlag.LOCKED in request.mapping.flags and limit is not None and locked > limit


def _exceeds(state: State, more: int) -> bool:
    limit = state.limits.address_space_bytes
    return bool(more) and limit is not None and state.mapped_pages * PAGE + more > limit


_Check: TypeAlias = "Callable[[State, Request], object]"
_CHECKS: dict[str, _Check] = {
    "mremap.flags": lambda _, r: r.flags & ~_KNOWN,
    "mremap.fixed-without-maymove": lambda _, r: r.fixed and not r.flags & RemapFlag.MAYMOVE,
    "mremap.dontunmap-without-maymove": lambda _, r: r.keeps_old and not r.flags & RemapFlag.MAYMOVE,
    "mremap.dontunmap-resizes": lambda _, r: r.keeps_old and r.old_length != r.new_length,
    "mremap.address-unaligned": lambda _, r: r.address % PAGE,
    "mremap.new-length-zero": lambda _, r: page_up(r.new_length) == 0,
    "mremap.new-length-too-long": lambda _, r: r.new_length > TASK_SIZE,
    "mremap.new-address-unaligned": lambda _, r: r.targeted and r.new_address % PAGE,
    "mremap.new-range-beyond-end": _beyond_end,
    "mremap.overlap": _overlap,
    "mremap.too-many-mappings": lambda s, r: r.targeted and len(s.layout) + _SPARE_MAPPINGS >= s.limits.mappings,
    "mremap.unmapped": lambda _, r: r.found is None,
    "mremap.sealed": lambda _, r: VmFlag.SEALED in r.mapping.flags,
    "mremap.duplicate-private": lambda _, r: r.old_length == 0 and not r.mapping.shared,
    "mremap.dontunmap-shared": _shared,
    "mremap.dontunmap-dontexpand": lambda _, r: r.keeps_old and VmFlag.DONTEXPAND in r.mapping.flags,
    "mremap.dontunmap-pfnmap": lambda _, r: r.keeps_old and VmFlag.PFNMAP in r.mapping.flags,
    "mremap.crosses-end": lambda _, r: min(r.old_length, r.new_length) > r.mapping.end - r.address,
    "mremap.growth-index": _index_overflows,
    "mremap.growth-special": lambda _, r: r.growth and r.mapping.flags & SPECIAL,
    "mremap.locked-limit": _locks_too_much,
    "mremap.address-space-limit": lambda s, r: _exceeds(s, r.growth),
    "mremap.dontunmap-address-space-limit": lambda s, r: r.keeps_old and _exceeds(s, r.old_length),
    "mremap.below-minimum": lambda s, r: r.fixed and r.new_address < s.limits.lowest_address,
    "mremap.no-room": lambda _, r: not r.flags & RemapFlag.MAYMOVE,
    "mremap.no-place": _finds_no_place,
}


def _round_lengths(_state: State, request: Request) -> None:
    request.old_length, request.new_length = page_up(request.old_length), page_up(request.new_length)


def _find(state: State, request: Request) -> None:
    request.found = state.layout.at(request.address)


def _unmap_destination(state: State, request: Request) -> None:
    if request.fixed:
        end = request.new_address + request.new_length
        state.check_unmap(request.new_address, end)
        state.unmap(request.new_address, end)


def _shrink(state: State, request: Request) -> None:
    if request.old_length > request.new_length:
        start = request.address + request.new_length
        state.check_unmap(start, request.end)
        state.unmap(start, request.end)
        request.old_length = request.new_length


def _stay_or_shrink(state: State, request: Request) -> None:
    if request.old_length >= request.new_length:
        _shrink(state, request)
        request.result = request.address


def _grow_in_place(state: State, request: Request) -> None:
    mapping, end = request.mapping, request.mapping.end
    fits = end + request.growth <= TASK_SIZE and not state.layout.within(end, end + request.growth)
    if request.end != end or not fits:
        return
    state.layout.grow(mapping, request.growth, merges=state.book.holds("mremap.growth-merges"))
    request.result = request.address
    if VmFlag.LOCKED in mapping.flags:
        state.locked_pages += request.growth // PAGE
        populate(state, mapping, end, end + request.growth)


def _move(state: State, request: Request) -> None:
    mapping = request.mapping
    hint = request.new_address if request.targeted else 0
    new = request.new_address if request.fixed else state.choose(hint, request.new_length)
    moved = mapping.part(request.address, mapping.end)
    moved.start, moved.end = new, new + request.new_length
    if mapping.anonymous and mapping.anon is None and state.book.holds("mremap.unwritten-reindexed"):
        moved.index = new // PAGE
    apart = mapping if request.keeps_old and not state.book.holds("mremap.merges-with-source") else None
    if _loses_registration(moved) and state.book.holds("mremap.registered-apart"):
        state.layout.add(moved)
    else:
        moved = state.layout.add_merged(moved, apart=apart)
    state.steps += _move_entries(state, request, new, moved)
    _drop_registration(state, moved)
    if VmFlag.LOCKED in moved.flags and (not request.keeps_old or state.book.holds("mremap.locked-leak")):
        state.locked_pages += request.new_length // PAGE
    if request.keeps_old:
        _leave_old(state, request, moved)
    else:
        state.unmap(request.address, request.end)
    if VmFlag.LOCKED in moved.flags and request.growth:
        populate(state, moved, new + request.old_length, new + request.new_length)
    request.result = new


def levels(state: State, mapping: Mapping) -> Levels:
    """The tables that moving a mapping may take as a whole."""
    registration = mapping.registration
    watched = registration is not None and Feature.EVENT_REMAP not in registration.features
    if watched and state.book.holds("tables.registered-by-entry"):
        return Levels(pmd=False, pud=False)
    return Levels(pmd=state.book.holds("tables.pmd"), pud=state.book.holds("tables.pud"))


def _move_entries(state: State, request: Request, new: int, moved: Mapping) -> Steps:
    """Moves the entries of the old range to `new`, in the mapping that holds the new range now."""
    old, length, mapping = request.address, request.old_length, request.mapping
    how = levels(state, mapping)
    back = old % PMD
    if (
        back
        and new % PMD == back
        and length >= PMD - back
        and state.book.holds("tables.realigned")
        and _begins_table(state, mapping, old)
        and _begins_table(state, moved, new)
    ):
        old, new, length = old - back, new - back, length + back
    return state.table.move(old, new, length, how)


def _begins_table(state: State, mapping: Mapping, address: int) -> bool:
    """Whether a mapping begins at an address, and nothing else is mapped before it in its table of 2 MiB."""
    return mapping.start == address and not state.layout.within(address - address % PMD, address)


def _drop_registration(state: State, moved: Mapping) -> None:
    if _loses_registration(moved) and state.book.holds("mremap.new-unregistered"):
        moved.registration = None


def _loses_registration(moved: Mapping) -> bool:
    return moved.registration is not None and Feature.EVENT_REMAP not in moved.registration.features


def _leave_old(state: State, request: Request, moved: Mapping) -> None:
    old = state.layout.at(request.address)
    assert old is not None
    splits = state.book.holds("mremap.unlocks-part") or state.book.holds("mremap.splits-locked")
    if VmFlag.LOCKED in old.flags and splits:
        old = state.change(old, request.address, request.end)
    if state.book.holds("mremap.old-unlocked"):
        old.flags &= ~VmFlag.LOCKED
    if state.book.holds("mremap.account-lost"):
        old.flags &= ~VmFlag.ACCOUNT
    if not state.book.holds("mremap.old-stays-registered"):
        old.registration = None
    inside = old.start < request.address and request.end < old.end
    behind = state.layout.after(old.end)
    spills = state.book.holds("mremap.account-spills") and old is not moved
    if inside and behind is not None and VmFlag.ACCOUNT in old.flags and spills:
        behind.flags |= VmFlag.ACCOUNT
    whole = (old.start, old.end) == (request.address, request.end)
    if old is not moved and whole and state.book.holds("mremap.old-unwritten"):
        old.anon = None


_ACTIONS: dict[str, Callable[[State, Request], None]] = {
    "round lengths": _round_lengths,
    "find mapping": _find,
    "unmap destination": _unmap_destination,
    "shrink": _shrink,
    "stay or shrink": _stay_or_shrink,
    "grow in place": _grow_in_place,
    "move": _move,
}
