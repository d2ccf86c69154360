"""What an access to memory does: the page it finds, the page it makes, or the signal it gets."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from subduct.model.file import Page
from subduct.model.mapping import AnonVma, VmFlag
from subduct.model.table import Entry
from subduct.model.uapi import PAGE, PMD, Prot, RegisterMode

if TYPE_CHECKING:
    from subduct.model.mapping import Mapping
    from subduct.model.state import State

_AROUND_PAGES = 16


class Access(Enum):
    """How an access ends: it is served, or it raises SIGSEGV or SIGBUS. Inside a system call both are EFAULT."""

    OK = "ok"
    SEGV = "SIGSEGV"
    BUS = "SIGBUS"


def access(state: State, address: int, *, write: bool) -> Access:
    """Does what reading or writing the page of an address does, without changing its content. A read fault may also map the
    cached pages around it."""
    mapping = state.layout.at(address)
    if mapping is None or (Prot.WRITE if write else Prot.READ) not in mapping.prot:
        return Access.SEGV
    return fault_in(state, mapping, address, write=write)


def fault_in(state: State, mapping: Mapping, address: int, *, write: bool) -> Access:
    """The same for an address of a mapping that allows the access. Never SEGV."""
    address -= address % PAGE
    entry = state.table.get(address)
    if entry is not None:
        if write and not mapping.shared and entry.cached:
            _copy(state, mapping, address, entry.page)
        return Access.OK
    if write:
        # Also where the access is refused in the end.
        prepare(state, mapping)
    if mapping.file is None:
        if mapping.catches(RegisterMode.MISSING):
            return Access.BUS
        if write:
            _copy(state, mapping, address, Page())
        else:
            state.table.set(address, Entry(Page(), cached=True))
        return Access.OK
    return _fault_in_file(state, mapping, address, write=write)


def _fault_in_file(state: State, mapping: Mapping, address: int, *, write: bool) -> Access:
    file, index = mapping.file, mapping.index_at(address)
    assert file is not None
    if not write and _map_around(state, mapping, address):
        return Access.OK
    if index >= file.page_count:
        return Access.BUS
    if mapping.catches(RegisterMode.MINOR if index in file.pages else RegisterMode.MISSING):
        return Access.BUS
    page = file.page(index)
    if write and not mapping.shared:
        _copy(state, mapping, address, page)
    else:
        state.table.set(address, Entry(page, cached=True))
    return Access.OK


def _map_around(state: State, mapping: Mapping, address: int) -> bool:
    """Maps the cached pages around an address; whether that address is among them."""
    state.table.make_table(address)
    if not state.book.holds("fault.around") or mapping.catches(RegisterMode.WP | RegisterMode.MINOR):
        return False
    assert mapping.file is not None
    number, offset = address % PMD // PAGE, (address - mapping.start) // PAGE
    first = max(number - number % _AROUND_PAGES, number - offset)
    end = min(first + _AROUND_PAGES, PMD // PAGE, number + mapping.pages - offset)
    for each in range(first, end):
        at = address + (each - number) * PAGE
        index = mapping.index_at(at)
        page = mapping.file.pages.get(index)
        if page is not None and page.filled and index < mapping.file.page_count and state.table.get(at) is None:
            state.table.set(at, Entry(page, cached=True))
    return state.table.get(address) is not None


def _copy(state: State, mapping: Mapping, address: int, page: Page) -> None:
    prepare(state, mapping)
    state.table.set(address, Entry(Page(page.value), cached=False))


def prepare(state: State, mapping: Mapping) -> None:
    """Makes a mapping ready for pages of its own: it shares the AnonVma of a neighbour that it continues, or has a new one."""
    if mapping.anon is not None or mapping.shared:
        return
    after, before = state.layout.after(mapping.end), state.layout.before(mapping.start)
    if after is not None and after.anon is not None and _continues(mapping, after):
        mapping.anon = after.anon
    elif before is not None and before.anon is not None and _continues(before, mapping):
        mapping.anon = before.anon
    else:
        mapping.anon = AnonVma()


def _continues(left: Mapping, right: Mapping) -> bool:
    return (
        left.end == right.start
        and left.file is right.file
        and left.flags == right.flags
        and _mode(left) == _mode(right)
        and left.index + left.pages == right.index
    )


def _mode(mapping: Mapping) -> RegisterMode:
    return mapping.registration.mode if mapping.registration else RegisterMode(0)


def read(state: State, address: int) -> int | Access:
    """The number at the start of the page of an address, or how the access fails."""
    outcome = access(state, address, write=False)
    if outcome is not Access.OK:
        return outcome
    entry = state.table.get(address - address % PAGE)
    assert entry is not None
    return entry.page.value


def write(state: State, address: int, value: int) -> Access:
    """Puts a number at the start of the page of an address."""
    outcome = access(state, address, write=True)
    if outcome is Access.OK:
        entry = state.table.get(address - address % PAGE)
        assert entry is not None
        entry.page.value = value
    return outcome


def populate(state: State, mapping: Mapping, start: int, end: int) -> bool:
    """Faults in a range of a mapping as locking does: for writing where that makes private copies. Stops at the first page
    that cannot be; whether there was none."""
    if VmFlag.PFNMAP in mapping.flags:
        return True
    if mapping.prot == Prot.NONE:
        return False
    write_pages = Prot.WRITE in mapping.prot and not mapping.shared
    for address in range(max(start, mapping.start), min(end, mapping.end), PAGE):
        if fault_in(state, mapping, address, write=write_pages) is not Access.OK:
            return False
    return True
