"""Where the calls of a comparison go: addresses that are empty in the running process and in the model alike."""

from __future__ import annotations

from typing import TypeVar

from subduct.model.uapi import PAGE, PMD, PUD

# Below all that a process has of its own, so that it comes first in /proc/self/smaps.
_BASE = 1 << 40

# Single pages, around a boundary of every level of page tables.
PAGES = 64
START = _BASE + PUD - PAGES // 2 * PAGE
END = START + PAGES * PAGE

# Whole GiB, for moves by large steps, and the few addresses in them that are touched.
SLOTS = tuple(_BASE + number * PUD for number in range(4, 10))
LANDMARKS = tuple(slot + offset for slot in SLOTS for offset in (0, PAGE, PMD - PAGE, PMD, 3 * PMD + PAGE, PUD - PAGE))

# A mapping of VM_DONTEXPAND, and room to grow and to move to.
RING = _BASE + 16 * PUD
RING_PAGES = 2
RING_END = RING + 64 * PAGE

LIMIT = _BASE + 32 * PUD

# Stands for the address of what was last mapped outside the ground, which is known only when the calls are made. No process can
# have this one, and what is added to it is less than any process has.
ELSEWHERE = 1 << 56

_T = TypeVar("_T")


def inside(address: int) -> bool:
    """Whether an address belongs to the ground."""
    return _BASE <= address < LIMIT


def pages() -> range:
    """The addresses of all single pages."""
    return range(START, END, PAGE)


def settled(argument: _T, away: int) -> _T | int:
    """An argument with the address of what was last mapped outside the ground in place of ELSEWHERE."""
    if isinstance(argument, int) and ELSEWHERE <= argument < 2 * ELSEWHERE:
        return argument - ELSEWHERE + away
    return argument
