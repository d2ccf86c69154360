"""A run of the self-test, and the list of its tests, as one JSON object."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from subduct.selftest.assumption import Assumption, release_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from subduct.selftest.machine import Machine
    from subduct.selftest.outcome import Outcome


def record(machine: Machine, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The kernel, the machine, the user and how each test ended. `status` is pass, fail, skip, or todo for a failure that the running
    kernel is known for; `expected`, `got` and `errno` are there for failures only."""
    return {
        "kernel": machine.kernel,
        "machine": {"architecture": machine.architecture, "page_bytes": machine.page_bytes},
        "user": {"name": machine.user, "uid": machine.uid},
        "results": [_result(each) for each in outcomes],
    }


def catalogue(assumptions: Sequence[Assumption]) -> dict[str, Any]:
    """What there is to try, of each test its id, its claim and where that is from, who relies on it, and the releases that it is
    about: null where there is no first or last one."""
    return {
        "tests": [
            {
                "id": each.id,
                "claim": each.claim,
                "source": each.source,
                "used_by": each.used_by.value,
                "since": None if each.since is None else release_text(each.since),
                "until": None if each.until is None else release_text(each.until),
                "known_bug": None if each.known_bug is None else str(each.known_bug),
            }
            for each in assumptions
        ]
    }


def _result(outcome: Outcome) -> dict[str, Any]:
    result: dict[str, Any] = {
        "id": outcome.id,
        "status": outcome.status.value,
        "detail": outcome.detail,
        "time_us": round(outcome.time_us, 1),
    }
    if outcome.diagnosis is not None:
        seen = asdict(outcome.diagnosis)
        result |= {"errno" if name == "errno_name" else name: value for name, value in seen.items() if value}
    return result
