"""What a torment is given: a delivery, random numbers, and a place to count."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from harness.heaps import Delivery
from harness.kernel import has_userfaultfd
from subduct import Heap

Recycle = Literal["keep", "pool", "release"]

DELIVERIES: tuple[Delivery, ...] = ("sigbus", "thread", "software", "pause")
RECYCLES: tuple[Recycle, ...] = ("keep", "pool", "release")
STRESSES = (None, None, "1MiB", "64kiB")


def possible_deliveries() -> tuple[Delivery, ...]:
    """The deliveries that this kernel allows."""
    return DELIVERIES if has_userfaultfd() else DELIVERIES[2:]


@dataclass
class Tally:
    """What was done so far, to show that something was."""

    operations: int = 0
    cycles: int = 0
    moves: int = 0
    faults: int = 0


@dataclass(frozen=True)
class Setting:
    """One torment over one delivery. All that is random in it comes from `rng`, but for the order in which threads run."""

    delivery: Delivery
    rng: random.Random
    group: Path | None = None
    """The control group below which a torment may make others."""
    tally: Tally = field(default_factory=Tally)
    notes: set[str] = field(default_factory=set)
    """What could not be done here."""

    @contextmanager
    def heap(self, budget: int | str = "64MiB") -> Iterator[Heap]:
        """A heap with random options; counted and closed at the end."""
        verify = self.rng.random() < 0.5
        recycle, stress = self.rng.choice(RECYCLES), self.rng.choice(STRESSES)
        with Heap(budget, delivery=self.delivery, recycle=recycle, verify=verify, stress=stress) as heap:
            try:
                yield heap
            finally:
                self.count(heap)

    def count(self, heap: Heap) -> None:
        """Adds what a heap did to the tally; once for each heap, before it is closed."""
        stats = heap.stats()
        self.tally.cycles += stats.cycles
        self.tally.moves += stats.moves
        self.tally.faults += stats.faults

    def random(self) -> random.Random:
        """Random numbers for a thread of its own."""
        return random.Random(self.rng.randrange(1 << 64))


def check(heap: Heap) -> None:
    """The second tracer's opinion, and the budget's."""
    heap.verify()
    stats = heap.stats()
    assert stats.resident_bytes <= stats.budget_bytes, f"{stats.resident_bytes} resident of {stats.budget_bytes}"
