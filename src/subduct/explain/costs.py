"""What single steps cost, in microseconds: measured on this machine or given."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from subduct.model import Steps


@dataclass(frozen=True, slots=True)
class Costs:
    """Microseconds: `call` for what an mremap that moves takes by itself; `pte`, `pmd` and `pud` for each step; `register` for one
    UFFDIO_REGISTER; `shootdown` for what a PUD step takes more while another thread of the process runs. None: not known.

    `ranges` says by name between which figures measured ones lie; `unclear` are those that were measured but cannot be told apart
    from noise."""

    call: float | None = None
    pte: float | None = None
    pmd: float | None = None
    pud: float | None = None
    register: float | None = None
    shootdown: float | None = None
    source: str = "given"
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    unclear: tuple[str, ...] = ()

    @property
    def known(self) -> dict[str, float]:
        """The costs that are known, by name."""
        figures = {name: getattr(self, name) for name in NAMES}
        return {name: value for name, value in figures.items() if value is not None}

    def lacking(self, steps: Steps) -> list[str]:
        """The names of the costs that a call with these steps has and that are not known."""
        return [name for name, count in _counts(steps) if count and name not in self.known]

    def move_us(self, steps: Steps) -> float | None:
        """What a call with these steps takes; None if one of its costs is not known."""
        return self._sum(steps, self.known)

    def move_range_us(self, steps: Steps) -> tuple[float, float] | None:
        """Between which figures that lies; None if one of its costs is not known or no range is."""
        if not self.ranges:
            return None
        low, high = (self._sum(steps, {name: each[end] for name, each in self.ranges.items()}) for end in (0, 1))
        return None if low is None or high is None else (low, high)

    def _sum(self, steps: Steps, costs: Mapping[str, float]) -> float | None:
        if self.lacking(steps):
            return None
        return sum(count * costs[name] for name, count in _counts(steps) if count)


NAMES = ("call", "pte", "pmd", "pud", "register", "shootdown")


def _counts(steps: Steps) -> tuple[tuple[str, int], ...]:
    return (("call", 1), ("pte", steps.pte), ("pmd", steps.pmd), ("pud", steps.pud))


def parse_costs(text: str) -> Costs:
    """Costs from text such as "call=12,pmd=0.5,pud=5". ValueError with a reason for anything else."""
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, number = part.partition("=")
        if name not in NAMES:
            raise ValueError(f"costs are given for {', '.join(NAMES)}, as in 'call=12,pud=5', not for {name!r}")
        if name in found:
            raise ValueError(f"the cost of {name} is given twice")
        try:
            found[name] = float(number)
        except ValueError:
            raise ValueError(f"the cost of {name} is a number of microseconds, not {number!r}") from None
        if not 0 <= found[name] < 1e9:
            raise ValueError(f"the cost of {name} is a number of microseconds, not {number!r}")
    return Costs(**found, source="given", ranges={}, unclear=())
