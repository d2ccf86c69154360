"""From the surroundings of a process to findings with their meaning."""

from __future__ import annotations

from errno import ENOSYS, EPERM
from typing import TYPE_CHECKING, Any, TypeAlias

from subduct.report.checks import Check, Status
from subduct.report.units import mib, percent, plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from subduct.cli.surroundings import Surroundings
    from subduct.cli.trial import Trial

Facts: TypeAlias = dict[str, Any]

#: What a container's profile needs; written into the remedies of the calls that it may forbid.
CONTAINER_REMEDY = (
    "in a container, allow the system call in its seccomp profile (Docker: --security-opt seccomp=FILE, with "
    "userfaultfd added); gVisor has none"
)
# What filters and containers answer; an old kernel says EINVAL.
_REFUSALS = (EPERM, ENOSYS)
_SECCOMP_STRICT, _SECCOMP_FILTER = 1, 2
_LITTLE_ROOM = 0.1
_SWAPPING = 0.5


#: What to do where something cannot be read.
MOUNT_REMEDY = "mount it, or have the container or sandbox show it; nothing else here depends on it."


def container(found: Surroundings, facts: Facts) -> Check:
    """Which container this is, where it keeps heaps from what they need."""
    refused = facts["userfaultfd_user_mode"]["errno"] in _REFUSALS
    if found.gvisor:
        what = "gVisor, which answers system calls itself"
    else:
        what = "none seen" if found.container is None else f"traces of one ({found.container})"
    inside = found.gvisor or found.container is not None
    hidden = None if inside else found.hides("/proc")
    if hidden:
        what = f"unknown: {hidden}"
    return Check(
        "container",
        Status.WARN if inside and refused else Status.UNKNOWN if hidden else Status.OK,
        what + ("; it refuses userfaultfd" if inside and refused else ""),
        "The default profiles of container engines forbid userfaultfd, and gVisor does not have it. Heaps then run with "
        "the software delivery: still concurrent, with a look at the state of a page at each operation.",
        MOUNT_REMEDY if hidden else f"{CONTAINER_REMEDY}. With gVisor, another runtime class.",
    )


def seccomp(found: Surroundings, facts: Facts) -> Check:
    """Filters for system calls, and which of the calls that were tried they may have refused."""
    names = ("memfd", "membarrier", "userfaultfd_user_mode", "dontunmap_shared", "register_continue")
    refused = list(dict.fromkeys(facts[name]["call"] for name in names if facts[name]["errno"] in _REFUSALS))
    filtered = found.seccomp in (_SECCOMP_STRICT, _SECCOMP_FILTER)
    hidden = found.hides("/proc")
    if found.seccomp is None:
        what = f"unknown: {hidden or '/proc/self/status does not say'}"
    elif not filtered:
        what = "no filter"
    else:
        number = "" if found.seccomp_filters is None else f" ({plural(found.seccomp_filters, 'filter')})"
        what = f"system calls are filtered{number}"
    if filtered and refused:
        what += f"; refused were {', '.join(refused)}"
    return Check(
        "seccomp",
        Status.WARN if filtered and refused else Status.UNKNOWN if found.seccomp is None and hidden else Status.OK,
        what,
        "A filter decides which system calls a process may make; children inherit it. Used here are memfd_create, "
        "membarrier, mremap, madvise, userfaultfd and fallocate.",
        MOUNT_REMEDY
        if found.seccomp is None
        else "whoever started the process must allow the calls named: the container's seccomp profile, or systemd's "
        "SystemCallFilter=.",
    )


def sysctl(found: Surroundings) -> Check:
    """The switches of the kernel that matter to heaps."""
    settings = {
        "vm.unprivileged_userfaultfd": found.unprivileged_userfaultfd,
        "vm.memfd_noexec": found.memfd_noexec,
    }
    known = [f"{name} is {value}" for name, value in settings.items() if value is not None]
    hidden = None if known else found.hides("/proc", "/proc/sys")
    return Check(
        "sysctl",
        Status.UNKNOWN if hidden else Status.OK,
        f"unknown: {hidden}" if hidden else ", ".join(known) or "this kernel has none of the switches",
        "Heaps take either value of both: faults inside the kernel are not needed, and the memory file is made without "
        "the right to execute.",
        MOUNT_REMEDY if hidden else "",
    )


def device(found: Surroundings) -> Check:
    """`/dev/userfaultfd`, since 6.1."""
    if found.device is None:
        what = "not there (Linux 6.1 has it; containers seldom do)"
    else:
        what = f"{found.device.mode}, {'may' if found.device.openable else 'may not'} be opened by user {found.user}"
    return Check(
        "/dev/userfaultfd",
        Status.OK,
        what,
        "Another door to userfaultfd, by file rights; heaps use the system call, which needs none.",
        "",
    )


def capabilities(found: Surroundings) -> Check:
    """The rights of this process, none of which a heap needs."""
    if found.capabilities is None:
        what = f"unknown: {found.hides('/proc') or '/proc/self/status does not say'}"
    else:
        what = ", ".join(found.capabilities) or "none of those that matter"
    return Check(
        "capabilities",
        Status.UNKNOWN if found.capabilities is None else Status.OK,
        f"user {found.user}, {what}",
        "A heap needs none. CAP_SYS_PTRACE adds faults inside the kernel to userfaultfd; CAP_IPC_LOCK lifts the limit on "
        "locked memory.",
        "" if found.capabilities is not None else MOUNT_REMEDY,
    )


def control_group(found: Surroundings) -> Check:
    """The limits of the control groups, and how near they are."""
    group = found.control_group
    meaning = (
        "A heap's memory is charged to the control group as shared memory. At the limit the kernel ends a process; at the "
        "throttle it slows all of them down. A budget is a promise to stay below, if it leaves room for the rest."
    )
    remedy = "a smaller budget, or a higher limit (Docker: --memory; Kubernetes: resources.limits.memory; systemd: MemoryMax=)."
    hidden = found.hides("/proc", "/sys/fs/cgroup")
    if group is None and hidden:
        return Check("control group", Status.UNKNOWN, f"unknown: {hidden}", meaning, MOUNT_REMEDY)
    if group is None:
        return Check("control group", Status.OK, "no memory limit", meaning, remedy)
    sizes = {
        "limit": group.limit_bytes,
        "throttle": group.throttle_bytes,
        "swap": group.swap_bytes,
        "used": group.used_bytes,
    }
    what = ", ".join(f"{name} {mib(size)}" for name, size in sizes.items() if size is not None)
    ceiling = min(size for size in (group.limit_bytes, group.throttle_bytes) if size is not None)
    tight = group.used_bytes is not None and ceiling - group.used_bytes < ceiling * _LITTLE_ROOM
    return Check(
        "control group",
        Status.WARN if tight else Status.OK,
        f"{what} ({group.path})" + ("; nearly all of it is used" if tight else ""),
        meaning,
        remedy,
    )


def huge_pages(found: Surroundings) -> Check:
    """Transparent huge pages, for shared memory above all."""
    shared = found.shared_huge_pages
    forced = shared in ("always", "force")
    hidden = None if shared or found.huge_pages else found.hides("/sys")
    what = f"shared memory: {shared or 'not built into this kernel'}; anonymous memory: {found.huge_pages or 'not built in'}"
    return Check(
        "huge pages",
        Status.WARN if forced else Status.UNKNOWN if hidden else Status.OK,
        f"unknown: {hidden}" if hidden else what,
        "A heap works in small pages and gives them back one by one. Where the kernel makes huge ones of shared memory by "
        "itself, 2 MiB become resident at the first touch: a small heap takes several times what it needs.",
        MOUNT_REMEDY if hidden else "echo advise > /sys/kernel/mm/transparent_hugepage/shmem_enabled",
    )


def swap(found: Surroundings) -> Check:
    """Swap, and whether the machine is using it up."""
    total, free = found.swap_bytes, found.swap_free_bytes
    meaning = (
        "A heap's memory can be swapped out. A thread that touches such a page waits for the disk, and a cycle reads every "
        "live object, so that a heap that does not fit into memory makes the machine swap all the time."
    )
    remedy = "a smaller budget, more memory, or no swap for this service (swapoff; systemd: MemorySwapMax=0)."
    if total is None and (hidden := found.hides("/proc")):
        return Check("swap", Status.UNKNOWN, f"unknown: {hidden}", meaning, MOUNT_REMEDY)
    if not total or free is None:
        return Check("swap", Status.OK, "none", meaning, remedy)
    used = (total - free) / total
    inclined = "" if found.swappiness is None else f"; vm.swappiness is {found.swappiness}"
    return Check(
        "swap",
        Status.WARN if used > _SWAPPING else Status.OK,
        f"{mib(total)}, of which {percent(round(used, 2))} is used{inclined}",
        meaning,
        remedy,
    )


def locked(found: Surroundings, trials: Sequence[Trial]) -> Check:
    """Whether this process locks its memory, and whether heaps work all the same."""
    size = found.locked_bytes
    remedy = "lock single ranges with mlock, instead of all memory with mlockall."
    if size is None:
        what, status = f"unknown: {found.hides('/proc') or '/proc/self/status does not say'}", Status.UNKNOWN
        remedy = MOUNT_REMEDY
    elif not size:
        what, status = "none", Status.OK
    elif trials[0].untried:
        what, status = f"{mib(size)} of this process; a heap {trials[0].problem}", Status.UNKNOWN
        remedy = trials[0].remedy
    elif trials[0].worked:
        what, status = (
            f"{mib(size)} of this process; a heap that was made under the same lock moved objects",
            Status.WARN,
        )
    else:
        what, status = f"{mib(size)} of this process; a heap that was made under the same lock failed", Status.MISSING
    return Check(
        "locked memory",
        status,
        what,
        "mlockall(MCL_FUTURE) makes every page of a new mapping resident at once, and a heap's windows are several GiB. The "
        "kernel does not move locked pages as a heap needs it, so those of a heap do not stay locked, and may be swapped out.",
        remedy,
    )


def surrounding_findings(found: Surroundings, facts: Facts, trials: Sequence[Trial]) -> list[Check]:
    """All findings about the surroundings; `facts` are those of the native probe, `trials` what heaps did that were tried."""
    return [
        container(found, facts),
        seccomp(found, facts),
        sysctl(found),
        device(found),
        capabilities(found),
        control_group(found),
        huge_pages(found),
        swap(found),
        locked(found, trials),
    ]
