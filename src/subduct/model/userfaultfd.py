"""userfaultfd: registering ranges, and filling their pages by copying, with zeros, or from the page cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from subduct.model.fault import prepare
from subduct.model.file import Page
from subduct.model.mapping import Mapping, Registration, VmFlag
from subduct.model.rules import RefusedCall
from subduct.model.table import Entry
from subduct.model.uapi import (
    IOCTL_CONTINUE,
    IOCTL_COPY,
    IOCTL_MOVE,
    IOCTL_POISON,
    IOCTL_WAKE,
    IOCTL_WRITEPROTECT,
    IOCTL_ZEROPAGE,
    PAGE,
    TASK_SIZE,
    Feature,
    RegisterMode,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from subduct.model.state import State

_MODES = int(RegisterMode.MISSING | RegisterMode.WP | RegisterMode.MINOR)
# UFFDIO_COPY_MODE_DONTWAKE and its likes: the same bit for all three calls.
_DONTWAKE = 1


def userfaultfd(state: State, fd: int, features: Feature) -> int:
    """Opens a descriptor, whose number the caller chose, with features that the kernel has been asked for."""
    state.check_free(fd)
    state.descriptors[fd] = features
    return fd


def register(state: State, fd: int, address: int, length: int, mode: int) -> int:
    """The bits of the calls that the range allows. Raises RefusedCall; nothing is registered then."""
    check = state.book.check
    _check_descriptor(state, fd)
    check("uffd.mode", mode == 0 or mode & ~_MODES)
    end = _check_range(state, address, length)
    mappings = state.layout.within(address, end)
    check("uffd.register-unmapped", not mappings)
    for mapping in mappings:
        _check_kind(state, mapping, RegisterMode(mode))
        check("uffd.register-write-sealed", VmFlag.MAYWRITE not in mapping.flags)
        foreign = mapping.registration is not None and mapping.registration.descriptor != fd
        check("uffd.register-busy", foreign)
        protected = mapping.registration is not None and mapping.registration.mode & RegisterMode.WP
        check("uffd.register-keeps-wp", protected and not mode & RegisterMode.WP)
    registration = Registration(fd, RegisterMode(mode), state.descriptors[fd])
    for begin, stop in [(max(address, each.start), min(end, each.end)) for each in mappings]:
        present = _at(state, begin)
        if present.registration is not None and present.registration.mode & mode == mode:
            continue
        _set_registration(state, present, begin, stop, registration)
    return _calls(state, RegisterMode(mode))


def unregister(state: State, fd: int, address: int, length: int) -> None:
    """Raises RefusedCall; nothing is unregistered then."""
    check = state.book.check
    _check_descriptor(state, fd)
    end = _check_range(state, address, length)
    mappings = state.layout.within(address, end)
    check("uffd.register-unmapped", not mappings)
    for mapping in mappings:
        foreign = mapping.registration is not None and mapping.registration.descriptor != fd
        check("uffd.unregister-foreign", foreign)
        _check_kind(state, mapping, RegisterMode(0))
    for begin, stop in [(max(address, each.start), min(end, each.end)) for each in mappings]:
        mapping = _at(state, begin)
        if mapping.registration is not None:
            _set_registration(state, mapping, begin, stop, None)


def _set_registration(state: State, mapping: Mapping, begin: int, stop: int, registration: Registration | None) -> None:
    behind = begin == mapping.start or state.book.holds("uffd.inside-merges-behind")
    part = state.change(mapping, begin, stop)
    part.registration = registration
    state.layout.settle(part, behind=behind)


def _check_descriptor(state: State, fd: int) -> None:
    state.book.check("uffd.descriptor", fd not in state.descriptors and fd not in state.files)
    state.book.check("uffd.other-descriptor", fd not in state.descriptors)


def _at(state: State, address: int) -> Mapping:
    mapping = state.layout.at(address)
    assert mapping is not None, "a part of a mapping is mapped"
    return mapping


def _check_range(state: State, address: int, length: int) -> int:
    outside = address > TASK_SIZE - length or length > TASK_SIZE
    state.book.check("uffd.range", address % PAGE or length % PAGE or length == 0 or outside)
    return address + length


def _check_kind(state: State, mapping: Mapping, mode: RegisterMode) -> None:
    check = state.book.check
    check("uffd.register-kind", mapping.flags & (VmFlag.DONTEXPAND | VmFlag.PFNMAP))
    check("uffd.minor-anonymous", mode & RegisterMode.MINOR and mapping.anonymous)
    check("uffd.minor-shmem", mode & RegisterMode.MINOR)
    check("uffd.wp-shmem", mode & RegisterMode.WP and not mapping.anonymous)


def _calls(state: State, mode: RegisterMode) -> int:
    calls = IOCTL_WAKE | IOCTL_COPY | IOCTL_ZEROPAGE
    calls |= IOCTL_WRITEPROTECT if mode & RegisterMode.WP else 0
    calls |= IOCTL_CONTINUE if mode & RegisterMode.MINOR else 0
    calls |= IOCTL_POISON if state.book.holds("uffd.poison") else 0
    return calls | (IOCTL_MOVE if state.book.holds("uffd.move") else 0)


def copy(state: State, destination: int, values: list[int], mode: int) -> int:
    """UFFDIO_COPY of pages with these contents: bytes done. Raises RefusedCall if none were."""

    def fill(mapping: Mapping, address: int) -> None:
        _fill(state, mapping, address, values[(address - destination) // PAGE])

    return _each_page(state, destination, len(values) * PAGE, mode, fill)


def zeropage(state: State, address: int, length: int, mode: int) -> int:
    """UFFDIO_ZEROPAGE: bytes done. Raises RefusedCall if none were."""

    def fill(mapping: Mapping, at: int) -> None:
        if mapping.shared:
            _fill(state, mapping, at, 0)
        else:
            _check_file(state, mapping, at)
            _install(state, at, Entry(Page(), cached=True))

    return _each_page(state, address, length, mode, fill)


def continue_(state: State, address: int, length: int, mode: int) -> int:
    """UFFDIO_CONTINUE: bytes done. Raises RefusedCall if none were."""

    def fill(mapping: Mapping, at: int) -> None:
        check = state.book.check
        assert mapping.file is not None
        index = mapping.index_at(at)
        check("uffd.continue-beyond-file", index >= mapping.file.page_count)
        check("uffd.continue-hole", index not in mapping.file.pages)
        page = mapping.file.page(index)
        _install(state, at, Entry(page, cached=True))

    state.book.check("uffd.continue-missing", broken=True)
    return _each_page(state, address, length, mode, fill, from_file=True)


def _each_page(
    state: State, address: int, length: int, mode: int, fill: Callable[[Mapping, int], None], *, from_file: bool = False
) -> int:
    end = _check_range(state, address, length)
    state.book.check("uffd.fill-mode", mode & ~_DONTWAKE)
    mapping = state.layout.at(address)
    if mapping is not None and state.book.holds("uffd.fill-prepares-first"):
        prepare(state, mapping)
    unregistered = mapping is None or end > mapping.end or mapping.registration is None
    state.book.check("uffd.fill-unregistered", unregistered)
    assert mapping is not None
    state.book.check("uffd.continue-kind", from_file and mapping.file is None)
    prepare(state, mapping)
    for at in range(address, end, PAGE):
        try:
            fill(mapping, at)
        except RefusedCall:
            if at == address:
                raise
            return at - address
    return length


def _fill(state: State, mapping: Mapping, address: int, value: int) -> None:
    """Gives an address a page of its own: in the file if the mapping is shared, else a private one."""
    check = state.book.check
    _check_file(state, mapping, address)
    if mapping.shared:
        assert mapping.file is not None
        index = mapping.index_at(address)
        check("uffd.fill-present", index in mapping.file.pages)
        page = mapping.file.page(index)
        page.value = value
        _install(state, address, Entry(page, cached=True))
    else:
        _install(state, address, Entry(Page(value), cached=False))


def _check_file(state: State, mapping: Mapping, address: int) -> None:
    beyond = mapping.file is not None and mapping.index_at(address) >= mapping.file.page_count
    state.book.check("uffd.fill-beyond-shared-file", beyond and mapping.shared)
    state.book.check("uffd.fill-beyond-file", beyond)


def _install(state: State, address: int, entry: Entry) -> None:
    state.book.check("uffd.fill-present", state.table.get(address) is not None)
    state.table.set(address, entry)
