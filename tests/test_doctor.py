"""`subduct doctor`: what it finds here, and what it says where something lacks."""

import errno
import json
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.kernel import SYSCALL_NUMBERS, has_userfaultfd
from harness.mounts import hide_proc, need_no_proc
from harness.process import Footprint, run_program
from harness.seccomp import forbid
from subduct import Heap, _native
from subduct.cli.findings import completed, findings
from subduct.cli.surroundings import Surroundings
from subduct.cli.trial import Trial
from subduct.report.checks import Status

NOBODY = 65_534
CAP_SYS_PTRACE = 19
PR_SET_DUMPABLE = 4
MOVED = Trial(None, "software", 1 << 20, 20.0, 0, None, None)
TRIALS = [MOVED, *(replace(MOVED, asked=name, delivery=name) for name in ("sigbus", "thread", "pause"))]

known_machine = pytest.mark.skipif(platform.machine() not in SYSCALL_NUMBERS, reason="system call number unknown")


def doctor(*arguments: str, before: Callable[[], None] | None = None, **environment: str) -> tuple[int, str]:
    """Exit code and output of the command."""
    done = subprocess.run(
        [sys.executable, "-m", "subduct", "doctor", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=before,
        env={**os.environ, **environment},
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def doctor_as_nobody(*arguments: str) -> tuple[int, str]:
    """Exit code and output of the command, run without rights. The interpreter may lie where only root can read, so the
    process gives up its rights after a first run, which has imported everything."""
    program = f"""
        import contextlib, ctypes, io, os, sys
        from subduct.cli import main
        with contextlib.redirect_stdout(io.StringIO()):
            main(["doctor", "--json"])
        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid({NOBODY}, {NOBODY}, {NOBODY})
            os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
            assert ctypes.CDLL(None).prctl({PR_SET_DUMPABLE}, 1, 0, 0, 0) == 0  # as after exec
        sys.exit(main(["doctor", *sys.argv[1:]]))
    """
    done = run_program(program, *arguments)
    assert done.stderr == ""
    return done.returncode, done.stdout


def by_name(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in found["checks"]}


NAMES = [
    "kernel",
    "page size",
    "memfd",
    "mremap(MREMAP_DONTUNMAP) of shared memory",
    "cost of moving 1 GiB",
    "userfaultfd, for faults in user mode",
    "userfaultfd features",
    "UFFDIO_REGISTER and UFFDIO_CONTINUE",
    "a fault served in a SIGBUS handler",
    "SIGBUS",
    "userfaultfd, for faults inside the kernel as well",
    "membarrier",
    "vm.max_map_count",
    "memory",
    "limits of this process",
    "container",
    "seccomp",
    "sysctl",
    "/dev/userfaultfd",
    "capabilities",
    "control group",
    "huge pages",
    "swap",
    "locked memory",
    "a heap with delivery sigbus",
    "a heap with delivery thread",
    "a heap with delivery software",
    "a heap with delivery pause",
    "delivery that will be used",
]


def test_this_machine() -> None:
    code, output = doctor("--json")
    found = json.loads(output)
    checks = by_name(found)
    assert list(checks) == NAMES
    assert found["runs"] is has_userfaultfd()
    assert code == (0 if found["runs"] else 1)
    assert checks["kernel"]["found"].startswith(f"Linux {platform.release()} on {platform.machine()}")
    assert checks["page size"]["found"] == f"{os.sysconf('SC_PAGESIZE'):,} bytes"
    assert all(check["found"] and check["meaning"] for check in checks.values())
    assert all(check["remedy"] for check in checks.values() if check["status"] != "ok")


def test_as_nobody() -> None:
    """What a service without rights is told, whoever runs the tests: the call for faults in user mode is open to all."""
    code, output = doctor_as_nobody("--json")
    found = json.loads(output)
    checks = by_name(found)
    assert list(checks) == NAMES
    assert found["surroundings"]["user"] == (NOBODY if os.geteuid() == 0 else os.geteuid())
    assert found["surroundings"]["capabilities"] == []
    assert checks["capabilities"]["found"].endswith("none of those that matter")
    assert found["delivery"] == ("sigbus" if has_userfaultfd() else "software")
    assert code == (0 if found["delivery"] == "sigbus" else 1)
    assert all(check["found"] and check["meaning"] for check in found["checks"])
    assert all(check["remedy"] for check in found["checks"] if check["status"] != "ok")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to show")
def test_as_root() -> None:
    _, output = doctor("--json")
    found = json.loads(output)
    assert found["surroundings"]["user"] == 0
    allowed = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff"))
    has_ptrace = int(allowed.split()[1], 16) >> CAP_SYS_PTRACE & 1 == 1
    assert ("CAP_SYS_PTRACE" in found["surroundings"]["capabilities"]) is has_ptrace
    assert ("CAP_SYS_PTRACE" in by_name(found)["capabilities"]["found"]) is has_ptrace


def test_a_process_that_locks_its_memory_is_warned() -> None:
    program = """
        import ctypes, mmap, sys
        page = mmap.mmap(-1, mmap.PAGESIZE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(page))
        assert ctypes.CDLL(None).mlock(ctypes.c_void_p(address), ctypes.c_size_t(mmap.PAGESIZE)) == 0
        from subduct.cli import main
        sys.exit(main(["doctor", "--json"]))
    """
    done = run_program(program)
    assert done.stderr == ""
    row = by_name(json.loads(done.stdout))["locked memory"]
    assert row["status"] == "warn"
    assert "mlockall" in row["meaning"]


@pytest.mark.skipif(not has_userfaultfd(), reason="no userfaultfd on this kernel")
def test_where_everything_works() -> None:
    code, output = doctor()
    assert code == 0
    for line in (
        "memfd: works",
        "mremap(MREMAP_DONTUNMAP) of shared memory: works (tried, content compared)",
        "a fault served in a SIGBUS handler: works (tried in a child process)",
        "delivery that will be used: sigbus",
    ):
        assert f"ok        {line}\n" in output
    assert output.endswith("\nHeaps will compact under running threads here (delivery sigbus): one just did.\n")
    assert output.count("and found everything again") == 4
    assert "missing" not in output
    assert "\x1b" not in output
    cost = json.loads(_native.probe())["move_cost"]
    assert 0 < cost["median_us"] <= cost["max_us"] < 1e6


@known_machine
def test_a_container_that_forbids_userfaultfd() -> None:
    before = forbid(SYSCALL_NUMBERS[platform.machine()])
    code, output = doctor("--json", before=before)
    found = json.loads(output)
    assert code == 1
    assert found["runs"] is False
    assert found["delivery"] == "software"
    checks = by_name(found)
    row = checks["userfaultfd, for faults in user mode"]
    assert row["status"] == "missing"
    assert "userfaultfd" in row["found"]
    assert "Operation not permitted" in row["found"]
    assert "seccomp" in row["remedy"]
    assert checks["a fault served in a SIGBUS handler"]["status"] == "missing"
    assert checks["mremap(MREMAP_DONTUNMAP) of shared memory"]["status"] == "ok"
    assert checks["delivery that will be used"]["found"].startswith("software, since these do not work: ")
    code, output = doctor(before=before)
    assert code == 1
    assert "What to do: " in output
    assert output.endswith(
        "\nHeaps will compact under running threads here, with a check at each operation (delivery software): one just did.\n"
    )


def test_faulthandler_is_found_to_own_sigbus() -> None:
    code, output = doctor("--json", PYTHONFAULTHANDLER="1")
    row = by_name(json.loads(output))["SIGBUS"]
    assert row["status"] == "warn"
    assert row["found"].startswith("handled by /")
    assert code == (0 if has_userfaultfd() else 1)


def test_nobody_owns_sigbus_in_a_fresh_process() -> None:
    _, output = doctor("--json", PYTHONFAULTHANDLER="")
    assert by_name(json.loads(output))["SIGBUS"]["found"] == "nobody handles it (default)"


def test_a_probe_leaves_the_process_and_its_heaps_as_they_were(heap: Heap) -> None:
    heap.root["data"] = {number: str(number) * 9 for number in range(10_000)}
    _native.probe()
    before = Footprint.now()
    facts = json.loads(_native.probe())
    assert Footprint.now() == before
    assert facts["delivery"] in ("sigbus", "software")
    for number in range(0, 10_000, 2):
        del heap.root["data"][number]
    heap.collect()
    assert heap.root["data"][9_999] == "9999" * 9


def broken(attempt: str, call: str | None, problem: str) -> dict[str, Any]:
    """The facts of this machine with one attempt that failed."""
    facts: dict[str, Any] = json.loads(_native.probe())
    facts[attempt] = {"works": False, "call": call, "errno": 22 if call else None, "problem": problem}
    facts["missing_for_sigbus"] = [attempt]
    facts["delivery"] = "software"
    return facts


def test_an_old_kernel_is_told_from_a_forbidding_one() -> None:
    facts = broken("dontunmap_shared", "mremap(MREMAP_DONTUNMAP)", "Invalid argument")
    facts["move_cost"] = None
    facts["machine"]["release"] = "5.10.0-28-amd64"
    checks = {check.name: check for check in findings(facts, Surroundings.read(), TRIALS)}
    assert checks["kernel"].status is Status.WARN
    row = checks["mremap(MREMAP_DONTUNMAP) of shared memory"]
    assert (row.status, row.found) == (Status.MISSING, "mremap(MREMAP_DONTUNMAP) failed: Invalid argument")
    assert checks["cost of moving 1 GiB"].status is Status.MISSING
    assert checks["delivery that will be used"].found == "software, since these do not work: dontunmap shared"


def test_calls_that_succeed_without_doing_their_work_count_as_missing() -> None:
    facts = broken("sigbus_fault", None, "a fault was not served")
    checks = {check.name: check for check in findings(facts, Surroundings.read(), TRIALS)}
    assert checks["a fault served in a SIGBUS handler"].status is Status.MISSING
    assert checks["a fault served in a SIGBUS handler"].found == "a fault was not served"


def test_without_proc_what_it_would_tell_is_unknown() -> None:
    need_no_proc()
    code, output = doctor("--json", before=hide_proc)
    found = json.loads(output)
    assert found["runs"] is has_userfaultfd()
    assert code == (0 if found["runs"] else 1)
    checks = by_name(found)
    assert checks["kernel"]["found"] == f"Linux {platform.release()} on {platform.machine()}"
    assert "MiB in the machine, limit by a control group unknown: /proc is not mounted" in checks["memory"]["found"]
    for name in (
        "vm.max_map_count", "memory", "limits of this process", "seccomp", "sysctl", "capabilities", "control group", "swap",
        "locked memory",
    ):  # fmt: skip
        assert checks[name]["status"] == "unknown"
        assert checks[name]["found"].endswith("unknown: /proc is not mounted")
        assert checks[name]["remedy"]


def test_limits_are_known_without_proc() -> None:
    facts: dict[str, Any] = json.loads(_native.probe())
    facts["machine"] |= {"release": "", "memory_bytes": None, "file_size_limit_bytes": None}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 40, before[1]))
    try:
        machine = completed(facts)["machine"]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert machine["release"] == os.uname().release
    assert machine["memory_bytes"] > 0
    assert machine["file_size_limit_bytes"] == 1 << 40


def test_a_call_that_a_limit_of_this_process_refuses_is_not_missing() -> None:
    facts: dict[str, Any] = json.loads(_native.probe())
    names = (
        "memfd",
        "membarrier",
        "dontunmap_shared",
        "userfaultfd_user_mode",
        "userfaultfd_full",
        "register_continue",
    )
    for name in names:
        facts[name] = {"works": False, "call": "userfaultfd", "errno": errno.EMFILE, "problem": "Too many open files"}
    facts["sigbus_fault"] = {"works": False, "call": "fork", "errno": errno.EAGAIN, "problem": "Not now"}
    facts |= {"move_cost": None, "features": 0, "feature_names": [], "missing_for_sigbus": list(names)}
    checks = findings(facts, Surroundings.read(), TRIALS)
    unknown = [check for check in checks if "could not be tried under this limit on" in check.found]
    assert len(unknown) == len(names) + 3
    assert all(check.status is Status.UNKNOWN for check in unknown)
    assert all("raise the limit (ulimit -" in check.remedy for check in unknown)
    assert not [check for check in checks if check.status is Status.MISSING]


def test_limits_are_warned_of() -> None:
    facts = json.loads(_native.probe())
    facts["features"], facts["feature_names"] = 1, ["PAGEFAULT_FLAG_WP"]
    facts["move_cost"]["median_us"] = 3_000.0
    facts["machine"] |= {
        "max_map_count": 1_000,
        "cgroup_limit_bytes": 256 << 20,
        "address_space_limit_bytes": 8 << 30,
        "file_size_limit_bytes": 1 << 30,
        "overcommit": 2,
    }
    checks = {check.name: check for check in findings(facts, Surroundings.read(), TRIALS)}
    assert checks["userfaultfd features"].status is Status.MISSING
    for name in ("cost of moving 1 GiB", "vm.max_map_count", "memory", "limits of this process"):
        assert checks[name].status is Status.WARN
    assert "256 MiB allowed by the control group" in checks["memory"].found
    assert "ulimit -v" in checks["limits of this process"].found
    assert "vm.overcommit_memory is 2" in checks["limits of this process"].found


def test_limits_of_the_process_are_found() -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 40, 1 << 40))

    _, output = doctor("--json", before=limit)
    assert by_name(json.loads(output))["limits of this process"]["found"] == "file size 1,048,576 MiB (ulimit -f)"
