"""`subduct explain`: verdicts, reasons, steps and estimates, as text and as JSON."""

import io
import json
import math
import os
import random
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import pytest

from subduct import Heap
from subduct.cli import main
from subduct.explain import calibration
from subduct.explain.calibration import calibrate
from subduct.explain.costs import NAMES, Costs, parse_costs
from subduct.explain.estimate import across, line
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


def test_output_that_does_not_fit() -> None:
    command = [sys.executable, "-m", "subduct", "explain", *MOVE, "--kernel", "6.18", *COSTS]
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
    assert done.stderr == "subduct: the output cannot be written: No space left on device\n"
    assert done.returncode == 2


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
    assert "Heap takes budgets up to 1 TiB" in text
    assert "note" not in explain("flip", "--heap", "1TiB", "--kernel", "6.18", *COSTS)


def test_a_flip_that_the_kernel_refuses() -> None:
    assert explained("flip", "--heap", "1GiB", "--kernel", "5.10", *COSTS, code=1)["verdict"] == "refused"
    assert "refused with EINVAL" in explain("flip", "--heap", "1GiB", "--kernel", "5.10", *COSTS, code=1)


def test_costs_that_lack() -> None:
    text = explain("flip", "--heap", "1GiB", "--kernel", "6.18", "--costs", "call=1,pud=5")
    assert "not known: the costs lack register" in text
    assert "not known: the costs lack shootdown" in text
    for costs, lacking in (("call=1,pud=5", "pte"), ("pte=5", "call"), ("pud=5", "call, pte")):
        assert explained(*MOVE, "--kernel", "6.18", "--costs", costs)["estimate_us"] is None
        assert f"not known: the costs lack {lacking}\n" in explain(*MOVE, "--kernel", "6.18", "--costs", costs)


@pytest.mark.parametrize(("size", "pages"), [("4095B", 1), ("4096", 1), ("5000", 2), ("5000B", 2), ("8191", 2)])
def test_sizes_are_rounded_to_pages_as_the_kernel_does(size: str, pages: int) -> None:
    for version in ("5.13", "6.12", "6.18"):
        question = ("mremap", "--mapping", "memfd-shared", "--flags", "MAYMOVE,DONTUNMAP", "--kernel", version, *COSTS)
        assert explained(*question, "--size", size)["steps"] == {"pte": pages, "pmd": 0, "pud": 0}
    assert ("5,000 bytes, which take 2 pages" in explain(*question, "--size", size)) is size.startswith("5000")


def test_releases_that_may_have_the_later_rule() -> None:
    question = (*MOVE, "--align", "1GiB", "--registered", *COSTS)
    found = explained(*question, "--kernel", "6.12")
    assert found["later_releases"]["steps"] == {"pte": 1 << 20, "pmd": 0, "pud": 0}
    assert "CVE-2025-21696" in found["later_releases"]["sentence"]
    assert found["slow_path"] is None
    assert "1,048,576 PTE, 10,487 us" in " ".join(explain(*question, "--kernel", "6.12").split())
    found = explained(*question, "--kernel", "6.13")
    assert found["later_releases"] is None
    assert found["slow_path"]["id"] == "tables.registered-by-entry"
    assert explained(*MOVE, "--align", "1GiB", "--kernel", "6.12", *COSTS)["later_releases"] is None


@pytest.mark.parametrize(
    ("name", "rules", "said"),
    [
        ("6.12", "6.12", "Linux 6.12, x86-64"),
        ("6.12.3", "6.12", "Linux 6.12.3, by the rules of 6.12, as it was first released"),
        ("6.12.0-1-amd64", "6.12", "by the rules of 6.12"),
    ],
)
def test_whose_rules_they_are(name: str, rules: str, said: str) -> None:
    for question in ((*MOVE, "--align", "1GiB"), ("flip", "--heap", "1GiB")):
        found = explained(*question, "--kernel", name, *COSTS)
        assert (found["kernel"], found["rules"]) == (name, rules)
        assert said in explain(*question, "--kernel", name, *COSTS)
    assert explained(*MOVE, *COSTS)["kernel"] == os.uname().release


def test_what_becomes_of_locked_memory() -> None:
    locked = (*MOVE, "--locked", *COSTS)
    old, new, mended = (explained(*locked, "--kernel", version)["locking"] for version in ("6.12", "6.18", "7.3"))
    assert any("unlocks" in sentence for sentence in old)
    assert not any("once more" in sentence for sentence in old)
    assert any("once more, and for ever. (from 6.15, before 7.3)" in sentence for sentence in new)
    assert any("unlocks only the part" in sentence for sentence in mended)
    assert not any("once more" in sentence for sentence in mended)
    assert "counts the moved pages as locked once more" in " ".join(explain(*locked, "--kernel", "6.18").split())
    plain = ("mremap", "--mapping", "memfd-shared", "--size", "8KiB", "--locked", "--kernel", "6.18", *COSTS)
    assert explained(*plain, "--flags", "MAYMOVE,FIXED")["locking"] == ["The new range is locked, as the old one was."]
    assert explained(*plain)["locking"] == []


def test_json_has_what_the_text_has() -> None:
    found = explained(*MOVE, "--registered", "--locked", "--sealed", "--kernel", "6.18", code=1)
    assert (found["registered"], found["locked"], found["sealed"]) == (True, True, True)
    assert found["old_range"] is None
    found = explained(*MOVE, "--registered", "--kernel", "6.18", *COSTS)
    assert found["old_range"] == "the same pages again: they are in the page cache"
    assert found["registration"] == "stays on the old range, and is lost on the new range"
    assert found["sealed"] is False


def test_a_check_is_passed_once() -> None:
    for version in ("5.7", "5.16", "6.15", "6.17", "6.18"):
        passed = explained(
            "mremap", "--mapping", "anonymous-private", "--size", "8KiB", "--flags", "MAYMOVE,FIXED", "--kernel", version,
            *COSTS,
        )["passed"]  # fmt: skip
        assert "mremap.unmapped" in passed
        assert len(passed) == len(set(passed))


def test_growth_where_something_follows() -> None:
    growth = ("mremap", "--mapping", "memfd-shared", "--size", "8KiB", "--new-size", "1MiB", "--kernel", "6.18", *COSTS)
    found = explained(*growth, "--flags", "MAYMOVE")
    assert found["verdict"] == "done in place"
    crowded = found["if_what_follows_is_taken"]
    assert (crowded["verdict"], crowded["steps"]["pte"]) == ("moved", 2)
    assert crowded["estimate_us"] == pytest.approx(1.02)
    assert "moved to where there is room" in explain(*growth, "--flags", "MAYMOVE")
    crowded = explained(*growth)["if_what_follows_is_taken"]
    assert (crowded["verdict"], crowded["refused_by"]["errno"]) == ("refused", "ENOMEM")
    assert "refused with ENOMEM by mremap.no-room" in explain(*growth)
    assert explained(*MOVE, "--kernel", "6.18", *COSTS)["if_what_follows_is_taken"] is None


def test_the_largest_budget_is_the_heaps_own() -> None:
    with pytest.raises(ValueError, match="1 TiB"):
        Heap(MOST_BUDGET_BYTES + 1)
    assert flip(MOST_BUDGET_BYTES, None, Version(6, 18)).window_bytes == 2 * MOST_BUDGET_BYTES


def test_costs_of_this_machine() -> None:
    """Which of them noise hides, and how they compare, is the machine's affair."""
    found = explained(*MOVE, "--align", "1GiB", "--kernel", "6.18")
    costs, ranges = found["costs_us"], found["costs_range_us"]
    assert costs.pop("source") == "measured on this machine"
    assert set(costs) == set(ranges)
    assert set(costs) | set(found["costs_unclear"]) >= {"call", "pte", "pmd", "pud"}
    assert set(costs) | set(found["costs_unclear"]) <= set(NAMES)
    assert all(0 < low <= costs[name] <= high for name, (low, high) in ranges.items())
    assert set(costs).isdisjoint(found["costs_unclear"])
    if {"call", "pud"} <= set(costs):
        low, high = found["estimate_range_us"]
        assert low <= found["estimate_us"] <= high
        assert found["estimate_us"] == pytest.approx(costs["call"] + 4 * costs["pud"])


def test_what_a_disturbed_machine_charges_stays_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    charged = {4 << 10: 0.02, 2 << 20: 0.4, 1 << 30: 0.3}

    def found_by(seed: int) -> Costs:
        chance = random.Random(seed)

        def move_us(_fd: int, _old: int, _new: int, steps: int, span: int) -> float:
            return 12 + charged[span] * steps + chance.choice([0, 0, 0.2, 1, 3_000])

        monkeypatch.setattr(calibration, "_move_us", move_us)
        return calibrate()

    monkeypatch.setattr(calibration, "_SECONDS", math.inf)
    for seed in range(3):
        costs = found_by(seed)
        for name, step_us in zip(("pte", "pmd", "pud"), charged.values(), strict=True):
            low, high = costs.ranges[name]
            assert low / 2 <= step_us <= high * 2
            assert costs.known[name] == pytest.approx(step_us, rel=0.1)


def test_a_cost_that_noise_hides_is_not_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "_move_us", lambda _fd, _old, _new, steps, span: 9.0 + steps * (span < 1 << 30))
    found = calibrate()
    assert found.pud is None
    assert "pud" in found.unclear
    assert found.known["call"] == pytest.approx(9.0)
    assert found.known["pte"] == found.known["pmd"] == pytest.approx(1.0)
    text = explain("flip", "--heap", "16TiB", "--kernel", "6.18")
    assert "not known: the noise of this machine hides what pud costs" in text
    assert "hidden by noise" in text
    found_object = explained("flip", "--heap", "16TiB", "--kernel", "6.18")
    assert found_object["move_us"] is None
    assert "pud" in found_object["costs_unclear"]


def test_estimates_from_disturbed_times() -> None:
    def disturbed(steps: int, seed: int) -> list[float]:
        chance = random.Random(seed)
        return [10 + 0.25 * steps + chance.choice([0, 0.2, 0.5, 300]) for _ in range(6)]

    groups = [{steps: disturbed(steps, 10 * number + steps) for steps in (4, 32, 128)} for number in range(5)]
    step = across(line(group).step for group in groups)
    assert step.told_apart
    assert step.low <= step.middle <= step.high
    assert step.middle == pytest.approx(0.25, abs=0.01)
    assert across(line(group).call for group in groups).middle == pytest.approx(10, abs=0.6)
    assert not across([0.2, -0.1, 0.3]).told_apart


def test_calibration_leaves_nothing_behind() -> None:
    from harness.process import Footprint

    calibrate()
    before = Footprint.now()
    calibrate()
    assert Footprint.now() == before


def test_costs_are_read() -> None:
    assert parse_costs("pte=0.5,pud=5").known == {"pte": 0.5, "pud": 5.0}
    assert Costs(call=1.0, pud=5.0).move_us(Steps(pud=2)) == 11.0
    assert Costs(call=1.0, pud=5.0).move_us(Steps(pud=2, pte=1)) is None
    assert Costs(pud=5.0).move_us(Steps(pud=2)) is None
    ranged = Costs(call=1.0, pud=5.0, ranges={"call": (0.5, 2.0), "pud": (4.0, 6.0)})
    assert ranged.move_range_us(Steps(pud=2)) == (8.5, 14.0)
    assert Costs(call=1.0, pud=5.0).move_range_us(Steps(pud=2)) is None
    for text in ("", "pte", "pte=fast", "pte=-1", "pte=nan", "moon=1", "call=1,call=2"):
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
        (("flip", "--heap", "1GiB", "--costs", "call=1,call=2"), "given twice"),
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


def test_what_a_running_thread_costs_is_a_cost_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some times, in which the other thread happens not to run, are short: they must not hide it."""
    others = []

    class Beside(calibration._OtherThread):
        def __init__(self) -> None:
            super().__init__()
            self.can_run_beside = True
            others.append(self)

    chance = random.Random(5)

    def move_us(_fd: int, _old: int, _new: int, steps: int, _span: int) -> float:
        runs = others[-1]._wanted.is_set() and chance.random() < 0.8
        return 10.0 + steps * (5.0 if runs else 0.25)

    monkeypatch.setattr(calibration, "_SECONDS", math.inf)
    monkeypatch.setattr(calibration, "_OtherThread", Beside)
    monkeypatch.setattr(calibration, "_move_us", move_us)
    found = calibrate()
    assert found.pud == pytest.approx(0.25)
    assert found.shootdown == pytest.approx(4.75, rel=0.3)
    assert not others[-1]._thread.is_alive()
