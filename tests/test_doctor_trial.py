"""What the doctor says of heaps is what heaps do: under filters, limits and locks, and where a trial itself dies."""

import errno
import json
import os
import platform
import resource
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from harness.kernel import has_userfaultfd
from harness.process import open_descriptors, run_program
from harness.seccomp import forbid
from subduct import Unsupported
from subduct.cli import trial
from subduct.cli.trial import DELIVERIES, Trial
from subduct.cli.trial_findings import trial_findings, used, verdict
from subduct.cli.untried import untried_heap
from subduct.report.checks import Status

MIB = 1 << 20
NOBODY = 65_534
# Numbers of system calls on x86-64 and on arm64.
CALLS = {
    "userfaultfd": (323, 282),
    "membarrier": (324, 283),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "memfd_create": (319, 279),
    "fallocate": (285, 47),
}
COLUMNS = {"x86_64": 0, "aarch64": 1}

# A program like a user's. Says with which delivery a cycle moved something and whether it was under running threads.
PROGRAM = """
from subduct import Heap
with Heap("16MiB") as heap:
    heap.root["lists"] = {n: list(range(n, n + 60)) for n in range(1600)}
    lists = heap.root["lists"]
    for n in range(1600):
        if n % 4:
            del lists[n]
    cycle = heap.collect()
    assert all(lists[n] == list(range(n, n + 60)) for n in range(0, 1600, 4))
    heap.verify()
    assert cycle.bytes_evacuated
    print(cycle.delivery, cycle.fallback is None)
"""


def limit_addresses(gibibytes: int) -> Callable[[], None]:
    """As `ulimit -v`, which counts in KiB."""
    return lambda: resource.setrlimit(resource.RLIMIT_AS, (gibibytes << 30,) * 2)


def limit_files(number: int) -> Callable[[], None]:
    """As `ulimit -n`."""
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (number, number))


def surroundings() -> dict[str, Callable[[], None]]:
    """What is done to a process before it starts, by name."""
    column = COLUMNS.get(platform.machine())
    filters = {} if column is None else {f"no {name}": forbid(numbers[column]) for name, numbers in CALLS.items()}
    files = {f"{number} open files": limit_files(number) for number in (7, 8, 9)}
    addresses = {f"{number} GiB of addresses": limit_addresses(number) for number in (1, 4)}
    return {"nothing": lambda: None, **addresses, **files, **filters}


SURROUNDINGS = surroundings()


@pytest.mark.parametrize("around", SURROUNDINGS)
def test_the_doctor_says_what_heaps_do(around: str) -> None:
    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *command],
            preexec_fn=SURROUNDINGS[around],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    does, says = run("-c", PROGRAM), run("-m", "subduct", "doctor", "--json")
    assert says.stderr == ""
    found = json.loads(says.stdout)
    assert found["trials"][0]["asked"] is None
    assert says.returncode == (0 if found["runs"] else 1)
    if does.returncode == 0:
        delivery, concurrent = does.stdout.split()
        assert found["delivery"] == delivery
        assert found["trials"][0]["fallback"] is None or concurrent == "False"
        assert found["runs"] is (delivery == "sigbus" and concurrent == "True")
    else:
        assert found["delivery"] is None
        problem = found["trials"][0]["problem"]
        assert problem
        assert does.returncode < 0 or problem.split(" (")[0] in does.stderr
    rows = {check["name"]: check for check in found["checks"]}
    for each in found["trials"][1:]:
        row = rows[f"a heap with delivery {each['asked']}"]
        assert (row["status"] in ("missing", "unknown")) is (each["problem"] is not None)
        assert (row["status"] == "unknown") is each["untried"]
        assert row["remedy"] or row["status"] == "ok"
        smaller = "no room for windows of whole GiBs" in row["found"]
        assert smaller is (around.endswith("GiB of addresses") and each["problem"] is None)


def test_too_few_files_for_a_trial_say_nothing_of_heaps() -> None:
    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "subduct", "doctor", *arguments]
        done = subprocess.run(
            command, preexec_fn=limit_files(6), capture_output=True, text=True, timeout=120, check=False
        )
        assert (done.returncode, done.stderr) == (1, "")
        return done.stdout

    said = "could not be tried under this limit on open files (6)"
    assert (
        run().splitlines()[-1].startswith(f"Whether heaps run here is unknown: they {said}; raise the limit (ulimit -n")
    )
    rows = {check["name"]: check for check in json.loads(run("--json"))["checks"]}
    for delivery in DELIVERIES:
        row = rows[f"a heap with delivery {delivery}"]
        assert (row["status"], row["found"]) == ("unknown", said)
        assert "ulimit -n" in row["remedy"]
    assert rows["delivery that will be used"]["status"] == "unknown"


@pytest.mark.skipif(os.geteuid() != 0, reason="runs as another user, which only root can arrange")
@pytest.mark.parametrize("limit", range(1, 6))
def test_too_few_processes_say_nothing_against_heaps(limit: int) -> None:
    done = run_program(
        f"""
        import contextlib, ctypes, io, os, resource, sys
        from subduct.cli import main
        # The interpreter may lie where only root can read: everything is imported by a first run.
        with contextlib.redirect_stdout(io.StringIO()):
            main(["doctor", "--json"])
        os.setgroups([])
        os.setresgid({NOBODY}, {NOBODY}, {NOBODY})
        os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
        ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
        resource.setrlimit(resource.RLIMIT_NPROC, ({limit}, {limit}))
        sys.exit(main(["doctor"]))
        """
    )
    assert done.stderr == ""
    assert "will not run here" not in done.stdout
    rows = [line for line in done.stdout.splitlines() if not line.startswith(" ")]
    # What an old kernel lacks is missing whatever the limit; of the heaps themselves nothing is.
    assert not [line for line in rows if line.startswith("missing") and "a heap with delivery" in line]
    if limit == 1:
        assert f"they could not be tried under this limit on processes and threads ({limit})" in rows[-1]
        assert "ulimit -u" in rows[-1]


def test_what_locks_the_memory_of_this_process_locks_that_of_the_trial() -> None:
    done = run_program(
        """
        import ctypes, sys
        from subduct.cli import main, trial
        assert trial._future_lock() == 0
        libc = ctypes.CDLL(None)
        for flags, found in ((1, 0), (7, 6), (3, 2)):
            if libc.mlockall(flags) == 0:
                assert trial._future_lock() == found, (flags, trial._future_lock())
        libc.munlockall()
        libc.mlockall(6)
        sys.exit(main(["doctor", "--json"]))
        """
    )
    assert done.stderr == ""
    found = json.loads(done.stdout)
    row = next(check for check in found["checks"] if check["name"] == "locked memory")
    if found["surroundings"]["locked_bytes"]:
        assert "a heap that was made under the same lock" in row["found"]
        assert (row["status"] == "missing") is (found["trials"][0]["problem"] is not None)


def test_a_trial_that_dies_is_a_finding(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def panic(_delivery: str | None, _lock: int) -> dict[str, Any]:
        os.write(2, b"\nthread '<unnamed>' panicked at crates/heap/src/x.rs:1:2:\nno way out: EINVAL\nnote: run with\n")
        os.abort()

    monkeypatch.setattr(trial, "_attempt", panic)
    found = trial.trials()
    assert [each.asked for each in found] == [None, *DELIVERIES]
    assert found[0].problem == "the process that tried it was killed by SIGABRT: no way out: EINVAL"
    assert "report it" in found[0].remedy
    assert verdict(found) == f"Heaps will not run here: {found[0].problem}."
    assert capfd.readouterr().err == ""


def test_a_heap_that_loses_something_has_not_worked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "_count_wrong", lambda _records, _kept: 1)
    found = trial._try("pause")
    assert not found.worked
    assert "did not find what had been stored" in str(found.problem)


def test_an_exception_in_the_trial_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_delivery: str | None) -> dict[str, Any]:
        raise MemoryError("no memory for 8 bytes")

    monkeypatch.setattr(trial, "_move", refuse)
    assert trial._try("software").problem == "MemoryError: no memory for 8 bytes"


def test_a_trial_that_cannot_begin_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> tuple[int, int]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "pipe", refuse)
    found = trial._try("pause")
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert found.untried
    assert found.problem == f"could not be tried under this limit on open files ({limit})"
    assert "ulimit -n" in found.remedy


@pytest.mark.parametrize(
    ("number", "problem", "remedy"),
    [
        (errno.EAGAIN, "could not be tried under this limit on processes and threads", "ulimit -u"),
        (errno.ENOMEM, "could not be tried: this process cannot start another one (Cannot allocate memory)", "memory"),
    ],
)
def test_a_trial_whose_process_is_refused_leaves_no_descriptor_open(
    monkeypatch: pytest.MonkeyPatch, number: int, problem: str, remedy: str
) -> None:
    def refuse() -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fork", refuse)
    before = set(open_descriptors())
    found = trial._try("pause")
    assert found.untried
    assert str(found.problem).startswith(problem)
    assert remedy in found.remedy
    assert set(open_descriptors()) == before


@pytest.mark.parametrize(
    ("said", "untried", "remedy"),
    [
        ("the collector's thread cannot start: No luck (os error 11); raise it", True, "ulimit -u"),
        ("the collector's thread cannot start: No luck (os error 24); raise it", True, "ulimit -n"),
        (
            'delivery "sigbus" does not work here: userfaultfd failed: No luck (os error 24); raise it',
            True,
            "ulimit -n",
        ),
        (
            'delivery "sigbus" does not work here: userfaultfd failed: No luck (os error 1); allow it',
            False,
            "allow it.",
        ),
        # Locked memory: what mmap says where too much of it would be locked.
        ("mmap failed: No luck (os error 11); lock less", False, "lock less."),
        ("no heaps here", False, ""),
    ],
)
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_limit_of_this_process_is_told_from_what_heaps_lack(
    monkeypatch: pytest.MonkeyPatch, said: str, untried: bool, remedy: str
) -> None:
    def refuse(_delivery: str | None) -> dict[str, Any]:
        raise Unsupported(said)

    # The errno of a thread without addresses for its stack is the same.
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    monkeypatch.setattr(trial, "_move", refuse)
    found = trial._try("sigbus")
    assert found.untried is untried
    assert found.problem == (found.problem if untried else said.partition("; ")[0])
    assert remedy in found.remedy


def test_a_thread_without_addresses_for_its_stack_is_not_for_want_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "the collector's thread cannot start: Resource temporarily unavailable (os error 11); raise it"
    monkeypatch.setattr(resource, "getrlimit", lambda _: (MIB, MIB))
    assert untried_heap(said) is None


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_heap_works_where_nothing_can_read_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    found = trial._try("software")
    assert (found.problem, found.worked, found.read_beside) == (None, True, False)
    assert found.moved_bytes
    alone = replace(WORKED, read_beside=False)
    row = trial_findings(others(alone))[0]
    assert row.status is Status.OK
    assert "no thread could read it meanwhile" in row.found
    assert "while a thread read it" not in row.meaning
    assert "one just did, though no thread could read it meanwhile: " in verdict(others(alone))


WORKED = Trial(None, "sigbus", MIB, 20.0, 3, None, None)
FAILED = Trial(None, None, 0, 0.0, 0, None, "mmap failed: Cannot allocate memory", "raise the limit.")
FACTS = {"missing_for_sigbus": ["userfaultfd_user_mode"]}


def others(first: Trial, **changes: Trial) -> list[Trial]:
    """Trials of every delivery, after one of the heap that was told nothing."""
    rest = [name for name in DELIVERIES if name != first.delivery]
    return [first, *(changes.get(name, replace(WORKED, asked=name, delivery=name)) for name in rest)]


def test_the_verdict_follows_what_happened() -> None:
    assert verdict(others(WORKED)) == "Heaps will compact under running threads here (delivery sigbus): one just did."
    looked = verdict(others(replace(WORKED, delivery="software")))
    assert looked.endswith("with a check at each operation (delivery software): one just did.")
    refused = replace(WORKED, fallback="mremap failed")
    assert "in pauses (delivery sigbus), as one just did: mremap failed" in verdict(others(refused))
    only_pause = [
        FAILED,
        *(replace(FAILED, asked=name) for name in DELIVERIES[:3]),
        replace(WORKED, asked="pause", delivery="pause"),
    ]
    assert verdict(only_pause) == 'Heaps will not run here unless told how: pass delivery="pause", which worked.'
    none = [FAILED, *(replace(FAILED, asked=name) for name in DELIVERIES)]
    assert verdict(none) == "Heaps will not run here: mmap failed: Cannot allocate memory."


def test_each_row_says_what_happened_and_what_to_do() -> None:
    lost = replace(FAILED, asked="thread", remedy="")
    rows = trial_findings(others(replace(WORKED, fallback="madvise failed"), thread=lost))
    assert [row.status for row in rows] == [Status.WARN, Status.MISSING, Status.OK, Status.OK]
    assert rows[0].found.endswith("because everything moved in it: madvise failed")
    assert rows[1].found == FAILED.problem
    assert all(row.remedy for row in rows if row.status is not Status.OK)
    row = used(others(FAILED), FACTS)
    assert row.status is Status.MISSING
    assert row.found == f"none that works: {FAILED.problem}"
    assert 'delivery="sigbus"' in row.remedy
    row = used(others(replace(WORKED, delivery="software")), FACTS)
    assert (row.status, row.found) == (Status.WARN, "software, since these do not work: userfaultfd user mode")


def test_a_remedy_refers_to_rows_that_there_are() -> None:
    lost = replace(FAILED, remedy="")
    first = replace(WORKED, delivery="software")
    for lacking, said in (((), "`ulimit -a`"), (("memfd", "membarrier"), "these rows say above: memfd; membarrier.")):
        rows = trial_findings(others(first, sigbus=replace(lost, asked="sigbus")), lacking)
        assert said in rows[0].remedy
        assert said in used(others(first), FACTS, lacking).remedy


def test_what_was_not_tried_is_unknown() -> None:
    untried = replace(FAILED, problem="could not be tried", remedy="raise it.", untried=True)
    found = [untried, *(replace(untried, asked=name) for name in DELIVERIES)]
    assert verdict(found) == "Whether heaps run here is unknown: they could not be tried; raise it."
    rows = [*trial_findings(found), used(found, FACTS)]
    assert {row.status for row in rows} == {Status.UNKNOWN}
    assert {row.remedy for row in rows} == {"raise it."}
    assert "was filled" not in rows[0].meaning
    only_software = others(replace(WORKED, delivery="software"), sigbus=replace(untried, asked="sigbus"))
    facts = {**FACTS, "userfaultfd_user_mode": {"works": False, "call": "userfaultfd", "errno": errno.EMFILE}}
    row = used(only_software, facts)
    assert (row.status, row.found) == (Status.WARN, "software; sigbus could not be tried")
    assert row.remedy == "raise it."


@pytest.mark.skipif(not has_userfaultfd(), reason="no userfaultfd on this kernel")
def test_every_delivery_moves_something_here() -> None:
    found = trial.trials()
    assert [each.delivery for each in found] == list(DELIVERIES)
    assert all(each.as_meant and each.moved_bytes for each in found)
