"""`subduct selftest` as a user sees it: what it prints, what it returns, and who may run it."""

import ctypes
import json
import os
import platform
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.kernel import SYSCALL_NUMBERS
from harness.mounts import hide_proc, need_no_proc
from harness.process import run_program
from harness.seccomp import forbid

NOBODY = 65534
# From linux/capability.h and linux/prctl.h.
CAP_SETUID, CAP_IPC_LOCK, CAP_SYS_PTRACE, CAP_SYS_ADMIN = 7, 14, 19, 21
PR_CAPBSET_DROP = 24
# Those that a right decides: about locked memory, userfaultfd, and forks as events.
ABOUT_RIGHTS = ("mremap.eagain.*", "uffd.user-mode-only", "uffd.all-*", "uffd.event-fork")
KNOWN = "todo".upper()
RESULT = re.compile(rf"(not ok|ok) (\d+) - ([a-z0-9.-]+)(?: # (SKIP|{KNOWN}) (.+))?")


def selftest(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the command in a process of its own."""
    command = [sys.executable, "-m", "subduct", "selftest", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)


def results(output: str) -> list[re.Match[str]]:
    """The result lines, after a look at what stands around them."""
    lines = output.splitlines()
    assert lines[0] == "TAP version 13"
    found = [match for line in lines if (match := RESULT.fullmatch(line))]
    assert f"1..{len(found)}" in lines
    assert [int(match[2]) for match in found] == list(range(1, len(found) + 1))
    others = [line for line in lines[1:] if not RESULT.fullmatch(line) and not line.startswith(("# ", "  ", "1.."))]
    assert not others
    return found


def test_this_kernel_does_what_is_assumed_of_it() -> None:
    ran = selftest()
    found = results(ran.stdout)
    assert ran.returncode == 0, ran.stdout
    assert len(found) >= 80
    assert not [match[0] for match in found if match[1] == "not ok" and match[4] != KNOWN]
    passed = {match[3] for match in found if match[1] == "ok" and match[4] is None}
    assert len(passed) > len(found) // 2
    assert not ran.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="runs as another user, which only root can arrange")
def test_nobody_may_run_it() -> None:
    # Becomes nobody when everything is imported: the interpreter may lie where only its owner can look.
    ran = run_program(
        f"""
        import contextlib, ctypes, io, os, sys
        from subduct.cli import main
        with contextlib.redirect_stdout(io.StringIO()):
            main(["selftest", "--json", "--only", "memfd.*"])
        os.setgroups([])
        os.setresgid({NOBODY}, {NOBODY}, {NOBODY})
        os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
        # As after an exec: a process may look at itself in /proc.
        ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
        sys.exit(main(["selftest", "--json"]))
        """
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    report = json.loads(ran.stdout)
    assert report["user"]["uid"] == NOBODY
    assert not [each for each in report["results"] if each["status"] == "fail"]
    assert sum(each["status"] == "pass" for each in report["results"]) > 100


def without(*dropped: int) -> Callable[[], None]:
    """Something for a child of root to call before its program runs, which then lacks these capabilities."""
    libc = ctypes.CDLL(None)

    def drop() -> None:
        if any(libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0) for number in dropped):
            os._exit(99)

    return drop


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has capabilities to lose")
@pytest.mark.parametrize(
    ("dropped", "only"),
    [
        ((CAP_SETUID,), ABOUT_RIGHTS),
        ((CAP_IPC_LOCK,), ABOUT_RIGHTS),
        ((CAP_SYS_PTRACE,), ABOUT_RIGHTS),
        ((CAP_SYS_ADMIN,), ABOUT_RIGHTS),
        (tuple(range(int(Path("/proc/sys/kernel/cap_last_cap").read_text()) + 1)), ("*",)),
    ],
    ids=["setuid", "ipc-lock", "sys-ptrace", "sys-admin", "all"],
)
def test_no_test_fails_for_want_of_a_capability(dropped: tuple[int, ...], only: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "subduct", "selftest", "--json"]
    for pattern in only:
        command += ["--only", pattern]
    ran = subprocess.run(
        command, preexec_fn=without(*dropped), capture_output=True, text=True, check=False, timeout=600
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    results = {each["id"]: each for each in json.loads(ran.stdout)["results"]}
    assert not [each for each in results.values() if each["status"] == "fail"]
    assert all(each["detail"] for each in results.values() if each["status"] == "skip")
    # These give up all rights themselves, which takes none.
    for identity in ("mremap.eagain.locked-limit", "uffd.user-mode-only"):
        assert results[identity]["status"] == "pass"
    assert CAP_SYS_PTRACE not in dropped or "CAP_SYS_PTRACE" in results["uffd.event-fork"]["detail"]


def test_the_report_as_json() -> None:
    ran = selftest("--json", "--only", "mremap.einval.*", "--only", "uffd.api-ioctls")
    report = json.loads(ran.stdout)
    assert ran.returncode == 0
    assert report["kernel"] == os.uname().release
    assert report["machine"] == {"architecture": os.uname().machine, "page_bytes": os.sysconf("SC_PAGE_SIZE")}
    assert report["user"]["uid"] == os.geteuid()
    ids = [each["id"] for each in report["results"]]
    assert "uffd.api-ioctls" in ids
    assert len(ids) > 5
    assert all(identity.startswith("mremap.einval.") for identity in ids if identity != "uffd.api-ioctls")
    for each in report["results"]:
        assert each["status"] in {"pass", "skip"}
        assert each["time_us"] >= 0
        assert isinstance(each["detail"], str)


def test_the_list_names_every_test_and_runs_none() -> None:
    everything, some = selftest("--list"), selftest("--list", "--only", "memfd.*")
    assert everything.returncode == some.returncode == 0
    ids = [line.split()[0] for line in everything.stdout.splitlines()]
    assert len(ids) == len(set(ids)) >= 80
    assert [line.split()[0] for line in some.stdout.splitlines()] == [each for each in ids if each.startswith("memfd.")]


def test_the_list_as_json() -> None:
    everything, some = selftest("--list", "--json"), selftest("--list", "--json", "--only", "memfd.*")
    tests = json.loads(everything.stdout)["tests"]
    assert len(tests) >= 80
    assert [each["id"] for each in tests] == [line.split()[0] for line in selftest("--list").stdout.splitlines()]
    assert all(each["claim"] and each["source"] and each["used_by"] for each in tests)
    assert any(each["known_bug"] for each in tests)
    assert {each["id"].split(".")[0] for each in json.loads(some.stdout)["tests"]} == {"memfd"}


@pytest.mark.parametrize("arguments", [("--only", "memfd.*"), ("--only", "memfd.*", "--json"), ("--list",)])
def test_output_that_does_not_fit_is_no_failed_test(arguments: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "subduct", "selftest", *arguments]
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        ran = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    assert ran.stderr == "subduct: the output cannot be written: No space left on device\n"
    assert ran.returncode == 2


@pytest.mark.parametrize("timeout", ["0", "-1", "nan"])
def test_a_time_in_which_nothing_can_run(timeout: str) -> None:
    ran = selftest("--timeout", timeout)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "--timeout" in ran.stderr


def test_one_test_alone() -> None:
    ran = selftest("--only", "mremap.einval.fixed-alone")
    assert ran.returncode == 0
    assert ran.stdout.splitlines()[-1].startswith("# 1 test: 1 passed, ")
    assert [match[3] for match in results(ran.stdout)] == ["mremap.einval.fixed-alone"]


@pytest.mark.parametrize("pattern", ["uffd.continue.exist", "uffd.nothing.*"])
def test_a_test_that_there_is_not(pattern: str) -> None:
    ran = selftest("--only", "memfd.name", "--only", pattern)
    assert ran.returncode == 2
    assert not ran.stdout
    assert repr(pattern) in ran.stderr
    assert "; near: uffd." in ran.stderr or "--list" in ran.stderr


def test_near_matches_are_named() -> None:
    assert "uffd.continue.eexist" in selftest("--only", "uffd.continue.exist").stderr


def test_nothing_could_run() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "subduct", "selftest", "--only", "uffd.minor.*", "--only", "uffd.continue.*"],
        preexec_fn=forbid(SYSCALL_NUMBERS[platform.machine()]),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    found = results(ran.stdout)
    assert ran.returncode == 4, ran.stdout + ran.stderr
    assert {match[4] for match in found} == {"SKIP"}
    assert all("userfaultfd" in match[5] for match in found)


def with_check(body: str, run: str) -> str:
    """A program whose self-test has one test, with a body of ours."""
    return f"""
import os, signal, sys, time
from subduct.cli import main, selftest
from subduct.selftest.assumption import Assumption, UsedBy
def check():
    {body}
only = Assumption("ours.only", "Ours.", check, "here", UsedBy.NOBODY, None, None, None, __name__)
selftest.assumptions = lambda: (only,)
{run}
"""


@pytest.mark.parametrize(
    ("body", "got"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "was killed by SIGSEGV"),
        ("os._exit(3)", "exited with code 3 and no result"),
        ("time.sleep(1000)", "did not end within 0.5 s"),
        ("if os.fork() == 0: time.sleep(1000)\n    os._exit(3)", "did not end within 0.5 s"),
        ("raise ValueError('wrong')", "ValueError: wrong"),
        ("open('/nowhere')", "No such file or directory"),
    ],
)
def test_a_check_that_crashes_or_hangs_fails_alone(body: str, got: str) -> None:
    # Those that end do so however busy the machine is.
    timeout_s = 0.5 if "0.5 s" in got else 60
    ran = run_program(with_check(body, f'sys.exit(main(["selftest", "--timeout", "{timeout_s}"]))'))
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert [match[1] for match in results(ran.stdout)] == ["not ok"]
    assert got in ran.stdout


NO_PROCESS = "no process can be started to run a test in: Resource temporarily unavailable"


@pytest.mark.parametrize("json_option", ["", ', "--json"'])
def test_without_another_process_it_bails_out(json_option: str) -> None:
    refuse = f"""
def refuse(): raise BlockingIOError(11, "Resource temporarily unavailable")
os.fork = refuse
sys.exit(main(["selftest"{json_option}]))
"""
    ran = run_program(with_check("pass", refuse))
    assert ran.returncode == 2
    assert ran.stderr == (
        f"subduct: {NO_PROCESS}; raise the limit on processes and threads (ulimit -u, pids.max of the control group)\n"
    )
    assert ran.stdout.splitlines()[2:] == ([] if json_option else ["1..1", f"Bail out! {NO_PROCESS}"])


def test_a_check_is_skipped_that_may_have_no_thread() -> None:
    refuse = """
import threading
from subduct.selftest.faults import Beside
def refuse(self): raise RuntimeError("can't start new thread")
threading.Thread.start = refuse
sys.exit(main(["selftest"]))
"""
    ran = run_program(with_check("Beside(print)", refuse))
    assert ran.returncode == 4, ran.stdout + ran.stderr
    (found,) = results(ran.stdout)
    assert found[4] == "SKIP"
    assert found[5].startswith("can't start new thread: raise the limit on processes and threads (ulimit -u")


def test_without_proc_what_reads_it_is_skipped() -> None:
    need_no_proc()
    ran = subprocess.run(
        [sys.executable, "-m", "subduct", "selftest"],
        preexec_fn=hide_proc,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    found = results(ran.stdout)
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout
    assert {match[1] for match in found} == {"ok"}
    assert len([match for match in found if match[5] == "/proc is not mounted"]) > 20
    assert len([match for match in found if match[4] is None]) > len(found) // 2


def test_a_check_that_hangs_leaves_no_process_behind() -> None:
    hangs = "os.fork(); time.sleep(1000)"
    # Ends when everybody has closed standard error, which the check's own children inherit.
    ran = run_program(with_check(hangs, 'sys.exit(main(["selftest", "--timeout", "0.5"]))'))
    assert ran.returncode == 1
    assert not ran.stderr


def test_ctrl_c_is_not_lost_while_a_check_is_forked() -> None:
    """What a handler raises there is ignored."""
    run = (
        'os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGINT))\nsys.exit(main(["selftest"]))'
    )
    done = subprocess.run(
        [sys.executable, "-c", with_check("pass", run)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        # A shell's background job would have it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert (done.returncode, done.stdout.splitlines()[-1]) == (130, "Bail out!"), done.stderr


@pytest.mark.parametrize("json_option", ["", ', "--json"'])
def test_ctrl_c_bails_out(json_option: str) -> None:
    program = with_check("os.write(2, b'running'); time.sleep(1000)", f'sys.exit(main(["selftest"{json_option}]))')
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        # A shell's background job would have it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stderr is not None
        assert process.stderr.read(len("running")) == b"running"
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert (stderr if json_option else stdout).decode().splitlines()[-1] == "Bail out!"
    assert b"Traceback" not in stderr
