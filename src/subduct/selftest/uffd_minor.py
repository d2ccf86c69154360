"""Userfaultfd: minor faults on shared memory, and UFFDIO_CONTINUE."""

from __future__ import annotations

import errno

from subduct.kernel import Advice, FaultFlag, Feature, MapFlag, Prot, RegisterMode, RemapFlag, calls
from subduct.selftest.assumption import UsedBy, assumes
from subduct.selftest.expect import equal, holds, refused
from subduct.selftest.faults import Armed, Beside, arm, arm_for_sigbus, descriptor, event
from subduct.selftest.memory import PAGE, STAMP_BYTES, ZEROS, memfd, reserve, stamp, stamped, stamps, view, write_stamps
from subduct.selftest.proc import is_present

_MINOR = RegisterMode.MINOR
_BOTH = RegisterMode.MISSING | RegisterMode.MINOR
_NONE = range(0)
_CONTINUE = "UFFDIO_CONTINUE(2const), 5.14"


@assumes(
    "uffd.minor.event",
    "Touching a page that the file has and the view lacks is an event with the minor flag.",
    source="userfaultfd(2), 5.14",
    used_by=UsedBy.HEAP,
)
def minor_event() -> None:
    armed = arm(2, _MINOR)
    reader = Beside(calls.load, armed.at(1), STAMP_BYTES)
    fault = event(armed.uffd)
    equal("the address", fault.address, armed.at(1))
    equal("the flags", fault.flags, int(FaultFlag.MINOR))
    equal("bytes done", calls.uffd_continue(armed.uffd, armed.at(1), PAGE), PAGE)
    equal("what the thread read", reader.end(), stamp("file", 1))


@assumes(
    "uffd.minor.alone-fills-holes",
    "With minor faults alone, a hole is filled with zeros without a fault.",
    source="measured",
    used_by=UsedBy.HEAP,
)
def alone_fills_holes() -> None:
    armed = arm(2, _MINOR, Feature.SIGBUS, written=range(1))
    equal("the hole", calls.load(armed.at(1), STAMP_BYTES), ZEROS)
    refused(errno.EFAULT, calls.peek, armed.at(0), 1)


@assumes(
    "uffd.minor.with-missing",
    "With both modes a hole is a missing fault and a page of the file a minor one.",
    source="measured",
    used_by=UsedBy.HEAP,
)
def with_missing() -> None:
    armed = arm(2, _BOTH, written=range(1))
    first = Beside(calls.load, armed.at(0), STAMP_BYTES)
    equal("the flags at the page", event(armed.uffd).flags, int(FaultFlag.MINOR))
    calls.uffd_continue(armed.uffd, armed.at(0), PAGE)
    equal("the page", first.end(), stamp("file", 0))
    second = Beside(calls.load, armed.at(1), STAMP_BYTES)
    equal("the flags at the hole", event(armed.uffd).flags, 0)
    calls.uffd_zeropage(armed.uffd, armed.at(1), PAGE)
    equal("the hole", second.end(), ZEROS)


@assumes(
    "uffd.continue.same-page",
    "UFFDIO_CONTINUE maps the page of the file itself, to read and write: no copy, and no further fault.",
    source=_CONTINUE,
    used_by=UsedBy.HEAP,
)
def same_page() -> None:
    armed = arm_for_sigbus(1)
    calls.uffd_continue(armed.uffd, armed.view, PAGE)
    calls.store(armed.view, stamp("view", 0))
    equal("the alias", stamps(armed.alias, 1), stamped("view", range(1)))
    calls.store(armed.alias, stamp("alias", 0))
    equal("the view", stamps(armed.view, 1), stamped("alias", range(1)))


@assumes(
    "uffd.continue.sees-alias",
    "What was written through the alias before UFFDIO_CONTINUE is what the view shows after it.",
    source="measured",
    used_by=UsedBy.HEAP,
)
def sees_alias() -> None:
    armed = arm_for_sigbus(4, written=_NONE)
    write_stamps(armed.alias, 4, "built")
    equal("bytes done", calls.uffd_continue(armed.uffd, armed.view, 4 * PAGE), 4 * PAGE)
    equal("the view", stamps(armed.view, 4), stamped("built", range(4)))


@assumes(
    "uffd.continue.hole",
    "UFFDIO_CONTINUE over a hole is EFAULT, and the range stays as it was.",
    source=_CONTINUE,
    used_by=UsedBy.HEAP,
)
def over_a_hole() -> None:
    armed = arm_for_sigbus(2, written=_NONE)
    refused(errno.EFAULT, calls.uffd_continue, armed.uffd, armed.view, 2 * PAGE)
    refused(errno.EFAULT, calls.peek, armed.view, 1)


@assumes(
    "uffd.continue.partial",
    "UFFDIO_CONTINUE stops at a page that is mapped already and reports the bytes done before it.",
    source=_CONTINUE,
    used_by=UsedBy.HEAP,
)
def partial() -> None:
    armed = arm_for_sigbus(5)
    calls.uffd_continue(armed.uffd, armed.at(2), PAGE)
    equal("bytes done", calls.uffd_continue(armed.uffd, armed.view, 5 * PAGE), 2 * PAGE)
    equal("which pages are mapped", _present(armed), [True, True, True, False, False])


@assumes(
    "uffd.continue.partial-hole",
    "UFFDIO_CONTINUE stops at a hole and reports the bytes done before it.",
    source="measured",
    used_by=UsedBy.BINDINGS,
)
def partial_hole() -> None:
    armed = arm_for_sigbus(4, written=range(2))
    equal("bytes done", calls.uffd_continue(armed.uffd, armed.view, 4 * PAGE), 2 * PAGE)
    equal("which pages are mapped", _present(armed), [True, True, False, False])


@assumes(
    "uffd.continue.eexist",
    "UFFDIO_CONTINUE of a range whose first page is mapped is EEXIST, and changes nothing: another thread won.",
    source=_CONTINUE,
    used_by=UsedBy.HEAP,
)
def eexist() -> None:
    armed = arm_for_sigbus(3)
    calls.uffd_continue(armed.uffd, armed.view, PAGE)
    refused(errno.EEXIST, calls.uffd_continue, armed.uffd, armed.view, 3 * PAGE)
    equal("which pages are mapped", _present(armed), [True, False, False])


def _present(armed: Armed) -> list[bool]:
    return [is_present(armed.at(page), PAGE) for page in range(armed.pages)]


@assumes("uffd.continue.batch", "One UFFDIO_CONTINUE maps hundreds of pages.", source=_CONTINUE, used_by=UsedBy.HEAP)
def batch() -> None:
    pages = 512
    armed = arm_for_sigbus(pages)
    equal("bytes done", calls.uffd_continue(armed.uffd, armed.view, pages * PAGE), pages * PAGE)
    equal("the view", stamps(armed.view, pages), stamped("file", range(pages)))


@assumes(
    "uffd.continue.not-registered",
    "UFFDIO_CONTINUE where nothing is registered is ENOENT.",
    source=_CONTINUE,
    used_by=UsedBy.HEAP,
)
def not_registered() -> None:
    armed = arm_for_sigbus(1)
    refused(errno.ENOENT, calls.uffd_continue, armed.uffd, armed.alias, PAGE)
    calls.uffd_unregister(armed.uffd, armed.view, PAGE)
    refused(errno.ENOENT, calls.uffd_continue, armed.uffd, armed.view, PAGE)


@assumes(
    "uffd.continue.past-the-end",
    "UFFDIO_CONTINUE of a range that runs past the end of the registration is ENOENT.",
    source=_CONTINUE,
    used_by=UsedBy.BINDINGS,
)
def past_the_end() -> None:
    uffd, file = descriptor(Feature.MINOR_SHMEM | Feature.MISSING_SHMEM), memfd(4)
    address = view(file, 4)
    calls.fallocate(file, 0, 0, 4 * PAGE)
    calls.uffd_register(uffd, address, 2 * PAGE, _BOTH)
    refused(errno.ENOENT, calls.uffd_continue, uffd, address, 4 * PAGE)


@assumes(
    "uffd.continue.arguments",
    "UFFDIO_CONTINUE of an unaligned or empty range, or with an unknown mode, is EINVAL.",
    source=_CONTINUE,
    used_by=UsedBy.BINDINGS,
)
def arguments() -> None:
    armed = arm_for_sigbus(2)
    refused(errno.EINVAL, calls.uffd_continue, armed.uffd, armed.view + 1, PAGE)
    refused(errno.EINVAL, calls.uffd_continue, armed.uffd, armed.view, PAGE + 1)
    refused(errno.EINVAL, calls.uffd_continue, armed.uffd, armed.view, 0)
    refused(errno.EINVAL, calls.uffd_continue, armed.uffd, armed.view, PAGE, 1 << 6)


@assumes(
    "uffd.continue.dropped-again",
    "MADV_DONTNEED in a registered range drops the page-table entries: the pages raise faults again, the file keeps them.",
    source="measured",
    used_by=UsedBy.HEAP,
)
def dropped_again() -> None:
    armed = arm_for_sigbus(2)
    calls.uffd_continue(armed.uffd, armed.view, 2 * PAGE)
    calls.madvise(armed.view, 2 * PAGE, Advice.DONTNEED)
    refused(errno.EFAULT, calls.peek, armed.view, 1)
    calls.uffd_continue(armed.uffd, armed.view, 2 * PAGE)
    equal("the view", stamps(armed.view, 2), stamped("file", range(2)))


@assumes(
    "uffd.flip",
    "The flip as a whole: page tables moved to the shadow, the view registered; changed through the shadow and continued, the view "
    "shows the changed page, and after the registration ended all others too.",
    source="measured",
    used_by=UsedBy.HEAP,
)
def flip() -> None:
    pages, length = 8, 8 * PAGE
    uffd, file = descriptor(Feature.SIGBUS | Feature.MISSING_SHMEM | Feature.MINOR_SHMEM), memfd(pages)
    address, shadow = view(file, pages), reserve(length)
    write_stamps(address, pages, "before")
    flags = RemapFlag.MAYMOVE | RemapFlag.FIXED | RemapFlag.DONTUNMAP
    for flips in range(2):
        calls.mremap(address, length, length, flags, shadow)
        calls.uffd_register(uffd, address, length, _BOTH)
        for page in range(pages):
            refused(errno.EFAULT, calls.peek, address + page * PAGE, 1)
        calls.store(shadow, stamp("fixed", flips))
        calls.uffd_continue(uffd, address, 2 * PAGE)
        equal("the pages continued", stamps(address, 2), [stamp("fixed", flips), stamp("before", 1)])
        calls.uffd_unregister(uffd, address, length)
        equal("all others", stamps(address, pages)[2:], stamped("before", range(2, pages)))
        calls.madvise(shadow, length, Advice.DONTNEED)
        retired = MapFlag.PRIVATE | MapFlag.ANONYMOUS | MapFlag.NORESERVE | MapFlag.FIXED
        equal("the shadow retired", calls.mmap(shadow, length, Prot.NONE, retired), shadow)
        holds("the view is whole", len(set(stamps(address, pages))) == pages, stamps(address, pages))
