"""Userfaultfd: opening a descriptor, and asking for features."""

from __future__ import annotations

import errno

from subduct.kernel import Feature, Ioctl, RegisterMode, UffdFlag, calls
from subduct.selftest import child
from subduct.selftest.assumption import UsedBy, assumes
from subduct.selftest.expect import LackingError, equal, holds, refusal, refused, skip
from subduct.selftest.faults import available, bare_descriptor, descriptor, need
from subduct.selftest.memory import PAGE, memfd, view
from subduct.selftest.proc import setting

_MANUAL = "userfaultfd(2)"
_API = "UFFDIO_API(2const); measured"
_UNKNOWN_FEATURE = 1 << 60


@assumes(
    "uffd.user-mode-only",
    "Without any rights, UFFD_USER_MODE_ONLY gives a descriptor.",
    source=f"{_MANUAL}, 5.11",
    used_by=UsedBy.HEAP,
    since=(5, 11),
)
def user_mode_only() -> None:
    child.give_up_rights()
    error = refusal(calls.userfaultfd, UffdFlag.CLOEXEC | UffdFlag.NONBLOCK | UffdFlag.USER_MODE_ONLY)
    if error is not None and error.errno == errno.EINVAL:
        raise LackingError("this kernel does not know UFFD_USER_MODE_ONLY (EINVAL)")
    if error is not None:
        skip(f"userfaultfd is filtered here: {error}")


@assumes(
    "uffd.all-faults-need-rights",
    "Without rights and without UFFD_USER_MODE_ONLY, vm.unprivileged_userfaultfd decides: EPERM when it is 0.",
    source=f"{_MANUAL}, 5.2",
    used_by=UsedBy.BINDINGS,
)
def all_faults_need_rights() -> None:
    allowed = setting("vm/unprivileged_userfaultfd")
    if allowed is None:
        skip("this kernel has no vm.unprivileged_userfaultfd")
    bare_descriptor()
    child.give_up_rights()
    if allowed:
        holds("a descriptor for all faults", calls.userfaultfd(UffdFlag.CLOEXEC) >= 0, "none")
    else:
        refused(errno.EPERM, calls.userfaultfd, UffdFlag.CLOEXEC)


@assumes(
    "uffd.unknown-flag", "A flag that the kernel does not know is EINVAL.", source=_MANUAL, used_by=UsedBy.BINDINGS
)
def unknown_flag() -> None:
    bare_descriptor()
    refused(errno.EINVAL, calls.userfaultfd, UffdFlag.CLOEXEC | UffdFlag.USER_MODE_ONLY | 1 << 16)


@assumes(
    "uffd.api-once",
    "UFFDIO_API works once on a descriptor: a second call is EINVAL even when the first asked for nothing.",
    source="measured; UFFDIO_API(2const) describes a two-step handshake",
    used_by=UsedBy.HEAP,
)
def api_once() -> None:
    uffd = descriptor()
    refused(errno.EINVAL, calls.uffd_api, uffd, 0)
    refused(errno.EINVAL, calls.uffd_api, uffd, Feature.SIGBUS)


@assumes(
    "uffd.api-unknown-feature",
    "A feature that the kernel lacks is EINVAL, and the descriptor can be asked again.",
    source=_API,
    used_by=UsedBy.HEAP,
)
def api_unknown_feature() -> None:
    uffd = bare_descriptor()
    refused(errno.EINVAL, calls.uffd_api, uffd, _UNKNOWN_FEATURE)
    features, _ = calls.uffd_api(uffd, 0)
    equal("features that are none", features & _UNKNOWN_FEATURE, 0)


@assumes(
    "uffd.api-first",
    "Before UFFDIO_API every other ioctl is EINVAL.",
    source="ioctl_userfaultfd(2)",
    used_by=UsedBy.BINDINGS,
)
def api_first() -> None:
    uffd, address = bare_descriptor(), view(memfd(1), 1)
    refused(errno.EINVAL, calls.uffd_register, uffd, address, PAGE, RegisterMode.MISSING)
    refused(errno.EINVAL, calls.uffd_unregister, uffd, address, PAGE)
    refused(errno.EINVAL, calls.uffd_wake, uffd, address, PAGE)


@assumes(
    "uffd.api-ioctls",
    "UFFDIO_API reports REGISTER, UNREGISTER and API as available, whatever was asked for.",
    source=_API,
    used_by=UsedBy.BINDINGS,
)
def api_ioctls() -> str:
    features, ioctls = available()
    wanted = Ioctl.REGISTER | Ioctl.UNREGISTER | Ioctl.API
    equal("the ioctls", ioctls & wanted, int(wanted))
    return f"features {features:#x}"


@assumes(
    "uffd.features",
    "Missing and minor faults on shared memory, and SIGBUS instead of events, can be asked for together.",
    source="UFFDIO_API(2const), 5.14",
    used_by=UsedBy.HEAP,
    since=(5, 14),
)
def features() -> None:
    wanted = Feature.SIGBUS | Feature.MISSING_SHMEM | Feature.MINOR_SHMEM
    need(wanted)
    found, _ = calls.uffd_api(bare_descriptor(), wanted)
    equal("the features", found & wanted, int(wanted))


@assumes(
    "uffd.read-nonblocking",
    "Reading a descriptor with UFFD_NONBLOCK when there is no event returns at once.",
    source=_MANUAL,
    used_by=UsedBy.BINDINGS,
)
def read_nonblocking() -> None:
    equal("what was read", calls.uffd_read(descriptor()), b"")
