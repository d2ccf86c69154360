"""Minimum mutator utilisation: in the worst window of a given length, the share of time in which a thread got on with its work."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

#: Windows in which utilisation is reported, in milliseconds.
WINDOWS_MS = (1, 10, 100)


class Stalls:
    """The long operations of one thread, in order, none overlapping another; times in nanoseconds."""

    def __init__(self, begins_ns: Sequence[int], durations_ns: Sequence[int]) -> None:
        self._begins_ns = begins_ns
        self._durations_ns = durations_ns
        self._before_ns = [0, *accumulate(durations_ns)]

    def stalled_until(self, time_ns: int) -> int:
        """How much of the time from 0 to `time_ns` was stalled, in nanoseconds. O(log n)."""
        begun = bisect_right(self._begins_ns, time_ns)
        if begun == 0:
            return 0
        last = begun - 1
        return self._before_ns[last] + min(self._durations_ns[last], time_ns - self._begins_ns[last])

    def minimum_utilisation(self, window_ns: int, end_ns: int) -> float:
        """The smallest share of any window in 0 to `end_ns` that was not stalled: 0 to 1. O(n log n)."""
        window_ns = min(window_ns, end_ns)
        if window_ns <= 0:
            return 1.0
        worst_ns = 0
        # The worst window begins where a stall begins, or ends where one ends.
        for begin_ns, took_ns in zip(self._begins_ns, self._durations_ns, strict=True):
            for from_ns in (begin_ns, begin_ns + took_ns - window_ns):
                from_ns = max(0, min(from_ns, end_ns - window_ns))
                worst_ns = max(worst_ns, self.stalled_until(from_ns + window_ns) - self.stalled_until(from_ns))
        return 1 - worst_ns / window_ns


def read(path: Path) -> list[Stalls]:
    """The stalls of every thread that has any, from a file of threads, begins and durations. Raises ValueError if it is cut short."""
    words = array("q")
    words.frombytes(path.read_bytes())
    if len(words) % 3:
        raise ValueError(f"{path} does not hold whole entries of three words, but {len(words)} words")
    threads: dict[int, tuple[list[int], list[int]]] = {}
    for i in range(0, len(words), 3):
        begins_ns, durations_ns = threads.setdefault(words[i], ([], []))
        begins_ns.append(words[i + 1])
        durations_ns.append(words[i + 2])
    return [Stalls(*stalls) for stalls in threads.values()]


def utilisations(path: Path, end_ns: int) -> dict[int, float]:
    """The minimum over all threads, by window in milliseconds."""
    threads = read(path)
    return {
        window_ms: min((thread.minimum_utilisation(window_ms * 10**6, end_ns) for thread in threads), default=1.0)
        for window_ms in WINDOWS_MS
    }
