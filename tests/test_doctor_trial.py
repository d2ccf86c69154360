"""What the doctor says of heaps is what heaps do: under filters, limits and locks, and where a trial itself dies."""

import errno
import json
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from harness.kernel import has_userfaultfd
from harness.process import open_descriptors, run_program
from harness.seccomp import forbid
from subduct.cli import trial
from subduct.cli.trial import DELIVERIES, Trial
from subduct.cli.trial_findings import trial_findings, used, verdict
from subduct.report.checks import Status

MIB = 1 << 20
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


def limit_addresses() -> None:
    """As `ulimit -v 4194304`."""
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))


def surroundings() -> dict[str, Callable[[], None]]:
    """What is done to a process before it starts, by name."""
    column = COLUMNS.get(platform.machine())
    filters = {} if column is None else {f"no {name}": forbid(numbers[column]) for name, numbers in CALLS.items()}
    return {"nothing": lambda: None, "4 GiB of addresses": limit_addresses, **filters}


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
        assert (row["status"] == "missing") is (each["problem"] is not None)
        assert row["remedy"] or row["status"] == "ok"


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
    assert str(found.problem).endswith("could not start another one (Too many open files)")
    assert "ulimit -a" in found.remedy


def test_a_trial_whose_process_is_refused_leaves_no_descriptor_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", refuse)
    before = set(open_descriptors())
    problem = str(trial._try("pause").problem)
    assert problem.endswith("could not start another one (Resource temporarily unavailable)")
    assert set(open_descriptors()) == before


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


@pytest.mark.skipif(not has_userfaultfd(), reason="no userfaultfd on this kernel")
def test_every_delivery_moves_something_here() -> None:
    found = trial.trials()
    assert [each.delivery for each in found] == list(DELIVERIES)
    assert all(each.as_meant and each.moved_bytes for each in found)
