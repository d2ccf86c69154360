"""Outcomes in the Test Anything Protocol, version 13."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from subduct.selftest.outcome import Diagnosis, Outcome, Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from subduct.selftest.assumption import Assumption
    from subduct.selftest.machine import Machine

BAIL_OUT = "Bail out!"


def header(machine: Machine, count: int) -> Iterator[str]:
    """The version, where the tests run, and the plan."""
    yield "TAP version 13"
    yield f"# Linux {machine.kernel} {machine.architecture}, pages of {machine.page_bytes} bytes, as {machine.user}"
    yield f"1..{count}"


def lines(number: int, outcome: Outcome) -> Iterator[str]:
    """The result line of one test, with diagnostics where there is something to say."""
    is_ok = outcome.status in (Status.PASS, Status.SKIP)
    line = f"{'ok' if is_ok else 'not ok'} {number} - {outcome.id}"
    if outcome.status in (Status.SKIP, Status.KNOWN_BUG):
        line += f" # {outcome.status.upper()} {outcome.detail}"
    yield line
    if outcome.diagnosis is not None:
        yield from _block(outcome.diagnosis)
    elif outcome.status is Status.PASS and outcome.detail:
        yield f"# {outcome.detail}"


def summary(outcomes: Sequence[Outcome]) -> str:
    """How many ended how, as a comment."""
    counts = [f"{sum(each.status is status for each in outcomes)} {name}" for status, name in _NAMES.items()]
    return f"# {len(outcomes)} {'test' if len(outcomes) == 1 else 'tests'}: {', '.join(counts)}"


def listing(assumptions: Sequence[Assumption]) -> Iterator[str]:
    """One line for each test: its id and its claim."""
    width = max((len(each.id) for each in assumptions), default=0)
    for each in assumptions:
        yield f"{each.id:<{width}}  {each.claim}"


_NAMES = {
    Status.PASS: "passed",
    Status.FAIL: "failed",
    Status.SKIP: "skipped",
    Status.KNOWN_BUG: "failed by a known bug",
}


def _block(diagnosis: Diagnosis) -> Iterator[str]:
    """A YAML block; JSON strings are YAML strings."""
    yield "  ---"
    fields = {"what": diagnosis.what, "expected": diagnosis.expected, "got": diagnosis.got}
    if diagnosis.errno_name:
        fields["errno"] = diagnosis.errno_name
    for name, value in fields.items():
        yield f"  {name}: {json.dumps(value, ensure_ascii=False)}"
    yield "  ..."
