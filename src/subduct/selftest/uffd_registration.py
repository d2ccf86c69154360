"""Userfaultfd: registering ranges, and ending registrations."""

from __future__ import annotations

import errno
import os

from subduct.kernel import Feature, Ioctl, RegisterMode, calls
from subduct.selftest.assumption import UsedBy, assumes
from subduct.selftest.expect import equal, holds, refused
from subduct.selftest.faults import arm, arm_for_sigbus, close, descriptor
from subduct.selftest.memory import DISK_PRIVATE, DISK_SHARED, PAGE, anonymous, hole, memfd, stamped, stamps, view
from subduct.selftest.proc import count_in, flags_at

_REGISTER = "UFFDIO_REGISTER(2const)"
_UNREGISTER = "UFFDIO_UNREGISTER(2const)"
_MISSING = RegisterMode.MISSING
_BOTH = RegisterMode.MISSING | RegisterMode.MINOR
_TWO = 2 * PAGE


@assumes(
    "uffd.register.unaligned",
    "A range that does not begin and end between pages is EINVAL.",
    source=_REGISTER,
    used_by=UsedBy.BINDINGS,
)
def unaligned() -> None:
    uffd, address = descriptor(Feature.MISSING_SHMEM), view(memfd(4), 4)
    refused(errno.EINVAL, calls.uffd_register, uffd, address + 1, PAGE, _MISSING)
    refused(errno.EINVAL, calls.uffd_register, uffd, address, PAGE + 1, _MISSING)


@assumes("uffd.register.empty", "An empty range is EINVAL.", source=_REGISTER, used_by=UsedBy.BINDINGS)
def empty() -> None:
    refused(errno.EINVAL, calls.uffd_register, descriptor(), anonymous(1), 0, _MISSING)


@assumes("uffd.register.mode", "No mode, and an unknown one, is EINVAL.", source=_REGISTER, used_by=UsedBy.BINDINGS)
def mode() -> None:
    uffd, address = descriptor(), anonymous(1)
    refused(errno.EINVAL, calls.uffd_register, uffd, address, PAGE, 0)
    refused(errno.EINVAL, calls.uffd_register, uffd, address, PAGE, _MISSING | 1 << 6)


@assumes(
    "uffd.register.nothing-mapped",
    "A range where nothing is mapped is EINVAL.",
    source=_REGISTER,
    used_by=UsedBy.BINDINGS,
)
def nothing_mapped() -> None:
    uffd = descriptor()
    refused(errno.EINVAL, calls.uffd_register, uffd, hole(2), _TWO, _MISSING)


@assumes(
    "uffd.register.busy",
    "A range that another descriptor has is EBUSY; the one that has it may register again.",
    source=_REGISTER,
    used_by=UsedBy.BINDINGS,
)
def busy() -> None:
    first, second, address = descriptor(), descriptor(), anonymous(2)
    calls.uffd_register(first, address, _TWO, _MISSING)
    refused(errno.EBUSY, calls.uffd_register, second, address, _TWO, _MISSING)
    refused(errno.EBUSY, calls.uffd_register, second, address + PAGE, PAGE, _MISSING)
    calls.uffd_register(first, address, _TWO, _MISSING)
    calls.uffd_unregister(first, address, _TWO)
    calls.uffd_register(second, address, _TWO, _MISSING)


@assumes(
    "uffd.register.disk-file",
    "A mapping of a file on a disk cannot be registered for missing faults: EINVAL.",
    source=_REGISTER,
    used_by=UsedBy.BINDINGS,
)
def file_on_a_disk() -> None:
    uffd = descriptor()
    for kind in (DISK_PRIVATE, DISK_SHARED):
        refused(errno.EINVAL, calls.uffd_register, uffd, kind.make(2), _TWO, _MISSING)


@assumes(
    "uffd.register.minor-anonymous",
    "Private anonymous memory has no minor faults: registering it for them is EINVAL.",
    source=_REGISTER,
    used_by=UsedBy.BINDINGS,
)
def minor_anonymous() -> None:
    uffd = descriptor(Feature.MINOR_SHMEM)
    refused(errno.EINVAL, calls.uffd_register, uffd, anonymous(2), _TWO, RegisterMode.MINOR)


@assumes(
    "uffd.register.ioctls",
    "Registering shared memory reports WAKE, COPY and CONTINUE as available.",
    source=_REGISTER,
    used_by=UsedBy.BINDINGS,
)
def ioctls() -> None:
    wanted = Ioctl.WAKE | Ioctl.COPY | Ioctl.CONTINUE
    equal("the ioctls", arm(2, _BOTH).ioctls & wanted, int(wanted))


@assumes(
    "uffd.register.part-splits",
    "Registering a part of a mapping splits it in three; ending the registration makes it one again.",
    source="measured",
    used_by=UsedBy.HEAP,
)
def part_splits() -> None:
    uffd, address = descriptor(Feature.MISSING_SHMEM), view(memfd(6), 6)
    calls.uffd_register(uffd, address + _TWO, _TWO, _MISSING)
    equal("mappings", count_in(address, address + 6 * PAGE), 3)
    calls.uffd_unregister(uffd, address + _TWO, _TWO)
    equal("mappings afterwards", count_in(address, address + 6 * PAGE), 1)


@assumes(
    "uffd.register.several-mappings",
    "One call registers a range of several mappings.",
    source=_REGISTER,
    used_by=UsedBy.BINDINGS,
)
def several_mappings() -> None:
    uffd, file = descriptor(Feature.MISSING_SHMEM), memfd(6)
    address = view(file, 6)
    view(file, 2, address=address + _TWO, first=4)
    calls.uffd_register(uffd, address, 6 * PAGE, _MISSING)
    for page in range(6):
        found = flags_at(address + page * PAGE)
        holds(f"page {page} is registered", "um" in found, sorted(found))


@assumes(
    "uffd.register.visible",
    "Which mappings are registered, and for what, shows in /proc/PID/smaps.",
    source="proc_pid_smaps(5)",
)
def visible() -> None:
    armed = arm_for_sigbus(2)
    holds("missing and minor faults are shown", flags_at(armed.view) >= {"um", "ui"}, sorted(flags_at(armed.view)))
    holds("the alias has neither", not flags_at(armed.alias) & {"um", "ui"}, sorted(flags_at(armed.alias)))


@assumes(
    "uffd.register.mapped-pages",
    "Registering does not touch pages that are mapped: they raise no fault.",
    source="measured",
    used_by=UsedBy.HEAP,
)
def mapped_pages() -> None:
    uffd, address = descriptor(Feature.SIGBUS | Feature.MISSING_SHMEM | Feature.MINOR_SHMEM), view(memfd(2), 2)
    calls.store(address, stamped("mapped", range(1))[0])
    calls.uffd_register(uffd, address, _TWO, _BOTH)
    equal("the page that was mapped", stamps(address, 1), stamped("mapped", range(1)))
    refused(errno.EFAULT, calls.peek, address + PAGE, 1)


@assumes(
    "uffd.unregister.not-registered",
    "Ending a registration where there is none succeeds and does nothing.",
    source="measured",
    used_by=UsedBy.HEAP,
)
def unregister_not_registered() -> None:
    uffd, address = descriptor(Feature.MISSING_SHMEM), view(memfd(2), 2)
    calls.uffd_unregister(uffd, address, _TWO)
    calls.uffd_unregister(uffd, address, _TWO)
    equal("mappings", count_in(address, address + _TWO), 1)


@assumes("uffd.unregister.unaligned", "A range inside pages is EINVAL.", source=_UNREGISTER, used_by=UsedBy.BINDINGS)
def unregister_unaligned() -> None:
    armed = arm(2, _MISSING)
    refused(errno.EINVAL, calls.uffd_unregister, armed.uffd, armed.view + 1, PAGE)
    refused(errno.EINVAL, calls.uffd_unregister, armed.uffd, armed.view, PAGE + 1)


@assumes(
    "uffd.unregister.ends-faults",
    "After the registration ended, pages that raised faults are simply there.",
    source=_UNREGISTER,
    used_by=UsedBy.HEAP,
)
def unregister_ends_faults() -> None:
    armed = arm_for_sigbus(2)
    refused(errno.EFAULT, calls.peek, armed.view, 1)
    calls.uffd_unregister(armed.uffd, armed.view, _TWO)
    equal("the pages", stamps(armed.view, 2), stamped("file", range(2)))


@assumes(
    "uffd.close-ends-registrations",
    "Closing the last descriptor ends all its registrations.",
    source="userfaultfd(2)",
    used_by=UsedBy.HEAP,
)
def close_ends_registrations() -> None:
    armed = arm_for_sigbus(2)
    second = os.dup(armed.uffd)
    close(armed.uffd)
    refused(errno.EFAULT, calls.peek, armed.view, 1)
    close(second)
    equal("the pages", stamps(armed.view, 2), stamped("file", range(2)))
    holds("nothing is registered", not flags_at(armed.view) & {"um", "ui"}, sorted(flags_at(armed.view)))


@assumes(
    "uffd.mmap-ends-registration",
    "Mapping something else over a registered range ends its registration.",
    source="measured",
)
def mmap_ends_registration() -> None:
    armed = arm_for_sigbus(2)
    view(armed.memfd, 2, address=armed.view)
    equal("the pages", stamps(armed.view, 2), stamped("file", range(2)))
