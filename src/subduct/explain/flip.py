"""What a flip of a heap would cost, at any size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from subduct.explain.kinds import KINDS
from subduct.explain.question import Answer, Question, ask
from subduct.model import NEWEST, RemapFlag, Version

if TYPE_CHECKING:
    from subduct.explain.costs import Costs

_GIB = 1 << 30
# A heap's windows are larger than its budget, so that large objects find room in a row.
_WINDOW_FACTOR = 2
# Heap refuses larger budgets.
MOST_BUDGET_BYTES = 1 << 40


@dataclass(frozen=True, slots=True)
class Flip:
    """The kernel's part of a flip: the slots window in bytes, the answer to its move, and microseconds where the costs are known.

    `move_range_us` is between which figures measured costs put the move. `shootdown_us` is what it takes more beside a running
    thread; `pause_us` leaves that out."""

    budget_bytes: int
    window_bytes: int
    answer: Answer
    move_us: float | None
    move_range_us: tuple[float, float] | None
    register_us: float | None
    shootdown_us: float | None

    @property
    def pause_us(self) -> float | None:
        """Microseconds of moving and registering, while no other thread runs."""
        return None if self.move_us is None or self.register_us is None else self.move_us + self.register_us


def flip(budget_bytes: int, costs: Costs | None, version: Version = NEWEST) -> Flip:
    """Counts the steps of a flip of a heap with this budget. O(1)."""
    window = -(-budget_bytes * _WINDOW_FACTOR // _GIB) * _GIB
    flags = RemapFlag.MAYMOVE | RemapFlag.FIXED | RemapFlag.DONTUNMAP
    answer = ask(Question(KINDS["memfd-shared"], flags, window, window, _GIB, version))
    move = span = register = shootdown = None
    if costs is not None and answer.steps is not None:
        move = costs.move_us(answer.steps)
        span = costs.move_range_us(answer.steps)
        register = costs.register
        if costs.shootdown is not None:
            shootdown = costs.shootdown * answer.steps.pud
    return Flip(budget_bytes, window, answer, move, span, register, shootdown)
