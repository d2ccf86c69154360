"""From the facts of the native probe, and from the surroundings, to findings with their meaning."""

from __future__ import annotations

import os
import re
import resource
from dataclasses import replace
from typing import TYPE_CHECKING

from subduct.cli.surrounding_findings import CONTAINER_REMEDY, MOUNT_REMEDY, Facts, surrounding_findings
from subduct.cli.trial_findings import trial_findings, used
from subduct.cli.untried import untried_attempt
from subduct.report.checks import Check, Status
from subduct.report.units import count, mib

if TYPE_CHECKING:
    from collections.abc import Sequence

    from subduct.cli.surroundings import Surroundings
    from subduct.cli.trial import Trial

# Minor faults on shared memory came last of all that the sigbus delivery needs.
_NEEDED_KERNEL = (5, 14)
_NEEDED_FEATURES = ("SIGBUS", "MISSING_SHMEM", "MINOR_SHMEM")
# A gibibyte that takes longer was not moved by one pointer.
_SLOW_MOVE_US = 150.0
_USUAL_MAP_COUNT = 65_530
_LITTLE_MEMORY_BYTES = 512 << 20


def findings(facts: Facts, surroundings: Surroundings, trials: Sequence[Trial]) -> list[Check]:
    """All findings: what the delivery rests on, what surrounds the process, and what heaps did that were tried."""
    rests_on = [
        _kernel(facts),
        _page_size(facts),
        _memfd(facts),
        _dontunmap(facts),
        _move_cost(facts),
        _userfaultfd(facts),
        _features(facts),
        _register_continue(facts),
        _sigbus_fault(facts),
        _sigbus_owner(facts, surroundings),
        _userfaultfd_full(facts),
        _membarrier(facts),
        _max_map_count(facts, surroundings),
        _memory(facts, surroundings),
        _limits(facts, surroundings),
    ]
    if trials[0].as_meant and trials[0].delivery == "sigbus":
        rests_on = [_dispensable(check) for check in rests_on]
    around = surrounding_findings(surroundings, facts, trials)
    lacking = [check.name for check in (*rests_on, *around) if check.status is Status.MISSING]
    return [*rests_on, *around, *trial_findings(trials, lacking), used(trials, facts, lacking)]


def _dispensable(check: Check) -> Check:
    """What does not work alone, but was not needed by the heap that was tried."""
    if check.status is not Status.MISSING:
        return check
    return replace(check, status=Status.WARN, found=f"{check.found}; heaps do without it here")


def completed(facts: Facts) -> Facts:
    """The facts of the native probe, with what it reads below /proc from elsewhere, where that is not mounted."""
    machine = dict(facts["machine"])
    machine["release"] = machine["release"] or os.uname().release
    # Some C libraries take it from /proc as well.
    if machine["memory_bytes"] is None and (pages := os.sysconf("SC_PHYS_PAGES")) > 0:
        machine["memory_bytes"] = pages * os.sysconf("SC_PAGE_SIZE")
    for name, number in (("address_space", resource.RLIMIT_AS), ("file_size", resource.RLIMIT_FSIZE)):
        limit = resource.getrlimit(number)[0]
        if machine[f"{name}_limit_bytes"] is None and limit != resource.RLIM_INFINITY:
            machine[f"{name}_limit_bytes"] = limit
    return facts | {"machine": machine}


def _outcome(attempt: Facts, how: str = "") -> str:
    if attempt["works"]:
        return f"works{how}"
    if why := untried_attempt(attempt):
        return why.problem
    return f"{attempt['call']} failed: {attempt['problem']}" if attempt["call"] else str(attempt["problem"])


def _known(number: int | None) -> str:
    return "unknown" if number is None else count(number)


def _needed(attempt: Facts) -> Status:
    if attempt["works"]:
        return Status.OK
    return Status.UNKNOWN if untried_attempt(attempt) else Status.MISSING


def _remedy(attempt: Facts, usual: str) -> str:
    why = untried_attempt(attempt)
    return why.remedy if why else usual


def _kernel(facts: Facts) -> Check:
    machine = facts["machine"]
    numbers = re.match(r"(\d+)\.(\d+)", machine["release"])
    new_enough = numbers is None or (int(numbers[1]), int(numbers[2])) >= _NEEDED_KERNEL
    return Check(
        "kernel",
        Status.OK if new_enough else Status.WARN,
        f"Linux {machine['release']} on {machine['architecture']}",
        "Linux 5.14 is the first with everything needed; distributions add parts of it to older ones, so the rows "
        "below count, not the number.",
        "boot Linux 5.14 or newer.",
    )


def _page_size(facts: Facts) -> Check:
    size = facts["machine"]["page_size"]
    return Check(
        "page size",
        Status.OK,
        f"{count(size)} bytes",
        "Objects are moved and repaired a page at a time: larger pages mean fewer, longer faults.",
        "chosen when the kernel is built.",
    )


def _memfd(facts: Facts) -> Check:
    return Check(
        "memfd",
        _needed(facts["memfd"]),
        _outcome(facts["memfd"]),
        "Heaps live in memory of this kind: a file without a name, which can be mapped twice.",
        _remedy(facts["memfd"], "Linux 3.17; a seccomp profile may forbid memfd_create."),
    )


def _dontunmap(facts: Facts) -> Check:
    return Check(
        "mremap(MREMAP_DONTUNMAP) of shared memory",
        _needed(facts["dontunmap_shared"]),
        _outcome(facts["dontunmap_shared"], " (tried, content compared)"),
        "This takes all pages away from the running threads at one moment, without copying: the pause of a cycle.",
        _remedy(
            facts["dontunmap_shared"],
            "Linux 5.13; a seccomp profile or an address-space limit (ulimit -v) may forbid it.",
        ),
    )


def _move_cost(facts: Facts) -> Check:
    cost = facts["move_cost"]
    name = "cost of moving 1 GiB"
    meaning = "The shortest pause that a heap of up to 1 GiB can have on this machine; every further GiB adds to it."
    remedy = "kernels and machines that move page tables by whole GiB (x86-64, arm64, riscv, powerpc; Linux 5.11)."
    if cost is None and (why := untried_attempt(facts["dontunmap_shared"])):
        return Check(name, Status.UNKNOWN, why.problem, meaning, why.remedy)
    if cost is None:
        return Check(name, Status.MISSING, "not measured, since it does not work", meaning, remedy)
    register = "" if cost["register_us"] is None else f", and {cost['register_us']:.1f} us to register it"
    return Check(
        name,
        Status.OK if cost["median_us"] <= _SLOW_MOVE_US else Status.WARN,
        f"{cost['median_us']:.1f} us{register} (median of {cost['rounds']}, longest {cost['max_us']:.1f} us; "
        f"one page in each 64 KiB resident, {mib(cost['populated_bytes'])} in all)",
        meaning,
        remedy,
    )


def _userfaultfd(facts: Facts) -> Check:
    return Check(
        "userfaultfd, for faults in user mode",
        _needed(facts["userfaultfd_user_mode"]),
        _outcome(facts["userfaultfd_user_mode"]),
        "This catches a thread that touches a page which is not ready. No privilege is needed.",
        _remedy(facts["userfaultfd_user_mode"], f"Linux 5.11; {CONTAINER_REMEDY}."),
    )


def _features(facts: Facts) -> Check:
    names = facts["feature_names"]
    lacking = [name for name in _NEEDED_FEATURES if name not in names]
    listed = f"{', '.join(names)} ({facts['features']:#x})" if names else "none"
    name = "userfaultfd features"
    meaning = (
        f"Needed are {', '.join(_NEEDED_FEATURES)}: faults on shared memory, for pages that are in the file and for "
        "holes, raised on the thread that took them."
    )
    if not names and (why := untried_attempt(facts["userfaultfd_user_mode"])):
        return Check(name, Status.UNKNOWN, why.problem, meaning, why.remedy)
    return Check(
        name,
        Status.MISSING if lacking else Status.OK,
        f"lacks {', '.join(lacking)}; has {listed}" if lacking else listed,
        meaning,
        "Linux 5.14 on x86-64 or arm64.",
    )


def _register_continue(facts: Facts) -> Check:
    return Check(
        "UFFDIO_REGISTER and UFFDIO_CONTINUE",
        _needed(facts["register_continue"]),
        _outcome(facts["register_continue"]),
        "A page is given back to the threads by mapping it, without a copy.",
        _remedy(facts["register_continue"], "Linux 5.14."),
    )


def _sigbus_fault(facts: Facts) -> Check:
    return Check(
        "a fault served in a SIGBUS handler",
        _needed(facts["sigbus_fault"]),
        _outcome(facts["sigbus_fault"], " (tried in a child process)"),
        "A thread that touches a page which is not ready makes it ready itself, with no other thread involved.",
        _remedy(facts["sigbus_fault"], "all the rows above."),
    )


def _sigbus_owner(facts: Facts, surroundings: Surroundings) -> Check:
    owner = facts["sigbus_owner"]
    meaning = "subduct handles SIGBUS in processes that have a heap, and passes on every fault that is not its own."
    if owner["disposition"] != "handler":
        return Check("SIGBUS", Status.OK, f"nobody handles it ({owner['disposition']})", meaning, "")
    hidden = surroundings.hides("/proc")
    unknown = f"code of a file that is unknown ({hidden})" if hidden else "code that was loaded from no file"
    library = owner["library"] or unknown
    return Check(
        "SIGBUS",
        Status.WARN,
        f"handled by {library} (at {owner['address']:#x})",
        f"{meaning} Whoever takes the signal over after a heap was made, and does not pass it on, breaks the heap.",
        "make the heap after the other handler (such as faulthandler) was installed.",
    )


def _userfaultfd_full(facts: Facts) -> Check:
    attempt = facts["userfaultfd_full"]
    why = untried_attempt(attempt)
    return Check(
        "userfaultfd, for faults inside the kernel as well",
        Status.UNKNOWN if why else Status.OK,
        why.problem if why else "works" if attempt["works"] else "not allowed",
        "subduct does not need it.",
        why.remedy if why else "sysctl vm.unprivileged_userfaultfd=1, or the capability CAP_SYS_PTRACE.",
    )


def _membarrier(facts: Facts) -> Check:
    return Check(
        "membarrier",
        _needed(facts["membarrier"]),
        _outcome(facts["membarrier"]),
        "Threads enter and leave the heap without a memory fence; the collector pays for it with this call.",
        _remedy(facts["membarrier"], "Linux 4.14; a seccomp profile may forbid it."),
    )


def _max_map_count(facts: Facts, surroundings: Surroundings) -> Check:
    most, used = facts["machine"]["max_map_count"], facts["machine"]["map_count"]
    name, meaning = "vm.max_map_count", "A heap needs a few dozen mappings, whatever its size."
    if most is None and (hidden := surroundings.hides("/proc", "/proc/sys")):
        return Check(name, Status.UNKNOWN, f"unknown: {hidden}", meaning, MOUNT_REMEDY)
    little = most is not None and most < _USUAL_MAP_COUNT
    return Check(
        name,
        Status.WARN if little else Status.OK,
        f"{_known(most)}, of which this process uses {_known(used)}",
        meaning,
        f"sysctl vm.max_map_count={_USUAL_MAP_COUNT}.",
    )


def _memory(facts: Facts, surroundings: Surroundings) -> Check:
    machine = facts["machine"]
    found = []
    smallest = None
    for size, what in (
        (machine["memory_bytes"], "in the machine"),
        (machine["available_bytes"], "available"),
        (machine["cgroup_limit_bytes"], "allowed by the control group"),
    ):
        if size is not None:
            found.append(f"{mib(size)} {what}")
            smallest = size if smallest is None else min(smallest, size)
    hidden = None
    if machine["cgroup_limit_bytes"] is None:
        hidden = surroundings.hides("/proc", "/sys/fs/cgroup")
        found.append(f"limit by a control group unknown: {hidden}" if hidden else "no limit by a control group")
    little = smallest is not None and smallest < _LITTLE_MEMORY_BYTES
    return Check(
        "memory",
        Status.WARN if little else Status.UNKNOWN if hidden else Status.OK,
        ", ".join(found),
        "The budgets of all heaps must fit into the smallest of these. A control group counts a heap's memory as "
        "shared memory of the process.",
        MOUNT_REMEDY if hidden and not little else "a smaller budget, or a higher memory limit of the container.",
    )


def _limits(facts: Facts, surroundings: Surroundings) -> Check:
    machine = facts["machine"]
    found = []
    if machine["address_space_limit_bytes"] is not None:
        found.append(f"address space {mib(machine['address_space_limit_bytes'])} (ulimit -v)")
    if machine["file_size_limit_bytes"] is not None:
        found.append(f"file size {mib(machine['file_size_limit_bytes'])} (ulimit -f)")
    if machine["overcommit"] == 2:
        found.append("memory is charged when it is mapped (vm.overcommit_memory is 2)")
    hidden = surroundings.hides("/proc", "/proc/sys") if machine["overcommit"] is None else None
    charged = f"when memory is charged is unknown: {hidden}" if hidden else "memory is charged when it is used"
    return Check(
        "limits of this process",
        Status.WARN if found else Status.UNKNOWN if hidden else Status.OK,
        "; ".join(found) or f"address space and file size unlimited, {charged}",
        "A heap reserves twenty times its budget in addresses, in whole GiBs if it may, and the larger of its two memfds is as long "
        "as eight budgets.",
        MOUNT_REMEDY
        if hidden and not found
        else "ulimit -v unlimited; ulimit -f unlimited; sysctl vm.overcommit_memory=0.",
    )
