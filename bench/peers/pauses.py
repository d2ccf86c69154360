"""How long each runtime says that it stopped its threads."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_SAFEPOINT = re.compile(r'Safepoint "\w+",.* Total: +(\d+) ns')
_CYCLE = re.compile(r"\bGC\((\d+)\)")


@dataclass(frozen=True)
class Pauses:
    """Pauses of one run, in microseconds; the number of collections."""

    count: int
    p50_us: float
    p99_us: float
    max_us: float
    cycles: int


def summary(pauses_ns: Iterable[int], cycles: int) -> Pauses:
    """Percentiles by nearest rank."""
    ordered = sorted(pauses_ns)

    def rank_us(share: float) -> float:
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)] / 1e3 if ordered else 0.0

    return Pauses(len(ordered), rank_us(0.5), rank_us(0.99), rank_us(1), cycles)


def of_java(log: Path) -> Pauses:
    """Every safepoint in the log, from asking the threads to stop until they ran again, whatever it was for. Raises ValueError where
    the log has collections and no safepoint: the format is another one then."""
    text = log.read_text()
    pauses_ns = [int(total) for total in _SAFEPOINT.findall(text)]
    cycles = len(set(_CYCLE.findall(text)))
    if cycles and not pauses_ns:
        raise ValueError(f"{log} has {cycles} collections but names no safepoint")
    return summary(pauses_ns, cycles)


def of_result(result: Mapping[str, Any]) -> Pauses | None:
    """What the peer printed itself; None where it has no collector."""
    if "heap" in result:
        heap = result["heap"]
        pauses = heap["pauses"]
        return Pauses(pauses["count"], pauses["p50"], pauses["p99"], pauses["max"], heap["cycles"])
    if "pauses_ns" in result:
        return summary(result["pauses_ns"] or [], result["cycles"])
    return None
