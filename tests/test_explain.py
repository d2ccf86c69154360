"""`subduct explain`: verdicts, reasons, steps and estimates, as text and as JSON."""

import io
import json
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import pytest

from subduct import Heap
from subduct.cli import main
from subduct.explain.calibration import calibrate
from subduct.explain.costs import NAMES, Costs, parse_costs
from subduct.explain.flip import MOST_BUDGET_BYTES, flip
from subduct.explain.kinds import KINDS
from subduct.model import RULES, Steps, Version

MOVE = ("mremap", "--mapping", "memfd-shared", "--flags", "MAYMOVE,DONTUNMAP", "--size", "4GiB")
COSTS = ("--costs", "call=1,pte=0.01,pmd=0.3,pud=5,register=6,shootdown=4")


def outcome(*arguments: str) -> tuple[int, str, str]:
    """Exit code, output and errors of the command, run in this process."""
    output, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(output), redirect_stderr(errors):
        try:
            code = main(["explain", *arguments])
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
    return code, output.getvalue(), errors.getvalue()


def explain(*arguments: str, code: int = 0) -> str:
    """What the command prints; its exit code is checked."""
    ended, output, errors = outcome(*arguments)
    assert (ended, errors) == (code, "")
    return output


def explained(*arguments: str, code: int = 0) -> dict[str, Any]:
    """The same as JSON."""
    found: dict[str, Any] = json.loads(explain(*arguments, "--json", code=code))
    return found


def wrong(*arguments: str) -> str:
    """What is said about wrong usage: exit code 2, nothing on standard output."""
    ended, output, errors = outcome(*arguments)
    assert (ended, output) == (2, "")
    return errors


def test_as_a_command() -> None:
    command = [sys.executable, "-m", "subduct", "explain", *MOVE, "--align", "1GiB", "--kernel", "5.10"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert "mremap.dontunmap-shared" in done.stdout
    done = subprocess.run([*command, "--sealed"], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "subduct: Linux 5.10 does not get that far: This kernel has no mseal.\n"


def test_a_move_by_whole_gib() -> None:
    text = explain(*MOVE, "--align", "1GiB", "--kernel", "6.18", *COSTS)
    lines = {line[:18].strip(): line[18:] for line in text.splitlines()}
    assert lines["verdict"] == "moved"
    assert lines["page-table steps"] == "4 PUD, if every page is present"
    assert lines["estimate"].startswith("21.0 us (costs given: ")
    assert lines["old range shows"] == "the same pages again: they are in the page cache"
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize(
    ("arguments", "steps", "estimate_us"),
    [
        (("--align", "1GiB", "--kernel", "6.18"), {"pte": 0, "pmd": 0, "pud": 4}, 21.0),
        (("--align", "2MiB", "--kernel", "6.18"), {"pte": 0, "pmd": 2048, "pud": 0}, 1 + 2048 * 0.3),
        (("--kernel", "6.18"), {"pte": 1 << 20, "pmd": 0, "pud": 0}, 1 + (1 << 20) * 0.01),
        (
            ("--align", "1GiB", "--kernel", "6.18", "--registered"),
            {"pte": 1 << 20, "pmd": 0, "pud": 0},
            1 + (1 << 20) * 0.01,
        ),
        (("--align", "1GiB", "--kernel", "6.12", "--registered"), {"pte": 0, "pmd": 0, "pud": 4}, 21.0),
    ],
)
def test_steps_and_estimate(arguments: tuple[str, ...], steps: dict[str, int], estimate_us: float) -> None:
    found = explained(*MOVE, *arguments, *COSTS)
    assert found["verdict"] == "moved"
    assert found["refused_by"] is None
    assert found["steps"] == steps
    assert found["estimate_us"] == pytest.approx(estimate_us)
    assert found["costs_us"]["source"] == "given"
    assert found["passed"][0] == "mremap.flags"


def test_what_an_old_kernel_refuses() -> None:
    found = explained(*MOVE, "--align", "1GiB", "--kernel", "5.10", code=1)
    assert found["verdict"] == "refused"
    rule = RULES["mremap.dontunmap-shared"]
    assert found["refused_by"] == {
        "id": rule.id,
        "errno": "EINVAL",
        "sentence": rule.sentence,
        "versions": "before 5.13",
        "source": rule.source,
    }
    assert (found["steps"], found["estimate_us"], found["costs_us"]) == (None, None, None)
    assert "mremap.overlap" in found["passed"]
    text = explain(*MOVE, "--align", "1GiB", "--kernel", "5.10", code=1)
    assert "refused with EINVAL" in text
    assert "mremap.dontunmap-shared (before 5.13)" in text
    explain(*MOVE, "--align", "1GiB", "--kernel", "5.13", *COSTS)


@pytest.mark.parametrize(
    ("arguments", "rule", "error"),
    [
        (("--mapping", "perf-ring", "--flags", "MAYMOVE,DONTUNMAP"), "mremap.dontunmap-dontexpand", "EINVAL"),
        (("--mapping", "device", "--flags", "MAYMOVE|MREMAP_DONTUNMAP"), "mremap.dontunmap-pfnmap", "EINVAL"),
        (("--mapping", "device", "--new-size", "16KiB"), "mremap.growth-special", "EFAULT"),
        (("--mapping", "anonymous-private", "--flags", "FIXED"), "mremap.fixed-without-maymove", "EINVAL"),
        (("--mapping", "memfd-private", "--flags", "DONTUNMAP"), "mremap.dontunmap-without-maymove", "EINVAL"),
        (("--mapping", "memfd-shared", "--flags", "maymove,fixed", "--sealed"), "mremap.sealed", "EPERM"),
        (
            ("--mapping", "memfd-shared", "--flags", "maymove,dontunmap", "--new-size", "4KiB"),
            "mremap.dontunmap-resizes",
            "EINVAL",
        ),
    ],
)
def test_reasons(arguments: tuple[str, ...], rule: str, error: str) -> None:
    found = explained("mremap", "--size", "8KiB", "--kernel", "6.18", *arguments, code=1)
    assert (found["refused_by"]["id"], found["refused_by"]["errno"]) == (rule, error)


def test_what_is_done_without_moving() -> None:
    question = ("mremap", "--mapping", "memfd-shared", "--size", "8KiB", "--kernel", "6.18")
    assert explained(*question, "--new-size", "4KiB")["verdict"] == "done in place"
    assert "if what follows is free" in explain(*question, "--new-size", "1MiB")


def test_a_flip_of_a_heap_that_this_machine_does_not_have() -> None:
    found = explained("flip", "--heap", "16TiB", "--kernel", "6.18", *COSTS)
    assert found["window_bytes"] == 32 << 40
    assert found["steps"] == {"pte": 0, "pmd": 0, "pud": 32 << 10}
    assert found["move_us"] == pytest.approx(1 + (32 << 10) * 5)
    assert found["pause_us"] == pytest.approx(found["move_us"] + 6)
    assert found["shootdown_us"] == pytest.approx((32 << 10) * 4)
    text = explain("flip", "--heap", "16TiB", "--kernel", "6.18", *COSTS)
    assert "32,768 PUD" in text
    assert "Heap takes budgets up to 2 TiB" in text
    assert "note" not in explain("flip", "--heap", "1TiB", "--kernel", "6.18", *COSTS)


def test_a_flip_that_the_kernel_refuses() -> None:
    assert explained("flip", "--heap", "1GiB", "--kernel", "5.10", *COSTS, code=1)["verdict"] == "refused"
    assert "refused with EINVAL" in explain("flip", "--heap", "1GiB", "--kernel", "5.10", *COSTS, code=1)


def test_costs_that_lack() -> None:
    text = explain("flip", "--heap", "1GiB", "--kernel", "6.18", "--costs", "pud=5")
    assert "not known: the costs lack register" in text
    found = explained(*MOVE, "--kernel", "6.18", "--costs", "pud=5")
    assert found["estimate_us"] is None


def test_the_largest_budget_is_the_heaps_own() -> None:
    with pytest.raises(ValueError, match="2 TiB"):
        Heap(MOST_BUDGET_BYTES + 1)
    assert flip(MOST_BUDGET_BYTES, None, Version(6, 18)).window_bytes == 2 * MOST_BUDGET_BYTES


def test_costs_of_this_machine() -> None:
    found = explained(*MOVE, "--align", "1GiB", "--kernel", "6.18")
    costs = found["costs_us"]
    assert costs.pop("source") == "measured on this machine"
    assert set(costs) <= set(NAMES)
    assert {"call", "pte", "pmd", "pud"} <= set(costs)
    assert 0 < costs["pte"] < costs["pmd"] < 1000
    assert found["estimate_us"] == pytest.approx(costs["call"] + 4 * costs["pud"])


def test_calibration_leaves_nothing_behind() -> None:
    from harness.process import Footprint

    calibrate()
    before = Footprint.now()
    calibrate()
    assert Footprint.now() == before


def test_costs_are_read() -> None:
    assert parse_costs("pte=0.5,pud=5").known == {"pte": 0.5, "pud": 5.0}
    assert Costs(pud=5.0).move_us(Steps(pud=2)) == 10.0
    assert Costs(pud=5.0).move_us(Steps(pud=2, pte=1)) is None
    for text in ("", "pte", "pte=fast", "pte=-1", "pte=nan", "moon=1"):
        with pytest.raises(ValueError, match="cost"):
            parse_costs(text)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "QUESTION"),
        (("flip",), "--heap"),
        (("flip", "--heap", "big"), "a size must be a number of bytes"),
        (("flip", "--heap", "1024TiB"), "does not fit into the address space twice"),
        (("flip", "--heap", "1GiB", "--kernel", "4.19"), "nothing older is modelled"),
        (("flip", "--heap", "1GiB", "--kernel", "9.1"), "the newest kernel"),
        (("flip", "--heap", "1GiB", "--kernel", "new"), "not a kernel version"),
        (("flip", "--heap", "1GiB", "--costs", "pud=x"), "a number of microseconds"),
        (("mremap", "--mapping", "memfd-shared"), "--size"),
        (("mremap", "--mapping", "swap", "--size", "4KiB"), "invalid choice"),
        ((*MOVE, "--align", "3MiB"), "a power of two"),
        ((*MOVE, "--flags", "MOVEIT"), "the flags of mremap are"),
        ((*MOVE, "--size", "100TiB"), "the range must fit twice"),
        (("mremap", "--mapping", "device", "--size", "4KiB", "--registered"), "cannot be registered"),
        ((*MOVE, "--sealed", "--kernel", "6.1"), "has no mseal"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], said: str) -> None:
    assert said in wrong(*arguments)


def test_every_kind_can_be_asked_about() -> None:
    for name in KINDS:
        found = explained(
            "mremap", "--mapping", name, "--size", "8KiB", "--flags", "MAYMOVE,FIXED", "--kernel", "6.18", *COSTS
        )
        assert found["verdict"] == "moved"
