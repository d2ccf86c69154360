"""Userfaultfd: what happens to registrations when memory is moved or taken away, and events about it."""

from __future__ import annotations

import contextlib
import errno
import os

from subduct.kernel import Advice, EventKind, Feature, RegisterMode, RemapFlag, calls
from subduct.selftest import child
from subduct.selftest.assumption import UsedBy, assumes
from subduct.selftest.expect import LackingError, UnexpectedError, equal, holds, refused
from subduct.selftest.faults import Armed, Beside, arm, arm_for_sigbus, descriptor, event
from subduct.selftest.memory import MEMFD_SHARED, PAGE, ZEROS, anonymous, reserve, stamped, stamps, write_stamps
from subduct.selftest.mremap_kinds import moved
from subduct.selftest.proc import flags_at, mapping_at

_MISSING = RegisterMode.MISSING
_KEEP_AT = RemapFlag.MAYMOVE | RemapFlag.FIXED | RemapFlag.DONTUNMAP
_MOVE_AT = RemapFlag.MAYMOVE | RemapFlag.FIXED
_TWO = 2 * PAGE
_NONE = range(0)
_EVENTS = "UFFDIO_API(2const), 4.11"


def _is_registered(address: int) -> bool:
    return bool(flags_at(address) & {"um", "ui", "uw"})


@assumes(
    "mremap.uffd.old-keeps",
    "After MREMAP_DONTUNMAP of a registered range the old range is still registered: its pages raise faults.",
    source="commit e346b3813067 (5.7); measured",
    used_by=UsedBy.BINDINGS,
    since=(5, 13),
)
def old_keeps() -> None:
    armed, target = arm_for_sigbus(2), reserve(_TWO)
    calls.uffd_continue(armed.uffd, armed.view, _TWO)
    calls.mremap(armed.view, _TWO, _TWO, _KEEP_AT, target)
    holds("the old range is registered", _is_registered(armed.view), sorted(flags_at(armed.view)))
    refused(errno.EFAULT, calls.peek, armed.view, 1)
    calls.uffd_continue(armed.uffd, armed.view, PAGE)
    equal("the old page once continued", stamps(armed.view, 1), stamped("file", range(1)))


@assumes(
    "mremap.uffd.new-loses",
    "After MREMAP_DONTUNMAP of a registered range the new range is not registered: holes in it are zeros.",
    source="measured",
    used_by=UsedBy.BINDINGS,
    since=(5, 13),
)
def new_loses() -> None:
    armed, target = arm_for_sigbus(2, written=range(1)), reserve(_TWO)
    calls.mremap(armed.view, _TWO, _TWO, _KEEP_AT, target)
    holds("the new range is not registered", not _is_registered(target), sorted(flags_at(target)))
    equal("the new range", stamps(target, 2), [*stamped("file", range(1)), ZEROS])


@assumes(
    "mremap.uffd.anonymous",
    "The same for private anonymous memory: the old range raises missing faults, the new one has the pages.",
    source="commit e346b3813067 (5.7)",
    used_by=UsedBy.NOBODY,
)
def anonymous_memory() -> None:
    uffd, old, target = descriptor(Feature.SIGBUS), anonymous(2), reserve(_TWO)
    write_stamps(old, 2, "old")
    calls.uffd_register(uffd, old, _TWO, _MISSING)
    calls.mremap(old, _TWO, _TWO, _KEEP_AT, target)
    refused(errno.EFAULT, calls.peek, old, 1)
    equal("the new range", stamps(target, 2), stamped("old", range(2)))
    source = anonymous(2)
    write_stamps(source, 2, "copy")
    calls.uffd_copy(uffd, old, source, _TWO)
    equal("the old range once filled", stamps(old, 2), stamped("copy", range(2)))


@assumes(
    "mremap.uffd.move-loses",
    "A plain move of a registered range ends its registration.",
    source="userfaultfd(2), UFFD_FEATURE_EVENT_REMAP",
    used_by=UsedBy.BINDINGS,
)
def move_loses() -> None:
    armed, target = arm(2, _MISSING, Feature.SIGBUS, written=range(1)), reserve(_TWO)
    calls.mremap(armed.view, _TWO, _TWO, _MOVE_AT, target)
    holds("the new range is not registered", not _is_registered(target), sorted(flags_at(target)))
    equal("the new range", stamps(target, 2), [*stamped("file", range(1)), ZEROS])


@assumes(
    "mremap.uffd.several-refused",
    "Several mappings of which one is registered cannot be moved at once: EFAULT.",
    source="measured, 6.17; no release moves more than one of them",
    used_by=UsedBy.BINDINGS,
)
def several_refused() -> None:
    armed = arm(4, _MISSING, Feature.SIGBUS)
    calls.uffd_unregister(armed.uffd, armed.at(2), _TWO)
    refused(errno.EFAULT, calls.mremap, armed.view, 4 * PAGE, 4 * PAGE, _MOVE_AT, reserve(4 * PAGE))
    equal("the old range behind", stamps(armed.at(2), 2), stamped("file", range(2, 4)))


@assumes(
    "mremap.uffd.several-partly-moved",
    "A move of several mappings that is refused at one that is registered has moved those before it.",
    source="measured, 6.17",
    used_by=UsedBy.BINDINGS,
    since=(6, 17),
)
def several_partly_moved() -> None:
    armed, target = arm(4, _MISSING, Feature.SIGBUS), reserve(4 * PAGE)
    calls.uffd_unregister(armed.uffd, armed.view, _TWO)
    refused(errno.EFAULT, calls.mremap, armed.view, 4 * PAGE, 4 * PAGE, _MOVE_AT, target)
    if mapping_at(armed.view) is not None:
        raise LackingError("several mappings cannot be moved at once (EFAULT)")
    equal("the pages that moved", stamps(target, 2), stamped("file", range(2)))
    holds("the others are still there", _is_registered(armed.at(2)), sorted(flags_at(armed.at(2))))


def _remapped(flags: int) -> tuple[Armed, int]:
    """Moves a registered range under EVENT_REMAP, and checks that the mover waits for the event to be read."""
    armed, target = arm(3, _MISSING, Feature.EVENT_REMAP, written=range(1)), reserve(3 * PAGE)
    mover = Beside(moved, MEMFD_SHARED, armed.view, 3, flags, target)
    if mover.has_ended(0.05):
        raise UnexpectedError("mremap", "waits for its event to be read", mover.end())
    found = event(armed.uffd, EventKind.REMAP)
    equal("from, to and length", found.words, (armed.view, target, 3 * PAGE))
    equal("the address returned", mover.end(), target)
    holds("the new range is registered", _is_registered(target), sorted(flags_at(target)))
    return armed, target


@assumes(
    "mremap.uffd.event-remap",
    "With UFFD_FEATURE_EVENT_REMAP a move is an event, mremap waits until it is read, and the new range is registered.",
    source=_EVENTS,
    used_by=UsedBy.BINDINGS,
)
def event_remap() -> None:
    armed, target = _remapped(_MOVE_AT)
    holds("the old range is gone", mapping_at(armed.view) is None, mapping_at(armed.view))
    equal("the page that the file has", stamps(target, 1), stamped("file", range(1)))


@assumes(
    "mremap.uffd.event-remap-keeps-both",
    "With UFFD_FEATURE_EVENT_REMAP and MREMAP_DONTUNMAP both ranges are registered afterwards.",
    source="measured",
    used_by=UsedBy.BINDINGS,
    since=(5, 13),
)
def event_remap_keeps_both() -> None:
    armed, target = _remapped(_KEEP_AT)
    holds("the old range is registered", _is_registered(armed.view), sorted(flags_at(armed.view)))
    for hole in (armed.at(1), target + 2 * PAGE):
        reader = Beside(calls.load, hole, 1)
        equal("the address of a fault", event(armed.uffd).address, hole)
        calls.uffd_zeropage(armed.uffd, hole, PAGE)
        equal("what the thread read", reader.end(), bytes(1))


@assumes(
    "uffd.event-remove",
    "With UFFD_FEATURE_EVENT_REMOVE, MADV_REMOVE and MADV_DONTNEED are events with the range, and wait until they are read.",
    source=_EVENTS,
    used_by=UsedBy.BINDINGS,
)
def event_remove() -> None:
    armed = arm(4, _MISSING, Feature.EVENT_REMOVE)
    for advice in (Advice.DONTNEED, Advice.REMOVE):
        remover = Beside(calls.madvise, armed.at(1), _TWO, advice)
        found = event(armed.uffd, EventKind.REMOVE)
        equal("start and end", found.words[:2], (armed.at(1), armed.at(3)))
        remover.end()


@assumes(
    "uffd.event-unmap",
    "With UFFD_FEATURE_EVENT_UNMAP, munmap is an event with the range.",
    source=_EVENTS,
    used_by=UsedBy.BINDINGS,
)
def event_unmap() -> None:
    armed = arm(4, _MISSING, Feature.EVENT_UNMAP)
    remover = Beside(calls.munmap, armed.at(1), _TWO)
    equal("start and end", event(armed.uffd, EventKind.UNMAP).words[:2], (armed.at(1), armed.at(3)))
    remover.end()
    holds("the range is unmapped", mapping_at(armed.at(1)) is None, mapping_at(armed.at(1)))


@assumes(
    "uffd.eagain-while-changing",
    "While an event about a change waits to be read, filling pages is EAGAIN; once it was read it works again.",
    source="UFFDIO_COPY(2const); measured",
    used_by=UsedBy.BINDINGS,
)
def eagain_while_changing() -> None:
    armed, source = arm(4, _MISSING, Feature.EVENT_REMOVE, written=_NONE), anonymous(1)
    remover = Beside(calls.madvise, armed.at(1), _TWO, Advice.DONTNEED)
    holds("madvise waits for its event to be read", not remover.has_ended(0.05), "it returned")
    refused(errno.EAGAIN, calls.uffd_copy, armed.uffd, armed.view, source, PAGE)
    refused(errno.EAGAIN, calls.uffd_zeropage, armed.uffd, armed.view, PAGE)
    event(armed.uffd, EventKind.REMOVE)
    remover.end()
    equal("bytes done", calls.uffd_copy(armed.uffd, armed.view, source, PAGE), PAGE)


@assumes(
    "uffd.event-fork",
    "With UFFD_FEATURE_EVENT_FORK a fork is an event with a descriptor for the child; it takes rights.",
    source=_EVENTS,
    used_by=UsedBy.BINDINGS,
)
def event_fork() -> None:
    uffd, address = descriptor(Feature.EVENT_FORK), anonymous(1)

    def read_event() -> None:
        found = event(uffd, EventKind.FORK)
        os.fstat(found.words[0] & 0xFFFF_FFFF)

    # A process, because no thread runs while the fork below waits for its event to be read; forked before there are events.
    watcher = child.fork()
    if watcher == 0:
        with contextlib.suppress(Exception):
            read_event()
            os._exit(0)
        os._exit(1)
    calls.uffd_register(uffd, address, PAGE, _MISSING)
    equal("what the child died of", child.signal_of(lambda: None), "")
    equal("the exit code of the process that read the event", os.waitstatus_to_exitcode(os.waitpid(watcher, 0)[1]), 0)
