"""What `subduct doctor` reads below /proc and /sys, on trees made up for it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from subduct._limits import ControlGroup
from subduct.cli.surrounding_findings import surrounding_findings
from subduct.cli.surroundings import Surroundings
from subduct.cli.trial import Trial
from subduct.report.checks import Check, Status

MIB = 1 << 20
MOVED = Trial(None, "sigbus", MIB, 20.0, 0, None, None)
WORKS = {"works": True, "call": None, "errno": None, "problem": None}
ATTEMPTS = ("memfd", "membarrier", "userfaultfd_user_mode", "dontunmap_shared", "register_continue")


def tree(root: Path, **files: str) -> Path:
    """A root folder with these files; in a name "__" stands for a slash and "_dot_" for a dot."""
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def attempts(**failed: tuple[str, int]) -> dict[str, Any]:
    """The probe's facts, with calls that failed: their names and errno."""
    facts: dict[str, Any] = {name: dict(WORKS) for name in ATTEMPTS}
    for name, (call, number) in failed.items():
        facts[name] = {"works": False, "call": call, "errno": number, "problem": "refused"}
    return facts


def named(found: Surroundings, facts: dict[str, Any] | None = None) -> dict[str, Check]:
    checks = surrounding_findings(found, attempts() if facts is None else facts, [MOVED])
    assert all(check.found and check.meaning for check in checks)
    assert all(check.remedy for check in checks if check.status is not Status.OK)
    return {check.name: check for check in checks}


def test_nothing_to_read_is_no_failure(tmp_path: Path) -> None:
    found = Surroundings.read(tmp_path)
    assert found.seccomp is None
    assert found.control_group is None
    assert found.container is None
    assert found.swap_bytes is None
    assert found.unmounted == ("/proc", "/proc/sys", "/sys")
    rows = named(found)
    assert {check.status for check in rows.values()} == {Status.OK, Status.UNKNOWN}
    for name in ("container", "seccomp", "sysctl", "capabilities", "control group", "swap", "locked memory"):
        assert rows[name].status is Status.UNKNOWN
        assert rows[name].found.endswith("unknown: /proc is not mounted")
        assert rows[name].remedy.startswith("mount it")
    assert (rows["huge pages"].status, rows["huge pages"].found) == (Status.UNKNOWN, "unknown: /sys is not mounted")


def test_what_is_mounted_and_does_not_have_it_is_known(tmp_path: Path) -> None:
    status = "Seccomp:\t0\nCapEff:\t0000000000000000\nVmLck:\t       0 kB\n"
    root = tree(
        tmp_path,
        proc__self__status=status,
        proc__meminfo="SwapTotal:  0 kB\nSwapFree:  0 kB\n",
        proc__sys__vm__swappiness="60\n",
        sys__kernel__notes="",
    )
    found = Surroundings.read(root)
    assert found.unmounted == ()
    rows = named(found)
    assert {check.status for check in rows.values()} == {Status.OK}
    assert rows["sysctl"].found == "this kernel has none of the switches"
    assert rows["control group"].found == "no memory limit"
    assert rows["capabilities"].found.endswith("none of those that matter")
    # In a group, but its limits are not shown.
    grouped = Surroundings.read(tree(tmp_path, proc__self__cgroup="0::/service\n"))
    row = named(grouped)["control group"]
    assert (row.status, row.found) == (Status.UNKNOWN, "unknown: /sys/fs/cgroup is not mounted")


@pytest.mark.parametrize(
    ("files", "engine"),
    [
        ({"run___dot_containerenv": ""}, "podman"),
        ({"run__systemd__container": "systemd-nspawn\n"}, "systemd-nspawn"),
        ({"proc__1__cgroup": "0::/system.slice/docker-0123.scope\n"}, "docker"),
        ({"proc__1__cgroup": "0::/init.scope\n", "proc__self__cgroup": "0::/kubepods/pod1/c2\n"}, "kubepods"),
        ({"_dot_dockerenv": ""}, "docker"),
        ({"proc__1__environ": "PATH=/bin\0container=lxc\0"}, "lxc"),
        ({"proc__1__cgroup": "0::/init.scope\n", "proc__self__status": ""}, None),
    ],
)
def test_containers_are_recognised(tmp_path: Path, files: dict[str, str], engine: str | None) -> None:
    found = Surroundings.read(tree(tmp_path, **files))
    assert found.container == engine
    assert named(found)["container"].status is Status.OK
    without = named(found, attempts(userfaultfd_user_mode=("userfaultfd", 1)))["container"]
    assert without.status is (Status.OK if engine is None else Status.WARN)
    assert engine is None or (f"({engine}); it refuses" in without.found and "seccomp" in without.remedy)
    assert named(found, attempts(userfaultfd_user_mode=("userfaultfd", 22)))["container"].status is Status.OK


@pytest.mark.parametrize(
    "version",
    ["Linux version 4.4.0 #1 SMP Sun Jan 10 15:06:54 PST 2016\n", "Linux version 4.19.0-gvisor #1 SMP\n"],
)
def test_gvisor_is_recognised(tmp_path: Path, version: str) -> None:
    found = Surroundings.read(tree(tmp_path, proc__version=version))
    assert found.gvisor
    row = named(found, attempts(userfaultfd_user_mode=("userfaultfd", 38)))["container"]
    assert row.status is Status.WARN
    assert "gVisor" in row.found


def test_an_old_linux_is_not_gvisor(tmp_path: Path) -> None:
    assert not Surroundings.read(tree(tmp_path, proc__version="Linux version 4.4.0-210-generic (gcc) #242\n")).gvisor


def test_a_filter_that_refused_something_is_named(tmp_path: Path) -> None:
    status = "Seccomp:\t2\nSeccomp_filters:\t3\nCapEff:\t0000000000080000\nVmLck:\t       0 kB\n"
    found = Surroundings.read(tree(tmp_path, proc__self__status=status))
    assert found.capabilities == ("CAP_SYS_PTRACE",)
    assert named(found)["seccomp"].found == "system calls are filtered (3 filters)"
    row = named(found, attempts(userfaultfd_user_mode=("userfaultfd", 1)))["seccomp"]
    assert row.status is Status.WARN
    assert row.found == "system calls are filtered (3 filters); refused were userfaultfd"
    old_kernel = named(found, attempts(dontunmap_shared=("mremap", 22)))["seccomp"]
    assert old_kernel.status is Status.OK


def test_the_lowest_limit_above_a_process_counts(tmp_path: Path) -> None:
    group = tree(
        tmp_path,
        proc__self__cgroup="0::/service/worker\n",
        sys__fs__cgroup__service__worker__memory_dot_max="max\n",
        sys__fs__cgroup__service__worker__memory_dot_current=f"{100 * MIB}\n",
        sys__fs__cgroup__service__memory_dot_max=f"{512 * MIB}\n",
        sys__fs__cgroup__service__memory_dot_high=f"{256 * MIB}\n",
        sys__fs__cgroup__service__memory_dot_swap_dot_max="0\n",
        sys__fs__cgroup__service__memory_dot_current=f"{250 * MIB}\n",
    )
    found = Surroundings.read(group)
    assert found.control_group == ControlGroup("service", 512 * MIB, 256 * MIB, 0, 250 * MIB)
    row = named(found)["control group"]
    assert row.status is Status.WARN
    assert row.found.startswith("limit 512 MiB, throttle 256 MiB, swap 0.0 MiB, used 250 MiB (service); nearly all")
    roomy = replace(found, control_group=ControlGroup("service", 512 * MIB, None, None, 250 * MIB))
    assert named(roomy)["control group"].status is Status.OK


def test_the_first_version_of_control_groups_is_read_too(tmp_path: Path) -> None:
    group = tree(
        tmp_path,
        proc__self__cgroup="5:cpu,cpuacct:/a\n4:memory:/outside/of/the/mount\n0::/\n",
        sys__fs__cgroup__memory__memory_dot_limit_in_bytes=f"{300 * MIB}\n",
        sys__fs__cgroup__memory__memory_dot_usage_in_bytes=f"{1 * MIB}\n",
    )
    assert Surroundings.read(group).control_group == ControlGroup(".", 300 * MIB, None, None, 1 * MIB)
    unlimited = tree(tmp_path, sys__fs__cgroup__memory__memory_dot_limit_in_bytes="9223372036854771712\n")
    assert Surroundings.read(unlimited).control_group is None


def test_huge_pages_that_nobody_asked_for_are_warned_of(tmp_path: Path) -> None:
    folder = "sys__kernel__mm__transparent_hugepage__"
    root = tree(
        tmp_path, **{f"{folder}enabled": "always [madvise] never\n", f"{folder}shmem_enabled": "[always] never\n"}
    )
    found = Surroundings.read(root)
    row = named(found)["huge pages"]
    assert (row.status, row.found) == (Status.WARN, "shared memory: always; anonymous memory: madvise")
    assert named(replace(found, shared_huge_pages="advise"))["huge pages"].status is Status.OK


def test_a_machine_that_swaps_is_warned_of(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        proc__meminfo="MemTotal:  8000 kB\nSwapTotal:  4096 kB\nSwapFree:  1024 kB\n",
        proc__sys__vm__swappiness="60\n",
    )
    found = Surroundings.read(root)
    row = named(found)["swap"]
    assert (row.status, row.found) == (Status.WARN, "4.0 MiB, of which 75 % is used; vm.swappiness is 60")
    assert named(replace(found, swap_free_bytes=4096 << 10))["swap"].status is Status.OK
    assert named(replace(found, swap_bytes=0))["swap"].found == "none"


def test_locked_memory_is_warned_of(tmp_path: Path) -> None:
    found = Surroundings.read(tree(tmp_path, proc__self__status="VmLck:\t    2048 kB\n"))
    row = named(found)["locked memory"]
    assert row.status is Status.WARN
    assert row.found == "2.0 MiB of this process; a heap that was made under the same lock moved objects"
    failed = replace(MOVED, problem="no memory")
    (row,) = (check for check in surrounding_findings(found, attempts(), [failed]) if check.name == "locked memory")
    assert row.status is Status.MISSING
    assert "failed" in row.found
    untried = replace(MOVED, problem="could not be tried", remedy="raise it.", untried=True)
    (row,) = (check for check in surrounding_findings(found, attempts(), [untried]) if check.name == "locked memory")
    assert (row.status, row.remedy) == (Status.UNKNOWN, "raise it.")


def test_the_device_says_who_may_open_it(tmp_path: Path) -> None:
    found = Surroundings.read(tree(tmp_path, dev__userfaultfd=""))
    assert found.device is not None
    assert found.device.openable
    assert "may be opened by user" in named(found)["/dev/userfaultfd"].found
    assert "not there" in named(replace(found, device=None))["/dev/userfaultfd"].found
