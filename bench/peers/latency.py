"""How long operations took: a histogram of all of them, and a list of the long ones."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Operations from this many nanoseconds on are kept one by one; at most so many of a thread.
STALL_NS = 20_000
STALLS_MAX = 1 << 20


def bucket_of(ns: int) -> int:
    """The bucket of a duration: 32 buckets for each power of two, so that a bucket is at most 3 % wide. O(1)."""
    shift = (ns >> 5).bit_length() - 1
    return ns if shift < 0 else ((shift + 1) << 5) + (ns >> shift) - 32


def bucket_end_ns(bucket: int) -> int:
    """The longest duration, in nanoseconds, that a bucket holds. O(1)."""
    if bucket < 64:
        return bucket
    shift = (bucket >> 5) - 1
    return (((bucket & 31) + 33) << shift) - 1


@dataclass
class Histogram:
    """Counts of durations in nanoseconds, by bucket."""

    counts: list[int]
    max_ns: int = 0

    @classmethod
    def empty(cls) -> Self:
        """A histogram without any."""
        return cls([0] * (60 * 32))

    @classmethod
    def read(cls, figures: Mapping[str, Any]) -> Self:
        """From the form in which peers print them."""
        histogram = cls.empty()
        histogram.max_ns = figures["max_ns"]
        for bucket, count in figures["buckets"].items():
            histogram.counts[int(bucket)] = count
        return histogram

    def add(self, ns: int) -> None:
        """Add a duration. O(1)."""
        shift = (ns >> 5).bit_length() - 1
        self.counts[ns if shift < 0 else ((shift + 1) << 5) + (ns >> shift) - 32] += 1
        if ns > self.max_ns:
            self.max_ns = ns

    def merge(self, other: Histogram) -> None:
        """Add all that another one has."""
        self.counts = [ours + theirs for ours, theirs in zip(self.counts, other.counts, strict=True)]
        self.max_ns = max(self.max_ns, other.max_ns)

    def percentile_ns(self, percent: float) -> int:
        """What this share of the durations does not exceed, at the upper end of its bucket; 0 where there are none."""
        total, seen = sum(self.counts), 0
        for bucket, count in enumerate(self.counts):
            seen += count
            if count and seen >= total * percent / 100:
                return min(bucket_end_ns(bucket), self.max_ns)
        return 0

    def figures(self) -> dict[str, Any]:
        """The form in which peers print them."""
        buckets = {str(bucket): count for bucket, count in enumerate(self.counts) if count}
        return {"max_ns": self.max_ns, "buckets": buckets}


class Recorder:
    """Times the operations of one thread, each from the end of the one before: no stop can hide between two."""

    def __init__(self, began_ns: int) -> None:
        self._began_ns = began_ns
        self.last_ns = perf_counter_ns() - began_ns
        self.histogram = Histogram.empty()
        #: Begin and duration of the long ones, by turns.
        self.stalls = array("q")
        self.dropped = 0

    def note(self) -> None:
        """An operation has ended. O(1)."""
        now_ns = perf_counter_ns() - self._began_ns
        took_ns = now_ns - self.last_ns
        self.histogram.add(took_ns)
        if took_ns >= STALL_NS:
            if len(self.stalls) < 2 * STALLS_MAX:
                self.stalls.append(self.last_ns)
                self.stalls.append(took_ns)
            else:
                self.dropped += 1
        self.last_ns = now_ns

    def words(self, thread: int) -> array[int]:
        """The long operations as they are written: thread, begin and duration."""
        words = array("q")
        for i in range(0, len(self.stalls), 2):
            words.extend((thread, self.stalls[i], self.stalls[i + 1]))
        return words
