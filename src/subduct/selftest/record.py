"""A run of the self-test as one JSON object."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

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
