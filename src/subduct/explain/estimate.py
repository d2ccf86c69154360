"""Estimating costs from times that are disturbed now and then: what they are most likely, and how far that may be off.

A time is only ever lengthened by what disturbs it, so the shortest of a few is near the truth. Each group of repetitions gives an
estimate of its own; the middle one counts, and the lowest and the highest say how much to believe it.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import linear_regression, median
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

# Of one group: the times that calls took, by the number of steps that they made.
Times: TypeAlias = "Mapping[int, Sequence[float]]"


@dataclass(frozen=True, slots=True)
class Estimate:
    """The estimate of the middle group, and those of the lowest and the highest."""

    middle: float
    low: float
    high: float

    @property
    def told_apart(self) -> bool:
        """Whether no group takes it for nothing: else it is lost in the noise."""
        return self.low > 0


@dataclass(frozen=True, slots=True)
class Line:
    """What a call takes by itself, and what each of its steps adds."""

    call: float
    step: float


def line(times: Times, typical: Callable[[Sequence[float]], float] = min) -> Line:
    """The line through the typical times of at least two numbers of steps."""
    fit = linear_regression(list(times), [typical(each) for each in times.values()])
    return Line(fit.intercept, fit.slope)


def across(estimates: Iterable[float]) -> Estimate:
    """One estimate from those of all groups."""
    found = list(estimates)
    return Estimate(median(found), min(found), max(found))
