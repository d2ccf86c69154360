"""Moving whole page tables: the content must be right whatever the alignment; how fast it goes is reported."""

from __future__ import annotations

import time
from functools import partial

from subduct.kernel import Feature, MapFlag, Prot, RegisterMode, RemapFlag, calls
from subduct.selftest.assumption import UsedBy, assumes
from subduct.selftest.expect import equal
from subduct.selftest.faults import descriptor
from subduct.selftest.memory import GIB, MEMFD_SHARED, MIB, PAGE, memfd, reserve, stamp, stamped, stamps, view
from subduct.selftest.mremap_kinds import moved

_KEEP_AT = RemapFlag.MAYMOVE | RemapFlag.DONTUNMAP | RemapFlag.FIXED
_SOURCE = "kernel configuration HAVE_MOVE_PMD (5.0) and HAVE_MOVE_PUD (5.11); measured"
_ROUNDS = 5


class Window:
    """A sparse memfd of 1 GiB with a page in every 2 MiB, mapped `skew` bytes behind a 1 GiB boundary, and a reservation for its pages."""

    def __init__(self, skew_from: int, skew_to: int, length: int = GIB) -> None:
        self.length = length
        step = 2 * MIB
        self.offsets = [*range(0, length, step), length - PAGE]
        self.old = reserve(length + GIB, GIB) + skew_from
        self.new = reserve(length + GIB, GIB) + skew_to
        view(memfd(length // PAGE), length // PAGE, address=self.old)
        for number, offset in enumerate(self.offsets):
            calls.store(self.old + offset, stamp("window", number))

    def move(self) -> float:
        """Moves the page tables to the reservation; returns microseconds."""
        begin = time.perf_counter()
        moved(MEMFD_SHARED, self.old, self.length // PAGE, _KEEP_AT, self.new)
        return (time.perf_counter() - begin) * 1e6

    def check(self) -> None:
        """Both ranges show the file."""
        wanted = [stamp("window", number) for number in range(len(self.offsets))]
        for words, base in (("new", self.new), ("old", self.old)):
            found = [calls.load(base + offset, len(wanted[0])) for offset in self.offsets]
            equal(f"the {words} range", found, wanted)

    def retire(self) -> None:
        """Makes the destination an empty reservation again."""
        flags = MapFlag.PRIVATE | MapFlag.ANONYMOUS | MapFlag.NORESERVE | MapFlag.FIXED
        calls.mmap(self.new, self.length, Prot.NONE, flags)

    def best_us(self) -> float:
        """The shortest of a few moves, contents checked after each: others use the machine too."""
        best = self.move()
        for _ in range(_ROUNDS - 1):
            self.check()
            self.retire()
            best = min(best, self.move())
        self.check()
        return best


def _moves(skew_from: int, skew_to: int) -> str:
    return f"1 GiB, one page in each 2 MiB, moved in {Window(skew_from, skew_to).best_us():.0f} us"


_STEPS = {
    "gib": ("both on a 1 GiB boundary", 0, 0),
    "two-mib": ("both on a 2 MiB boundary", 2 * MIB, 4 * MIB),
    "same-offset": ("equally far behind a 2 MiB boundary", PAGE, PAGE),
    "misaligned": ("differently far behind a 2 MiB boundary", 0, PAGE),
}
for _name, (_words, _from, _to) in _STEPS.items():
    assumes(
        f"mremap.step.{_name}",
        f"A GiB of a memfd moves whole, source and destination {_words}; the time is reported.",
        source=_SOURCE,
        used_by=UsedBy.HEAP if _name == "gib" else UsedBy.NOBODY,
        since=(5, 13),
    )(partial(_moves, _from, _to))


@assumes(
    "mremap.step.class",
    "A window on a 1 GiB boundary and a misaligned one move whole, one after the other; both times are reported.",
    source=_SOURCE,
    used_by=UsedBy.NOBODY,
    since=(5, 13),
)
def step_class() -> str:
    aligned, misaligned = Window(0, 0).best_us(), Window(0, PAGE).best_us()
    return f"aligned {aligned:.0f} us, misaligned {misaligned:.0f} us, {misaligned / aligned:.1f} times as long"


@assumes(
    "mremap.step.registered-first",
    "A window that was registered with userfaultfd before the move still moves whole; how much slower is reported.",
    source="CVE-2025-21696 made registered mappings move entry by entry (6.13, and some earlier releases); measured",
    used_by=UsedBy.HEAP,
    since=(5, 13),
)
def registered_first() -> str:
    window = Window(0, 0)
    plain_us = window.best_us()
    window.retire()
    uffd = descriptor(Feature.MISSING_SHMEM | Feature.SIGBUS)
    calls.uffd_register(uffd, window.old, window.length, RegisterMode.MISSING)
    registered_us = window.move()
    calls.uffd_unregister(uffd, window.old, window.length)
    window.check()
    slower = "as fast" if registered_us < 2 * plain_us else "slower"
    return f"registered first {registered_us:.0f} us, not registered {plain_us:.0f} us: {slower}"


@assumes(
    "mremap.step.part-of-a-gib",
    "A range that covers page tables only in part moves those entry by entry, and nothing beside it.",
    source=_SOURCE,
    used_by=UsedBy.NOBODY,
    since=(5, 13),
)
def part_of_a_step() -> None:
    pages = 8
    base, target = reserve(4 * MIB, 2 * MIB), reserve(4 * MIB, 2 * MIB)
    start = base + 2 * MIB - 4 * PAGE
    view(memfd(pages), pages, address=start)
    for page in range(pages):
        calls.store(start + page * PAGE, stamp("edge", page))
    moved(MEMFD_SHARED, start + PAGE, 6, _KEEP_AT, target + 2 * MIB - 3 * PAGE)
    equal("the new range", stamps(target + 2 * MIB - 3 * PAGE, 6), stamped("edge", range(1, 7)))
    equal("the old range and what is beside it", stamps(start, pages), stamped("edge", range(pages)))
