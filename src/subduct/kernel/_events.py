"""What a userfaultfd reports."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from subduct.kernel._enums import EventKind, FaultFlag

if TYPE_CHECKING:
    from collections.abc import Callable

    from subduct.kernel._userfaultfd import Userfaultfd

_MESSAGE = struct.Struct("=BxxxxxxxQQQ")
_THREAD = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class PageFault:
    """A thread touched a page and sleeps until somebody fills it and wakes it."""

    address: int
    """First address of the page; the byte that was touched, with Feature.EXACT_ADDRESS."""
    flags: FaultFlag
    """What kind of access, and why it faulted."""
    thread_id: int
    """The kernel's number of the thread, with Feature.THREAD_ID; else 0."""

    @property
    def write(self) -> bool:
        """Whether it was a write."""
        return FaultFlag.WRITE in self.flags

    @property
    def minor(self) -> bool:
        """Whether the file has the page already: answer with `continue_`."""
        return FaultFlag.MINOR in self.flags

    @property
    def write_protected(self) -> bool:
        """Whether it wrote to a protected page: answer with `writeprotect`."""
        return FaultFlag.WP in self.flags

    @property
    def missing(self) -> bool:
        """Whether there is no page: answer with `copy`, `zeropage`, `move` or `poison`."""
        return not self.flags & (FaultFlag.MINOR | FaultFlag.WP)


@dataclass(frozen=True, slots=True)
class Fork:
    """The process forked (Feature.EVENT_FORK). The child's faults are reported by a descriptor of their own."""

    child: Userfaultfd
    """The child's userfaultfd. Whoever reads the event owns it."""


@dataclass(frozen=True, slots=True)
class Remap:
    """mremap moved registered memory (Feature.EVENT_REMAP); the call returns once this was read."""

    old_address: int
    new_address: int
    length: int


@dataclass(frozen=True, slots=True)
class Remove:
    """madvise dropped registered memory (Feature.EVENT_REMOVE): DONTNEED, REMOVE. The call returns once this was read."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Unmap:
    """Registered memory was unmapped (Feature.EVENT_UNMAP); the call returns once this was read."""

    start: int
    end: int


Event: TypeAlias = PageFault | Fork | Remap | Remove | Unmap
"""Anything that is read from a userfaultfd."""


def parse_events(messages: bytes, adopt: Callable[[int], Userfaultfd]) -> list[Event]:
    """The events in messages of 32 bytes. `adopt` makes an object of the descriptor that comes with a fork.

    Raises ValueError for a kind that this version does not know.
    """
    events: list[Event] = []
    for kind, first, second, third in _MESSAGE.iter_unpack(messages):
        match kind:
            case EventKind.PAGEFAULT:
                events.append(PageFault(second, FaultFlag(first), third & _THREAD))
            case EventKind.FORK:
                events.append(Fork(adopt(first & _THREAD)))
            case EventKind.REMAP:
                events.append(Remap(first, second, third))
            case EventKind.REMOVE:
                events.append(Remove(first, second))
            case EventKind.UNMAP:
                events.append(Unmap(first, second))
            case _:
                raise ValueError(f"unknown userfaultfd event {kind:#x}")
    return events
