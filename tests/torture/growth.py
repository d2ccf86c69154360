"""What must not grow while a torment goes on, and what must be gone after it."""

import gc
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from harness.process import Footprint, open_descriptors

# How much more than before is not called growth: a share, and an amount. Python's and the C library's allocators keep
# some memory, in mappings of their own, and the C library the stacks of ended threads; a heap reserves gibibytes.
TOLERANCES = {
    "descriptors": (0.0, 0),
    "threads": (0.0, 0),
    "mappings": (0.1, 16),
    "private_kib": (0.1, 16 << 10),
    "reserved_kib": (0.0, 256 << 10),
}
# These are the same after all heaps were closed as they were before the first was made. The others include what Python keeps.
RETURNED = ("descriptors", "threads", "reserved_kib")
# With fewer samples there is no trend to see.
SAMPLES_MIN = 6
# What heaps have, and nothing else in these processes.
OURS = ("/memfd:", "userfaultfd")
# A joined thread may still be on its way out of the kernel.
SETTLE_S, SETTLE_AT_END_S = 0.25, 5.0


@dataclass(frozen=True)
class Sample:
    """What the process holds at rest, between two rounds."""

    descriptors: int
    threads: int
    mappings: int
    private_kib: int
    reserved_kib: int

    @classmethod
    def now(cls) -> "Sample":
        """Count it for this process."""
        # Python's own garbage holds proxies, and so handles.
        gc.collect()
        footprint = Footprint.now()
        rollup = Path("/proc/self/smaps_rollup").read_text().splitlines()
        private_kib = next(int(line.split()[1]) for line in rollup if line.startswith("Pss_Anon:"))
        return cls(footprint.descriptors, footprint.threads, footprint.mappings, private_kib, reserved_bytes() >> 10)

    @classmethod
    def settled(cls, before: "Sample | None", within_s: float = SETTLE_S) -> "Sample":
        """Count it, and if there are more threads than before, count again for a while."""
        deadline = time.monotonic() + within_s
        while True:
            sample = cls.now()
            if before is None or sample.threads <= before.threads or time.monotonic() >= deadline:
                return sample
            time.sleep(0.01)


def reserved_bytes() -> int:
    """The address space of this process."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def growth(samples: Sequence[Sample]) -> list[str]:
    """What is more in the last third of the samples than in the first, beyond its tolerance.

    The least of each third counts: what is only sometimes more is not kept.
    """
    if len(samples) < SAMPLES_MIN:
        return []
    size = len(samples) // 3
    return [
        f"{name} grew from {first:,} to {last:,}"
        for name in TOLERANCES
        for first, last in [[min(getattr(each, name) for each in part) for part in (samples[:size], samples[-size:])]]
        if _is_more(name, first, last)
    ]


def not_returned(before: Sample) -> list[str]:
    """What this process has more of now than before, when there was no heap yet."""
    after = Sample.settled(before, SETTLE_AT_END_S)
    return [
        f"{name} not returned: {getattr(before, name):,} before, {getattr(after, name):,} after"
        for name in RETURNED
        if _is_more(name, getattr(before, name), getattr(after, name))
    ]


def _is_more(name: str, before: int, after: int) -> bool:
    share, amount = TOLERANCES[name]
    return after > before * (1 + share) + amount


def left_over() -> list[str]:
    """What heaps left behind that are all closed: mappings, descriptors, threads."""
    maps = [line for line in Path("/proc/self/maps").read_text().splitlines() if "/memfd:" in line]
    descriptors = [target for target in open_descriptors().values() if any(name in target for name in OURS)]
    names = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
    threads = [name for name in names if name.startswith("subduct")]
    left = {"mappings": maps, "descriptors": descriptors, "threads": threads}
    return [f"{what} left: {', '.join(found[:3])}" for what, found in left.items() if found]


assert {field.name for field in fields(Sample)} == set(TOLERANCES)
