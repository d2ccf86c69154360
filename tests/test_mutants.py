"""`make mutants`: the defects still apply, cover every area and name tests that there are."""

import re
import subprocess
import sys
from collections import Counter
from datetime import date
from pathlib import Path

import pytest

from harness.source import ROOT
from mutants import __main__ as command
from mutants import checks, table
from mutants.checks import CHECKS, Check, plan
from mutants.failure import MutantsError
from mutants.mutant import Mutant, load
from mutants.tree import Tree

MUTANTS = load()
AREAS = {
    "barrier",
    "marking",
    "forwarding",
    "page states",
    "fix",
    "build",
    "install",
    "flip",
    "teardown",
    "safepoint",
    "software delivery",
    "handles",
    "plan",
    "pacing",
    "verify",
}
MUTANT = Mutant("a-name", "fix", "crates/a.rs", "a == b", "a != b", "it is inverted", "simulator")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_applies(mutant: Mutant) -> None:
    text = (ROOT / mutant.file).read_text()
    assert mutant.applied(text) != text
    at, tests_at = text.index(mutant.old), text.find("\n#[cfg(test)]\nmod ")
    assert tests_at < 0 or at < tests_at, "what it changes is a test"


def test_there_are_enough_in_every_area() -> None:
    assert len(MUTANTS) >= 30
    assert {mutant.area for mutant in MUTANTS} == AREAS


def test_mutants_differ() -> None:
    assert [name for name, count in Counter(mutant.name for mutant in MUTANTS).items() if count > 1] == []
    assert [each for each, count in Counter((m.file, m.old, m.new) for m in MUTANTS).items() if count > 1] == []


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_tests_that_are_to_notice_exist(mutant: Mutant) -> None:
    check, tests = plan(mutant.caught_by)[0]
    if check.cargo[-1] == "--lib":
        places = [path.removesuffix(".rs") for path in _names("crates/heap/src")]
        assert any(tests.replace("::", "/") in place for place in places), tests
    else:
        assert re.search(rf"fn \w*{tests}", (ROOT / f"crates/heap/tests/{check.name}.rs").read_text()), tests


def _names(folder: str) -> list[str]:
    return [str(path.relative_to(ROOT / folder)) for path in (ROOT / folder).rglob("*.rs")] + ["loom"]


def test_an_old_text_that_is_gone_or_there_twice_is_refused() -> None:
    assert MUTANT.applied("if a == b {") == "if a != b {"
    for text, count in (("if a > b {", 0), ("a == b || a == b", 2)):
        with pytest.raises(MutantsError, match=rf"occurs {count} times in crates/a\.rs"):
            MUTANT.applied(text)


def test_the_named_check_comes_first_and_all_others_after_it() -> None:
    checks_in_turn = [(check.name, tests) for check, tests in plan("lib compact::")]
    assert checks_in_turn[0] == ("lib", "compact::")
    assert {name for name, _ in checks_in_turn} == set(CHECKS)
    # All of the named check's tests, too, if those that are named see nothing.
    assert ("lib", "") in checks_in_turn
    assert [(check.name, tests) for check, tests in plan("simulator")].count(("simulator", "heaps")) == 1


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "repository"
    (path / "crates").mkdir(parents=True)
    (path / "crates" / "a.rs").write_text("if a == b {")
    (path / "crates" / "b.rs").write_text("b")
    for arguments in (["init", "--quiet"], ["add", "."]):
        subprocess.run(["git", *arguments], cwd=path, check=True)
    return path


def test_a_mutant_is_applied_to_the_copy_and_taken_back(repository: Path, tmp_path: Path) -> None:
    tree, copied = Tree(repository, tmp_path), tmp_path / "tree" / "crates" / "a.rs"
    tree.copy()

    def interrupted() -> None:
        with tree.mutated(MUTANT):
            assert copied.read_text() == "if a != b {"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert copied.read_text() == "if a == b {"
    assert (repository / "crates" / "a.rs").read_text() == "if a == b {"


def test_a_copy_is_brought_up_to_date(repository: Path, tmp_path: Path) -> None:
    tree, copied = Tree(repository, tmp_path), tmp_path / "tree" / "crates"
    tree.copy()
    time_ns = (copied / "a.rs").stat().st_mtime_ns
    (repository / "crates" / "b.rs").unlink()
    (copied / "left.rs").write_text("")
    tree.copy()
    assert [path.name for path in copied.iterdir()] == ["a.rs"]
    assert (copied / "a.rs").stat().st_mtime_ns == time_ns


def outcome(monkeypatch: pytest.MonkeyPatch, code: int | None, output: str) -> checks.Outcome:
    monkeypatch.setattr(Check, "_cargo", lambda *_: (code, output))
    return CHECKS["lib"].run(ROOT, "tests", 30)


def test_what_cargo_says_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not outcome(monkeypatch, 0, "test result: ok. 3 passed; 0 failed").caught
    failed = outcome(monkeypatch, 101, "test a::b ... FAILED\ntest a::c - should panic ... FAILED\n")
    assert (failed.caught, failed.how) == (True, "a::b and 1 more")
    aborted = outcome(monkeypatch, 101, "process didn't exit successfully: `x` (signal: 6, SIGABRT: process abort)")
    assert (aborted.caught, aborted.how) == (True, "aborted with SIGABRT")
    told = outcome(monkeypatch, 101, "[inv.heap.sound] it is not\ntest a::b ... FAILED\n")
    assert told.how == "a::b, inv.heap.sound"
    endless = outcome(monkeypatch, None, "")
    assert (endless.caught, endless.how) == (True, "did not end within 30 s")


def test_no_test_and_no_verdict_are_no_catch(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MutantsError, match="no test is called 'tests'"):
        outcome(monkeypatch, 0, "test result: ok. 0 passed; 0 failed")
    with pytest.raises(MutantsError, match="no test did"):
        outcome(monkeypatch, 101, "error: no space left on device")


@pytest.mark.parametrize(
    ("refused", "caught", "problem"),
    [(None, False, "survived simulator, lib, "), ("error[E0308]", False, "does not compile"), (None, True, "")],
)
def test_only_a_caught_mutant_is_no_problem(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str | None, caught: bool, problem: str
) -> None:
    tree = Tree(repository, tmp_path)
    tree.copy()
    monkeypatch.setattr(Check, "build", lambda *_: refused)
    monkeypatch.setattr(Check, "run", lambda *_: checks.Outcome(caught, "a::b" if caught else "", 1.0))
    result = command._try(tree, MUTANT, {})
    assert result.problem.startswith(problem)
    assert bool(result.problem) is not caught
    assert result.caught_by == ("simulator: a::b" if caught else "")


def test_a_tree_that_fails_by_itself_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Check, "build", lambda *_: None)
    monkeypatch.setattr(Check, "run", lambda *_: checks.Outcome(True, "a::b", 1.0))
    with pytest.raises(MutantsError, match="simulator heaps fails without any mutant: a::b"):
        command._unmutated([MUTANT])


@pytest.mark.parametrize(("seconds", "timeout_s"), [(1.0, 60), (30.0, 120)])
def test_a_run_has_not_ended_when_it_takes_several_times_as_long(
    monkeypatch: pytest.MonkeyPatch, seconds: float, timeout_s: int
) -> None:
    monkeypatch.setattr(Check, "build", lambda *_: None)
    monkeypatch.setattr(Check, "run", lambda *_: checks.Outcome(False, "", seconds))
    assert list(command._unmutated([MUTANT]).values()) == [timeout_s]


def test_the_document_has_a_row_for_each() -> None:
    written = table.document([table.Result(MUTANT, "lib: a::b", 2.0)], date(2026, 1, 2))
    assert "All 1 were caught on 2026-01-02;" in written
    assert "| fix | it is inverted (`a-name`) | lib: a::b | 2.0 |" in written


def test_the_command_explains_itself() -> None:
    done = subprocess.run(
        [sys.executable, "-B", "-m", "mutants", "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT / "tools",
        timeout=60,
    )
    assert "--document" in done.stdout
    # Wrapped where it has a hyphen, too.
    assert MUTANTS[0].name in re.sub(r"\n\s*", "", done.stdout)
