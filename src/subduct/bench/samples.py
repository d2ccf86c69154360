"""Figures of a number of samples."""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


def quantile(samples: Sequence[float], share: float) -> float:
    """The sample that a share of all are no larger than, by nearest rank. O(n log n). ValueError when there is none."""
    if not samples:
        raise ValueError("no samples")
    return sorted(samples)[max(math.ceil(share * len(samples)), 1) - 1]


def spread(samples: Sequence[float]) -> dict[str, float]:
    """How repetitions differ: their `median`, `min` and `max`, and how many (`repetitions`)."""
    return {"median": median(samples), "min": min(samples), "max": max(samples), "repetitions": len(samples)}


def times(samples: Sequence[float]) -> dict[str, Any]:
    """`median_us`, `p99_us`, `max_us` and `count` of times in microseconds."""
    return {
        "median_us": median(samples),
        "p99_us": quantile(samples, 0.99),
        "max_us": max(samples),
        "count": len(samples),
    }


def batches(samples: Sequence[float], number: int) -> list[Sequence[float]]:
    """The samples in `number` runs of neighbours, as even as can be; fewer when there are not that many samples."""
    number = max(1, min(number, len(samples)))
    bounds = [len(samples) * i // number for i in range(number + 1)]
    return [samples[start:end] for start, end in pairwise(bounds)]


def ratio(measured: float, floor: float) -> float | None:
    """How many times the floor; None where the floor is too small to divide by."""
    return measured / floor if floor > 0 else None
