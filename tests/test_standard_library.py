"""The standard library's own tests of dict, list, tuple and their like, on proxies: all pass but those that are excluded with a reason.

A test that is excluded has to fail: the list of them cannot go stale.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from conftest import recorded
from harness import standard
from harness.differences import DIFFERENCES, EXCLUDED
from harness.standard import SUITES
from subduct import Dict, Heap, List, Tuple

MISSING = standard.missing_modules()
needs_tests = pytest.mark.skipif(
    bool(MISSING), reason=f"this Python has no {', '.join(MISSING)}: its tests are split off"
)

MODES: dict[str, dict[str, Any]] = {
    "plain": {},
    "stress": {"stress": "256KiB", "verify": True},
    "software": {"delivery": "software", "verify": True},
    "collecting": {"verify": True},
}


@contextmanager
def collecting(heap: Heap) -> Iterator[None]:
    """Collect without a break in another thread."""
    stop, failures = threading.Event(), list[BaseException]()

    def collect() -> None:
        try:
            while not stop.is_set():
                heap.collect()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=collect)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert failures == []


@needs_tests
@pytest.mark.parametrize("name", SUITES)
@pytest.mark.parametrize("mode", MODES)
def test_the_standard_librarys_tests_pass(mode: str, name: str) -> None:
    with recorded(Heap("256MiB", **MODES[mode])) as heap:
        if mode == "collecting":
            with collecting(heap):
                outcome = standard.run(SUITES[name], heap)
            assert heap.stats().cycles > 0
        else:
            outcome = standard.run(SUITES[name], heap)
    excluded = {test for test in EXCLUDED[name] if test in outcome.run}
    wrong = {test: said for test, said in outcome.failed.items() if test not in excluded}
    assert wrong == {}, "they fail, and nobody says why"
    assert excluded <= set(outcome.failed) | outcome.skipped, "they are excluded, but pass"
    passed = outcome.run - excluded - outcome.skipped
    assert len(passed) >= 8
    standard.PASSED[f"{name}, {mode}"] = len(passed)


def test_each_excluded_test_has_a_reason() -> None:
    assert EXCLUDED.keys() == SUITES.keys()
    assert {reason for tests in EXCLUDED.values() for reason in tests.values()} <= DIFFERENCES.keys()


def test_stand_ins_make_proxies_of_calls_and_displays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = "d, e, s, t = {}, {x: 1 for x in 'a'}, dict(a=1), list()"
    (tmp_path / "displays.py").write_text(
        f"{made}\nclass Case:\n    {made}\n    is_one = isinstance(d, dict)\n    [t] = [[]]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with Heap("16MiB") as heap:
        standard.StandIn.heap = heap
        for displays, kinds in ((True, [Dict, Dict, Dict, list]), (False, [dict, dict, Dict, list])):
            module = standard.Suite("displays", "Case", "dict", names=True, displays=displays).on_stand_ins()
            assert [type(getattr(module.Case, name)) for name in "dest"] == kinds
            assert module.Case.is_one
            assert [type(getattr(module, name)) for name in "dest"] == [dict, dict, dict, list]
        assert [type(make()) for make in standard.STAND_INS.values()] == [Dict, List, Tuple]
