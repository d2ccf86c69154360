"""Runs self-tests one after the other, each in a process of its own."""

from __future__ import annotations

import time
import traceback
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from subduct.selftest import child
from subduct.selftest.assumption import Assumption, Release, release_text
from subduct.selftest.expect import LackingError, SkippedError, UnexpectedError, name_of, obstacle
from subduct.selftest.outcome import Diagnosis, Outcome, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def run_all(assumptions: Iterable[Assumption], release: Release, timeout_s: float) -> Iterator[Outcome]:
    """Tries each assumption in turn; `release` is the running kernel's, `timeout_s` the longest one may take."""
    for assumption in assumptions:
        yield run_one(assumption, release, timeout_s)


def run_one(assumption: Assumption, release: Release, timeout_s: float) -> Outcome:
    """Tries one assumption in a forked child."""
    if assumption.until is not None and release > assumption.until:
        last = release_text(assumption.until)
        return Outcome(assumption.id, Status.SKIP, f"Linux {last} was the last release that behaves so")
    found = child.run(lambda: asdict(_attempt(assumption, release)), timeout_s)
    if isinstance(found, str):
        diagnosis = Diagnosis("the process of the self-test", "a result", found)
        outcome = Outcome(assumption.id, Status.FAIL, "", diagnosis)
    else:
        outcome = _outcome(found)
    return _judge(assumption, release, outcome)


def _attempt(assumption: Assumption, release: Release) -> Outcome:
    """Runs in the child."""
    begin = time.perf_counter()
    status, detail, diagnosis = Status.FAIL, "", None
    try:
        detail = assumption.check() or ""
        status = Status.PASS
    except SkippedError as skipped:
        status, detail = Status.SKIP, str(skipped)
    except LackingError as lacking:
        if assumption.since is not None and release < assumption.since:
            status, detail = Status.SKIP, f"{lacking}; possible since Linux {release_text(assumption.since)}"
        else:
            diagnosis = Diagnosis("what this release should be able to do", "possible", str(lacking))
    except UnexpectedError as unexpected:
        diagnosis = Diagnosis(unexpected.what, unexpected.expected, unexpected.got, unexpected.errno_name)
    except OSError as error:
        if reason := obstacle(error):
            status, detail = Status.SKIP, reason
        else:
            diagnosis = Diagnosis(_where(error), "success", str(error), name_of(error.errno))
    except Exception as error:
        diagnosis = Diagnosis(_where(error), "no exception", f"{type(error).__name__}: {error}")
    return Outcome(assumption.id, status, detail, diagnosis, (time.perf_counter() - begin) * 1e6)


def _where(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[1:2] or traceback.extract_tb(error.__traceback__)[-1:]
    return frame[0].line or frame[0].name


def _outcome(found: dict[str, Any]) -> Outcome:
    diagnosis = found["diagnosis"]
    return Outcome(
        found["id"],
        Status(found["status"]),
        found["detail"],
        None if diagnosis is None else Diagnosis(**diagnosis),
        found["time_us"],
    )


def _judge(assumption: Assumption, release: Release, outcome: Outcome) -> Outcome:
    """What an end means on a release that is known for a bug."""
    bug = assumption.known_bug
    if bug is None or not bug.covers(release):
        return outcome
    if outcome.status is Status.FAIL and outcome.diagnosis is not None and outcome.diagnosis.what == bug.fails:
        return replace(outcome, status=Status.KNOWN_BUG, detail=str(bug))
    if outcome.status is Status.PASS:
        return replace(outcome, detail="; ".join(part for part in (outcome.detail, f"{bug}, but holds here") if part))
    return outcome
