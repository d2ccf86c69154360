"""What a figure has to reach, and whether it did."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Target:
    """A figure beside its limit. `measured` is None when the run did not measure it; `at_least` turns the comparison round; `how`
    says why it may not have."""

    name: str
    measured: float | None
    limit: float
    unit: str = ""
    at_least: bool = False
    how: str = "nothing of the kind came to pass in this run"

    @property
    def met(self) -> bool | None:
        """Whether the figure is within the limit; None when it was not measured."""
        if self.measured is None:
            return None
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    def object(self) -> dict[str, Any]:
        """As JSON, with the verdict."""
        return asdict(self) | {"met": self.met}

    def cells(self) -> tuple[str, ...]:
        """As cells of a table: verdict, name, measured, limit."""
        verdict = {True: "met", False: "NOT MET", None: "not measured"}[self.met]
        bound = "at least" if self.at_least else "at most"
        measured = self.how if self.measured is None else _number(self.measured, self.unit)
        return (verdict, self.name, measured, f"{bound} {_number(self.limit, self.unit)}")


def worst(figures: list[float | None]) -> float | None:
    """The largest of those that were measured; None when none was."""
    return max((figure for figure in figures if figure is not None), default=None)


def _number(value: float, unit: str) -> str:
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{text} {unit}".strip()
