"""`make torture`: each canary is found and named, and a short run passes."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from harness.kernel import has_userfaultfd
from torture.driver import Result, Slice
from torture.execs import LOOK, assert_clean
from torture.growth import SAMPLES_MIN, TOLERANCES, Sample, growth
from torture.table import table
from torture.torments import CANARIES, TORMENTS

STEADY = Sample(descriptors=10, threads=4, mappings=200, private_kib=60_000, reserved_kib=5_000_000)
# What must be said of each canary, and nothing less.
FOUND = {
    "canary-damage": r"AssertionError: the list of writer 0 is not what it stored",
    "canary-leak-descriptor": r"TormentedError: descriptors grew from .*; descriptors not returned: ",
    "canary-leak-thread": r"TormentedError: threads grew from .*; threads not returned: ",
    "canary-leak-mapping": r"TormentedError: mappings grew from ",
    "canary-leak-memory": r"TormentedError: private_kib grew from ",
    "canary-leak-reservation": r"TormentedError: reserved_kib not returned: ",
    "canary-left-heap": r"TormentedError: .*mappings left: .*/memfd:subduct.*",
    "canary-left-process": r"processes left: sleep",
    "canary-complaint": r"complained: Exception ignored",
    "canary-crash": r"killed by signal 6 \(SIGABRT\)",
    "canary-hang": r"did not end; see the threads' stacks",
    "canary-idle": r"TormentedError: nothing was put to the test: ",
}


def torture(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the command."""
    return subprocess.run(
        [sys.executable, "-B", "-m", "torture", "--seconds", "1", *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
        timeout=800,
        check=False,
    )


def only(*names: str) -> list[str]:
    return [option for name in names for option in ("--only", name)]


def test_every_canary_is_found() -> None:
    assert set(FOUND) == set(CANARIES)
    done = torture(*only(*set(FOUND) - {"canary-hang"}), "--delivery", "pause", "--jobs", "4")
    # The others get all the time they need.
    hung = torture(*only("canary-hang"), "--delivery", "pause", "--grace", "5")
    assert (done.returncode, hung.returncode) == (1, 1), done.stdout + done.stderr
    said = dict(re.findall(r"^  (\S+) over pause: (.*)$", done.stdout + hung.stdout, re.MULTILINE))
    assert set(said) == set(FOUND), done.stdout + done.stderr
    assert {name: said[name] for name, pattern in FOUND.items() if not re.match(pattern, said[name])} == {}
    assert re.search(r"^seed \d+: 11 of 11 slices failed$", done.stdout, re.MULTILINE)
    assert "canaries.py" in hung.stdout, "no stack of what hung"


def test_a_short_run_passes() -> None:
    delivery = "sigbus" if has_userfaultfd() else "software"
    done = torture("--delivery", delivery, "--rounds", "1", "--grace", "400")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert set(re.findall(rf"^(\S+) +{delivery} +1 .* well$", done.stdout, re.MULTILINE)) == set(TORMENTS)
    assert re.search(r"^seed \d+: all went well$", done.stdout, re.MULTILINE)


def test_a_steady_process_does_not_grow() -> None:
    assert growth([STEADY] * SAMPLES_MIN) == []
    # What is only sometimes more is not kept.
    assert growth([STEADY, replace(STEADY, threads=5), *[STEADY] * 6, replace(STEADY, descriptors=20), STEADY]) == []
    # Less is no growth.
    assert growth([*[replace(STEADY, threads=9)] * SAMPLES_MIN, *[STEADY] * SAMPLES_MIN]) == []


@pytest.mark.parametrize("name", TOLERANCES)
def test_growth_is_found(name: str) -> None:
    share, amount = TOLERANCES[name]
    before = getattr(STEADY, name)
    step = int(before * share + amount) // SAMPLES_MIN + 1
    samples = [replace(STEADY, **{name: before + step * turn}) for turn in range(3 * SAMPLES_MIN)]
    assert [line.split()[0] for line in growth(samples)] == [name]


def test_what_an_exec_inherits_is_found() -> None:
    descriptor = os.memfd_create("inherited", 0)
    try:
        with pytest.raises(AssertionError, match="inherited"):
            assert_clean(sys.executable, "-I", "-S", "-c", LOOK)
    finally:
        os.close(descriptor)
    assert_clean(sys.executable, "-I", "-S", "-c", LOOK)


def test_the_table_adds_up_and_shows_failures() -> None:
    slices = [Slice("forks", "pause", seed) for seed in (1, 2)]
    done = {"rounds": 3, "operations": 4_000, "cycles": 5, "moves": 6, "faults": 0}
    head, row = table([Result(slices[0], 2.0, done), Result(slices[1], 3.0, problem="it died")]).splitlines()
    assert head.split()[:4] == ["torment", "delivery", "slices", "seconds"]
    assert row.split() == ["forks", "pause", "2", "5.0", "3", "4,000", "5", "6", "0", "1", "FAILED"]
