"""What single steps cost, in microseconds: measured on this machine or given."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from subduct.model import Steps


@dataclass(frozen=True, slots=True)
class Costs:
    """Microseconds: `call` for an mremap that moves one page; `pte`, `pmd` and `pud` for each step; `register` for one
    UFFDIO_REGISTER; `shootdown` for what a PUD step takes more while another thread of the process runs. None: not known."""

    call: float | None = None
    pte: float | None = None
    pmd: float | None = None
    pud: float | None = None
    register: float | None = None
    shootdown: float | None = None
    source: str = "given"

    @property
    def known(self) -> dict[str, float]:
        """The costs that are known, by name."""
        figures = {name: value for name, value in asdict(self).items() if name != "source"}
        return {name: value for name, value in figures.items() if value is not None}

    def move_us(self, steps: Steps) -> float | None:
        """What a call with these steps takes; None if the cost of one of them is not known."""
        total = self.call or 0.0
        for count, cost in ((steps.pte, self.pte), (steps.pmd, self.pmd), (steps.pud, self.pud)):
            if count and cost is None:
                return None
            total += count * (cost or 0.0)
        return total


NAMES = tuple(field.name for field in fields(Costs) if field.name != "source")


def parse_costs(text: str) -> Costs:
    """Costs from text such as "pte=0.2,pmd=0.5,pud=5". ValueError with a reason for anything else."""
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, number = part.partition("=")
        if name not in NAMES:
            raise ValueError(f"costs are given for {', '.join(NAMES)}, as in 'pud=5,register=6.5', not for {name!r}")
        try:
            found[name] = float(number)
        except ValueError:
            raise ValueError(f"the cost of {name} is a number of microseconds, not {number!r}") from None
        if not 0 <= found[name] < 1e9:
            raise ValueError(f"the cost of {name} is a number of microseconds, not {number!r}")
    return Costs(**found, source="given")
