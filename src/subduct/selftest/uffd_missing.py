"""Userfaultfd: missing faults on shared memory, and filling holes."""

from __future__ import annotations

import errno
import threading

from subduct.kernel import CopyMode, EventKind, FallocFlag, FaultFlag, Feature, RegisterMode, calls
from subduct.selftest.assumption import UsedBy, assumes
from subduct.selftest.expect import equal, holds, refused
from subduct.selftest.faults import Beside, arm, descriptor, event
from subduct.selftest.memory import (
    PAGE,
    STAMP_BYTES,
    ZEROS,
    anonymous,
    hole,
    memfd,
    stamp,
    stamped,
    stamps,
    view,
    write_stamps,
)

_MISSING = RegisterMode.MISSING
_EVENTS = "userfaultfd(2), Reading from the userfaultfd structure"
_COPY = "UFFDIO_COPY(2const)"
_NONE = range(0)


def _source(pages: int) -> int:
    """The address of memory to copy from."""
    address = anonymous(pages)
    write_stamps(address, pages, "copy")
    return address


@assumes(
    "uffd.missing.event",
    "A read of a hole is one event, with the page's address and no flag; the thread waits until the page is filled.",
    source=_EVENTS,
    used_by=UsedBy.HEAP,
)
def read_event() -> None:
    armed = arm(2, _MISSING, written=_NONE)
    reader = Beside(calls.load, armed.at(1) + 8, STAMP_BYTES - 8)
    fault = event(armed.uffd)
    equal("the address", fault.address, armed.at(1))
    equal("the flags", fault.flags, 0)
    calls.uffd_copy(armed.uffd, armed.at(1), _source(1), PAGE)
    equal("what the thread read", reader.end(), stamp("copy", 0)[8:])
    equal("further events", calls.uffd_read(armed.uffd), b"")


@assumes(
    "uffd.missing.write-flag",
    "A write to a hole is an event with the write flag.",
    source=_EVENTS,
    used_by=UsedBy.BINDINGS,
)
def write_event() -> None:
    armed = arm(1, _MISSING, written=_NONE)
    writer = Beside(calls.store, armed.view, b"new")
    equal("the flags", event(armed.uffd).flags, int(FaultFlag.WRITE))
    calls.uffd_copy(armed.uffd, armed.view, _source(1), PAGE)
    writer.end()
    equal("the page", calls.load(armed.alias, STAMP_BYTES), b"new" + stamp("copy", 0)[3:])


@assumes(
    "uffd.missing.exact-address",
    "With UFFD_FEATURE_EXACT_ADDRESS an event has the address of the access, not of the page.",
    source="UFFDIO_API(2const), 5.18",
)
def exact_address() -> None:
    armed = arm(1, _MISSING, Feature.EXACT_ADDRESS, written=_NONE)
    reader = Beside(calls.load, armed.view + 100, 1)
    equal("the address", event(armed.uffd).address, armed.view + 100)
    calls.uffd_zeropage(armed.uffd, armed.view, PAGE)
    reader.end()


@assumes(
    "uffd.missing.thread-id",
    "With UFFD_FEATURE_THREAD_ID an event has the id of the thread that waits.",
    source="UFFDIO_API(2const), 4.14",
    used_by=UsedBy.BINDINGS,
)
def thread_id() -> None:
    armed = arm(1, _MISSING, Feature.THREAD_ID, written=_NONE)
    ids: list[int] = []

    def read() -> None:
        ids.append(threading.get_native_id())
        calls.load(armed.view, 1)

    reader = Beside(read)
    fault = event(armed.uffd)
    equal("the thread", [fault.words[2] & 0xFFFF_FFFF], ids)
    calls.uffd_zeropage(armed.uffd, armed.view, PAGE)
    reader.end()


@assumes(
    "uffd.missing.alone-maps-cached",
    "With missing faults alone, pages that the file has are mapped without a fault.",
    source="measured",
    used_by=UsedBy.HEAP,
)
def alone_maps_cached() -> None:
    armed = arm(3, _MISSING, Feature.SIGBUS, written=range(2))
    equal("the pages that the file has", stamps(armed.view, 2), stamped("file", range(2)))
    refused(errno.EFAULT, calls.peek, armed.at(2), 1)


@assumes(
    "uffd.missing.punched",
    "A page that is punched out of the file is missing again, in every view.",
    source="fallocate(2); measured",
    used_by=UsedBy.NOBODY,
)
def punched() -> None:
    armed = arm(2, _MISSING, Feature.SIGBUS)
    equal("before", stamps(armed.view, 2), stamped("file", range(2)))
    calls.fallocate(armed.memfd, FallocFlag.PUNCH_HOLE | FallocFlag.KEEP_SIZE, PAGE, PAGE)
    refused(errno.EFAULT, calls.peek, armed.at(1), 1)
    equal("the page beside it", stamps(armed.view, 1), stamped("file", range(1)))


@assumes(
    "uffd.copy.fills-the-file",
    "UFFDIO_COPY into a hole writes the file: an alias sees it.",
    source=_COPY,
    used_by=UsedBy.BINDINGS,
)
def copy_fills_the_file() -> None:
    armed = arm(3, _MISSING, written=_NONE)
    equal("bytes done", calls.uffd_copy(armed.uffd, armed.view, _source(3), 3 * PAGE), 3 * PAGE)
    equal("the alias", stamps(armed.alias, 3), stamped("copy", range(3)))
    equal("the view", stamps(armed.view, 3), stamped("copy", range(3)))


@assumes(
    "uffd.copy.eexist",
    "UFFDIO_COPY onto a page that is there is EEXIST, and it keeps its content.",
    source=_COPY,
    used_by=UsedBy.BINDINGS,
)
def copy_eexist() -> None:
    armed = arm(2, _MISSING)
    refused(errno.EEXIST, calls.uffd_copy, armed.uffd, armed.view, _source(2), 2 * PAGE)
    equal("the pages", stamps(armed.view, 2), stamped("file", range(2)))


@assumes(
    "uffd.copy.partial",
    "UFFDIO_COPY stops at a page that is there and reports the bytes done before it.",
    source=_COPY,
    used_by=UsedBy.BINDINGS,
)
def copy_partial() -> None:
    armed = arm(4, _MISSING, written=range(2, 3))
    equal("bytes done", calls.uffd_copy(armed.uffd, armed.view, _source(4), 4 * PAGE), 2 * PAGE)
    expected = [*stamped("copy", range(2)), stamp("file", 2), ZEROS]
    equal("the file", stamps(armed.alias, 4), expected)


@assumes(
    "uffd.copy.not-registered",
    "UFFDIO_COPY where nothing is registered is ENOENT.",
    source=_COPY,
    used_by=UsedBy.BINDINGS,
)
def copy_not_registered() -> None:
    uffd = descriptor(Feature.MISSING_SHMEM)
    refused(errno.ENOENT, calls.uffd_copy, uffd, view(memfd(1), 1), _source(1), PAGE)


@assumes(
    "uffd.copy.arguments",
    "UFFDIO_COPY of an unaligned or empty range, or with an unknown mode, is EINVAL.",
    source=_COPY,
    used_by=UsedBy.BINDINGS,
)
def copy_arguments() -> None:
    armed, source = arm(2, _MISSING, written=_NONE), _source(2)
    refused(errno.EINVAL, calls.uffd_copy, armed.uffd, armed.view + 1, source, PAGE)
    refused(errno.EINVAL, calls.uffd_copy, armed.uffd, armed.view, source, PAGE + 1)
    refused(errno.EINVAL, calls.uffd_copy, armed.uffd, armed.view, source, 0)
    refused(errno.EINVAL, calls.uffd_copy, armed.uffd, armed.view, source, PAGE, 1 << 6)


@assumes(
    "uffd.copy.source-unmapped",
    "UFFDIO_COPY from where nothing is mapped is EFAULT.",
    source=_COPY,
    used_by=UsedBy.BINDINGS,
)
def copy_source_unmapped() -> None:
    armed = arm(1, _MISSING, written=_NONE)
    refused(errno.EFAULT, calls.uffd_copy, armed.uffd, armed.view, hole(1), PAGE)
    equal("the file", stamps(armed.alias, 1), [ZEROS])


@assumes(
    "uffd.copy.dontwake",
    "With UFFDIO_COPY_MODE_DONTWAKE the thread waits on, until UFFDIO_WAKE.",
    source=_COPY,
    used_by=UsedBy.BINDINGS,
)
def copy_dontwake() -> None:
    armed = arm(1, _MISSING, written=_NONE)
    reader = Beside(calls.load, armed.view, STAMP_BYTES)
    event(armed.uffd)
    calls.uffd_copy(armed.uffd, armed.view, _source(1), PAGE, CopyMode.DONTWAKE)
    holds("the thread waits on", not reader.has_ended(0.05), "it read the page")
    calls.uffd_wake(armed.uffd, armed.view, PAGE)
    equal("what the thread read", reader.end(), stamp("copy", 0))


@assumes(
    "uffd.zeropage",
    "UFFDIO_ZEROPAGE fills holes of shared memory with zeros.",
    source="UFFDIO_ZEROPAGE(2const)",
    used_by=UsedBy.BINDINGS,
)
def zeropage() -> None:
    armed = arm(2, _MISSING, Feature.SIGBUS, written=_NONE)
    equal("bytes done", calls.uffd_zeropage(armed.uffd, armed.view, 2 * PAGE), 2 * PAGE)
    equal("the pages", stamps(armed.view, 2), [ZEROS, ZEROS])
    calls.store(armed.view, b"written")
    equal("the alias", calls.load(armed.alias, 7), b"written")


@assumes(
    "uffd.zeropage.eexist",
    "UFFDIO_ZEROPAGE stops at a page that is there; EEXIST when that is the first.",
    source="UFFDIO_ZEROPAGE(2const)",
    used_by=UsedBy.BINDINGS,
)
def zeropage_eexist() -> None:
    armed = arm(3, _MISSING, written=range(2, 3))
    equal("bytes done", calls.uffd_zeropage(armed.uffd, armed.view, 3 * PAGE), 2 * PAGE)
    refused(errno.EEXIST, calls.uffd_zeropage, armed.uffd, armed.at(2), PAGE)
    equal("the page that was there", calls.load(armed.at(2), STAMP_BYTES), stamp("file", 2))


@assumes(
    "uffd.missing.each-thread",
    "Each thread that waits for a page is an event, and one UFFDIO_COPY wakes them all.",
    source="measured",
    used_by=UsedBy.BINDINGS,
)
def each_thread() -> None:
    armed = arm(1, _MISSING, written=_NONE)
    readers = []
    for _ in range(3):
        readers.append(Beside(calls.load, armed.view, STAMP_BYTES))
        equal("the address", event(armed.uffd, EventKind.PAGEFAULT).address, armed.view)
    calls.uffd_copy(armed.uffd, armed.view, _source(1), PAGE)
    equal("what they read", [reader.end() for reader in readers], [stamp("copy", 0)] * 3)
