"""What became of one self-test."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

PASSED = 0
FAILED = 1
NOTHING_RAN = 4


class Status(enum.StrEnum):
    """How a self-test ended, as the JSON report spells it."""

    PASS = "pass"
    FAIL = "fail"
    SKIP = "skip"
    KNOWN_BUG = "todo"
    """It failed, on a release that is known to have the bug."""


@dataclass(frozen=True)
class Diagnosis:
    """What a failed self-test saw."""

    what: str
    expected: str
    got: str
    errno_name: str = ""


@dataclass(frozen=True)
class Outcome:
    """The end of one self-test."""

    id: str
    status: Status
    detail: str = ""
    """Why it was skipped, which releases have the bug, or what was measured."""
    diagnosis: Diagnosis | None = None
    time_us: float = 0.0


def exit_code(outcomes: Iterable[Outcome]) -> int:
    """1 when one failed that was not known to, 4 when all were skipped, 0 otherwise."""
    ended = {each.status for each in outcomes}
    if Status.FAIL in ended:
        return FAILED
    return NOTHING_RAN if ended <= {Status.SKIP} else PASSED
