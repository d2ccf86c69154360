"""What an end of a check means on which release, and how it is printed."""

import errno
import inspect
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from subduct.selftest import expect, tap
from subduct.selftest.assumption import Assumption, KnownBug, Release, UsedBy, assumes
from subduct.selftest.catalogue import assumptions
from subduct.selftest.expect import LackingError, SkippedError, UnexpectedError
from subduct.selftest.outcome import Diagnosis, Outcome, Status, exit_code
from subduct.selftest.runner import run_one
from subduct.selftest.selection import UnknownTestError, chosen


def assumption(
    check: Callable[[], str | None],
    *,
    since: Release | None = None,
    until: Release | None = None,
    known_bug: KnownBug | None = None,
) -> Assumption:
    """An assumption of a test's own."""
    return Assumption("ours.only", "Ours.", check, "here", UsedBy.NOBODY, since, until, known_bug, __name__)


def fails() -> None:
    raise UnexpectedError("the answer", 42, 41, "EINVAL")


def breaks() -> None:
    raise FileNotFoundError(errno.ENOENT, "the answer", "/nowhere")


def crashes() -> None:
    os._exit(3)


def wants_files() -> None:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def lacks() -> None:
    raise LackingError("this kernel cannot do it")


def skips() -> None:
    raise SkippedError("no disk")


def holds() -> str:
    return "in 3 us"


BUG = KnownBug((6, 15), (6, 17), "the answer")


@pytest.mark.parametrize(
    ("tried", "release", "status", "detail"),
    [
        (assumption(holds), (6, 18), Status.PASS, "in 3 us"),
        (assumption(fails), (6, 18), Status.FAIL, ""),
        (assumption(skips), (6, 18), Status.SKIP, "no disk"),
        (assumption(lacks, since=(5, 13)), (5, 10), Status.SKIP, "possible since Linux 5.13"),
        (assumption(lacks, since=(5, 13)), (5, 13), Status.FAIL, ""),
        (assumption(lacks), (5, 10), Status.FAIL, ""),
        (assumption(fails, until=(6, 16)), (6, 17), Status.SKIP, "Linux 6.16 was the last"),
        (assumption(fails, until=(6, 16)), (6, 16), Status.FAIL, ""),
        (assumption(fails, known_bug=BUG), (6, 14), Status.FAIL, ""),
        (assumption(fails, known_bug=BUG), (6, 15), Status.KNOWN_BUG, "known in 6.15-6.17"),
        (assumption(fails, known_bug=BUG), (6, 18), Status.FAIL, ""),
        (assumption(holds, known_bug=BUG), (6, 16), Status.PASS, "in 3 us; known in 6.15-6.17, but holds here"),
        (assumption(holds, known_bug=BUG), (6, 18), Status.PASS, "in 3 us"),
        (
            assumption(fails, known_bug=KnownBug((6, 15), None, "the answer")),
            (7, 9),
            Status.KNOWN_BUG,
            "known in 6.15 and later",
        ),
        (assumption(fails, known_bug=KnownBug((6, 15), None, "the question")), (7, 9), Status.FAIL, ""),
        (assumption(breaks, known_bug=BUG), (6, 16), Status.FAIL, ""),
        (assumption(crashes, known_bug=BUG), (6, 16), Status.FAIL, ""),
        (
            assumption(wants_files),
            (6, 16),
            Status.SKIP,
            "Too many open files: raise the limit on open files (ulimit -n, now ",
        ),
        (assumption(wants_files, known_bug=BUG), (6, 16), Status.SKIP, "ulimit -n"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_what_an_end_means(tried: Assumption, release: Release, status: Status, detail: str) -> None:
    outcome = run_one(tried, release, 60.0)
    assert outcome.status is status
    assert detail in outcome.detail
    assert (outcome.diagnosis is not None) == (status in (Status.FAIL, Status.KNOWN_BUG))


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_what_is_not_mounted_is_no_failure_of_the_kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(expect, "_PROC", tmp_path)
    reads = assumption(lambda: (tmp_path / "self/smaps").read_text())
    outcome = run_one(reads, (6, 18), 60.0)
    assert (outcome.status, outcome.detail) == (Status.SKIP, f"{tmp_path} is not mounted")
    reads_elsewhere = assumption(lambda: Path("/nowhere/smaps").read_text())
    assert run_one(reads_elsewhere, (6, 18), 60.0).status is Status.FAIL
    (tmp_path / "self").mkdir()
    (tmp_path / "self/maps").touch()
    assert run_one(reads, (6, 18), 60.0).status is Status.FAIL


def test_each_known_bug_names_a_comparison_of_its_check() -> None:
    """Where another comparison fails, or something else goes wrong, the bug is not what was seen."""
    with_bug = [(each, each.known_bug) for each in assumptions() if each.known_bug is not None]
    assert with_bug
    for each, bug in with_bug:
        assert f'"{bug.fails}"' in inspect.getsource(each.check), each.id


def test_a_failure_says_what_was_expected_and_what_came() -> None:
    outcome = Outcome("ours.only", Status.FAIL, "", Diagnosis("the answer: 6 * 7", "42", '"41"', "EINVAL"))
    assert list(tap.lines(7, outcome)) == [
        "not ok 7 - ours.only",
        "  ---",
        '  what: "the answer: 6 * 7"',
        '  expected: "42"',
        '  got: "\\"41\\""',
        '  errno: "EINVAL"',
        "  ...",
    ]


@pytest.mark.parametrize(
    ("outcome", "first"),
    [
        (Outcome("a.b", Status.PASS, "in 3 us"), "ok 1 - a.b"),
        (Outcome("a.b", Status.SKIP, "no disk"), "ok 1 - a.b # SKIP no disk"),
        (
            Outcome("a.b", Status.KNOWN_BUG, "known in 6.15-6.17"),
            f"not ok 1 - a.b # {'todo'.upper()} known in 6.15-6.17",
        ),
    ],
)
def test_result_lines(outcome: Outcome, first: str) -> None:
    assert next(tap.lines(1, outcome)) == first


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        ([Status.PASS, Status.SKIP, Status.KNOWN_BUG], 0),
        ([Status.KNOWN_BUG], 0),
        ([Status.PASS, Status.FAIL], 1),
        ([Status.SKIP, Status.FAIL], 1),
        ([Status.SKIP, Status.SKIP], 4),
    ],
)
def test_exit_codes(statuses: list[Status], code: int) -> None:
    assert exit_code([Outcome("a.b", status) for status in statuses]) == code


def test_refused_wants_a_refusal_with_the_right_errno() -> None:
    def refuse(number: int) -> None:
        raise OSError(number, "no")

    assert expect.refused(errno.EINVAL, refuse, errno.EINVAL).errno == errno.EINVAL
    assert expect.refused((errno.EPERM, errno.EINVAL), refuse, errno.EINVAL).errno == errno.EINVAL
    with pytest.raises(UnexpectedError) as other:
        expect.refused(errno.EINVAL, refuse, errno.EPERM)
    assert (other.value.expected, other.value.errno_name) == ("EINVAL", "EPERM")
    with pytest.raises(UnexpectedError) as none:
        expect.refused(errno.EINVAL, abs, 1 << 40)
    assert (none.value.what, none.value.got) == ("abs(0x10000000000)", "success: 0x10000000000")


def test_patterns_choose_in_the_order_of_the_tests() -> None:
    tests = [
        Assumption(each, "Ours.", holds, "here", UsedBy.NOBODY, None, None, None, __name__)
        for each in ("a.x", "b.x", "b.y")
    ]
    assert [each.id for each in chosen(tests, [])] == ["a.x", "b.x", "b.y"]
    assert [each.id for each in chosen(tests, ["b.*", "a.x"])] == ["a.x", "b.x", "b.y"]
    assert [each.id for each in chosen(tests, ["*.y"])] == ["b.y"]
    with pytest.raises(UnknownTestError, match=r"'b\.z'.*near: b\."):
        chosen(tests, ["b.x", "b.z"])


@pytest.mark.parametrize("taken", ["uffd.flip", "Upper.case", "nodots", "two..dots", "space. d"])
def test_ids_are_well_formed_and_unique(taken: str) -> None:
    assert any(each.id == "uffd.flip" for each in assumptions())
    with pytest.raises(ValueError, match="malformed or taken"):
        assumes(taken, "A claim.", source="here")
