"""Userfaultfd: write protection, poison, and moving pages."""

from __future__ import annotations

import errno

from subduct.kernel import FaultFlag, Feature, MoveMode, RegisterMode, WriteprotectMode, calls
from subduct.selftest import child
from subduct.selftest.assumption import UsedBy, assumes
from subduct.selftest.expect import equal, holds, refused
from subduct.selftest.faults import Beside, arm, descriptor, event
from subduct.selftest.memory import (
    PAGE,
    STAMP_BYTES,
    ZEROS,
    anonymous,
    memfd,
    stamp,
    stamped,
    stamps,
    view,
    write_stamps,
)
from subduct.selftest.proc import is_write_protected

_MISSING, _WP = RegisterMode.MISSING, RegisterMode.WP
_PROTECT = "UFFDIO_WRITEPROTECT(2const)"
_POISON = "UFFDIO_POISON(2const), 6.6"
_MOVE = "UFFDIO_MOVE(2const), 6.8"
_TWO = 2 * PAGE
# The standard library has no name for it.
_EHWPOISON = 133


def _protected(address: int, uffd: int) -> None:
    """Reads are silent; a write is an event, and goes through once the protection is taken away."""
    equal("a read", stamps(address, 1), stamped("file", range(1)))
    writer = Beside(calls.store, address, b"new")
    fault = event(uffd)
    equal("the address and the flags", (fault.address, fault.flags), (address, FaultFlag.WRITE | FaultFlag.WP))
    equal("the page while the writer waits", stamps(address, 1), stamped("file", range(1)))
    calls.uffd_writeprotect(uffd, address, PAGE, 0)
    writer.end()
    equal("the page", calls.load(address, 3), b"new")


@assumes(
    "uffd.wp.anonymous",
    "In private anonymous memory a write to a protected page is an event, and a read is not.",
    source=f"{_PROTECT}, 5.7",
    used_by=UsedBy.BINDINGS,
)
def wp_anonymous() -> None:
    uffd, address = descriptor(Feature.PAGEFAULT_FLAG_WP), anonymous(1)
    write_stamps(address, 1, "file")
    calls.uffd_register(uffd, address, PAGE, _WP)
    calls.uffd_writeprotect(uffd, address, PAGE, WriteprotectMode.WP)
    _protected(address, uffd)


@assumes(
    "uffd.wp.memfd",
    "In shared memory a write to a protected page is an event; through an alias it is not.",
    source=f"{_PROTECT}, 5.19",
    used_by=UsedBy.BINDINGS,
)
def wp_memfd() -> None:
    armed = arm(2, _WP)
    equal("the pages, mapped by reading", stamps(armed.view, 2), stamped("file", range(2)))
    calls.uffd_writeprotect(armed.uffd, armed.view, _TWO, WriteprotectMode.WP)
    holds("the page table says so", is_write_protected(armed.at(1), PAGE), "it does not")
    calls.store(armed.alias_at(1), stamp("alias", 1))
    equal("the page written through the alias", calls.load(armed.at(1), STAMP_BYTES), stamp("alias", 1))
    _protected(armed.view, armed.uffd)


@assumes(
    "uffd.wp.memfd-unmapped",
    "Protection of shared memory holds for pages that are not mapped yet.",
    source=f"{_PROTECT}, 5.19",
    used_by=UsedBy.BINDINGS,
)
def wp_memfd_unmapped() -> None:
    armed = arm(1, _WP)
    calls.uffd_writeprotect(armed.uffd, armed.view, PAGE, WriteprotectMode.WP)
    _protected(armed.view, armed.uffd)


@assumes(
    "uffd.wp.sigbus",
    "With UFFD_FEATURE_SIGBUS a write to a protected page is SIGBUS.",
    source=_PROTECT,
    used_by=UsedBy.BINDINGS,
)
def wp_sigbus() -> None:
    def write() -> None:
        armed = arm(1, _WP, Feature.SIGBUS)
        calls.uffd_writeprotect(armed.uffd, armed.view, PAGE, WriteprotectMode.WP)
        equal("a read", stamps(armed.view, 1), stamped("file", range(1)))
        calls.store(armed.view, b"x")

    arm(1, _WP, Feature.SIGBUS)
    equal("what the write does", child.signal_of(write), "SIGBUS")


@assumes(
    "uffd.wp.async",
    "With UFFD_FEATURE_WP_ASYNC a write goes through without an event and takes the page's protection away.",
    source="UFFDIO_API(2const), 6.7",
    used_by=UsedBy.BINDINGS,
)
def wp_async() -> None:
    armed = arm(2, _WP, Feature.WP_ASYNC)
    equal("the pages", stamps(armed.view, 2), stamped("file", range(2)))
    calls.uffd_writeprotect(armed.uffd, armed.view, _TWO, WriteprotectMode.WP)
    calls.store(armed.view, b"new")
    equal("the page", calls.load(armed.alias, 3), b"new")
    protected = [is_write_protected(armed.at(page), PAGE) for page in range(2)]
    equal("which pages are still protected", protected, [False, True])
    equal("events", calls.uffd_read(armed.uffd), b"")


@assumes(
    "uffd.wp.unpopulated",
    "With UFFD_FEATURE_WP_UNPOPULATED pages of private anonymous memory that were never touched can be protected.",
    source="UFFDIO_API(2const), 6.4",
    used_by=UsedBy.BINDINGS,
)
def wp_unpopulated() -> None:
    uffd, address = descriptor(Feature.WP_UNPOPULATED | Feature.PAGEFAULT_FLAG_WP), anonymous(1)
    calls.uffd_register(uffd, address, PAGE, _WP)
    calls.uffd_writeprotect(uffd, address, PAGE, WriteprotectMode.WP)
    equal("a read", stamps(address, 1), [ZEROS])
    writer = Beside(calls.store, address, b"new")
    equal("the flags", event(uffd).flags, FaultFlag.WRITE | FaultFlag.WP)
    calls.uffd_writeprotect(uffd, address, PAGE, 0)
    writer.end()
    equal("the page", calls.load(address, 3), b"new")


@assumes(
    "uffd.wp.not-registered",
    "Protecting where nothing is registered for it is ENOENT.",
    source=_PROTECT,
    used_by=UsedBy.BINDINGS,
)
def wp_not_registered() -> None:
    uffd, address = descriptor(Feature.PAGEFAULT_FLAG_WP), anonymous(1)
    refused(errno.ENOENT, calls.uffd_writeprotect, uffd, address, PAGE, WriteprotectMode.WP)
    calls.uffd_register(uffd, address, PAGE, _MISSING)
    refused(errno.ENOENT, calls.uffd_writeprotect, uffd, address, PAGE, WriteprotectMode.WP)


@assumes(
    "uffd.poison.sigbus",
    "Touching a poisoned page is SIGBUS, with or without a fault handler.",
    source=_POISON,
    used_by=UsedBy.BINDINGS,
)
def poison_sigbus() -> None:
    def touch() -> None:
        armed = arm(2, _MISSING, Feature.POISON, written=range(0))
        equal("bytes done", calls.uffd_poison(armed.uffd, armed.at(1), PAGE), PAGE)
        calls.load(armed.at(1), 1)

    arm(2, _MISSING, Feature.POISON)
    equal("what touching the page does", child.signal_of(touch), "SIGBUS")


@assumes(
    "uffd.poison.one-view", "Poison is in one view: an alias has the page.", source="measured", used_by=UsedBy.BINDINGS
)
def poison_one_view() -> None:
    armed = arm(1, _MISSING, Feature.POISON)
    calls.uffd_poison(armed.uffd, armed.view, PAGE)
    equal("the alias", stamps(armed.alias, 1), stamped("file", range(1)))
    refused((errno.EFAULT, _EHWPOISON), calls.peek, armed.view, 1)


@assumes(
    "uffd.poison.eexist",
    "Poisoning a page that is mapped is EEXIST, and it keeps its content.",
    source=_POISON,
    used_by=UsedBy.BINDINGS,
)
def poison_eexist() -> None:
    armed = arm(1, _MISSING, Feature.POISON)
    equal("the page, mapped by reading", stamps(armed.view, 1), stamped("file", range(1)))
    refused(errno.EEXIST, calls.uffd_poison, armed.uffd, armed.view, PAGE)
    equal("the page", stamps(armed.view, 1), stamped("file", range(1)))


def _to_move(pages: int) -> tuple[int, int, int]:
    """A descriptor, a registered range of holes, and pages to move there."""
    uffd, target, source = descriptor(Feature.MOVE), anonymous(pages), anonymous(pages)
    write_stamps(source, pages, "source")
    calls.uffd_register(uffd, target, pages * PAGE, _MISSING)
    return uffd, target, source


@assumes(
    "uffd.move",
    "UFFDIO_MOVE moves pages of private anonymous memory: the target has them, and the source is empty.",
    source=_MOVE,
    used_by=UsedBy.BINDINGS,
)
def move() -> None:
    uffd, target, source = _to_move(2)
    equal("bytes done", calls.uffd_move(uffd, target, source, _TWO), _TWO)
    equal("the target", stamps(target, 2), stamped("source", range(2)))
    equal("the source", stamps(source, 2), [ZEROS, ZEROS])


@assumes(
    "uffd.move.shared-refused",
    "UFFDIO_MOVE into or out of shared memory is EINVAL.",
    source=_MOVE,
    used_by=UsedBy.BINDINGS,
)
def move_shared_refused() -> None:
    uffd, target, source = _to_move(1)
    refused(errno.EINVAL, calls.uffd_move, uffd, target, view(memfd(1), 1), PAGE)
    shared = view(memfd(1), 1)
    calls.uffd_register(uffd, shared, PAGE, _MISSING)
    refused(errno.EINVAL, calls.uffd_move, uffd, shared, source, PAGE)


@assumes(
    "uffd.move.not-registered",
    "UFFDIO_MOVE to where nothing is registered is EINVAL, not ENOENT.",
    source="measured",
    used_by=UsedBy.BINDINGS,
)
def move_not_registered() -> None:
    uffd, _, source = _to_move(1)
    refused(errno.EINVAL, calls.uffd_move, uffd, anonymous(1), source, PAGE)


@assumes(
    "uffd.move.eexist",
    "UFFDIO_MOVE onto a page that is there is EEXIST, and both keep theirs.",
    source=_MOVE,
    used_by=UsedBy.BINDINGS,
)
def move_eexist() -> None:
    uffd, target, source = _to_move(1)
    calls.uffd_zeropage(uffd, target, PAGE)
    refused(errno.EEXIST, calls.uffd_move, uffd, target, source, PAGE)
    equal("source and target", stamps(source, 1) + stamps(target, 1), [stamp("source", 0), ZEROS])


@assumes(
    "uffd.move.source-hole",
    "UFFDIO_MOVE from a hole is ENOENT, unless UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES passes it over.",
    source=_MOVE,
    used_by=UsedBy.BINDINGS,
)
def move_source_hole() -> None:
    uffd, target, _ = _to_move(2)
    source = anonymous(2)
    calls.store(source + PAGE, stamp("source", 1))
    refused(errno.ENOENT, calls.uffd_move, uffd, target, source, _TWO)
    equal("bytes done", calls.uffd_move(uffd, target, source, _TWO, MoveMode.ALLOW_SRC_HOLES), _TWO)
    equal("the target behind the hole", stamps(target + PAGE, 1), [stamp("source", 1)])


@assumes(
    "uffd.move.partial",
    "UFFDIO_MOVE stops at a hole of the source and reports the bytes done before it.",
    source=_MOVE,
    used_by=UsedBy.BINDINGS,
)
def move_partial() -> None:
    uffd, target, _ = _to_move(3)
    source = anonymous(3)
    write_stamps(source, 2, "source")
    equal("bytes done", calls.uffd_move(uffd, target, source, 3 * PAGE), _TWO)
    equal("the target", stamps(target, 2), stamped("source", range(2)))
