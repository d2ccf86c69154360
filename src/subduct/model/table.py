"""Page tables of four levels, and how mremap moves them: by single entries (PTE steps), by tables of 2 MiB (PMD steps) or
by tables of 1 GiB (PUD steps)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from subduct.model.uapi import PAGE, PMD, PUD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from subduct.model.file import Page

_PGD = 512 * PUD


@dataclass(frozen=True, slots=True)
class Steps:
    """How often page tables were changed to move a range, at each level, and how many slots were empty on the way."""

    pte: int = 0
    pmd: int = 0
    pud: int = 0

    def __add__(self, other: Steps) -> Steps:
        return Steps(self.pte + other.pte, self.pmd + other.pmd, self.pud + other.pud)

    def __mul__(self, times: int) -> Steps:
        return Steps(self.pte * times, self.pmd * times, self.pud * times)

    @property
    def classes(self) -> frozenset[str]:
        """The names of the levels at which something was moved: "PTE", "PMD", "PUD"."""
        counts = (("PTE", self.pte), ("PMD", self.pmd), ("PUD", self.pud))
        return frozenset(name for name, count in counts if count)


@dataclass(frozen=True, slots=True)
class Levels:
    """Which tables a move may take as a whole: a matter of kernel version and of registration."""

    pmd: bool = True
    pud: bool = True


@dataclass(frozen=True, slots=True)
class Entry:
    """A present page-table entry: the page, and whether it is the page cache's own (not a private copy). The page of zeros
    that private memory shows until it is written is nobody's, like a page that is the cache's."""

    page: Page
    cached: bool


_Ptes: TypeAlias = dict[int, Entry]
_Pmds: TypeAlias = dict[int, _Ptes]
_Puds: TypeAlias = dict[int, _Pmds]


def extent(span: int, old: int, old_end: int, new: int) -> int:
    """Bytes from `old` on that one step of a level may cover: up to the next boundary of the level in the old range or in
    the new one, or to the end, whichever comes first."""
    return min(span - old % span, old_end - old, span - new % span)


class PageTable:
    """The tables of one address space. Access to one address is O(1); ranges cost the tables in them, not their pages."""

    def __init__(self) -> None:
        self._pgd: dict[int, _Puds] = {}

    def get(self, address: int) -> Entry | None:
        """The entry of an address, if it is present."""
        pmds = self._pmds(address)
        ptes = None if pmds is None else pmds.get(address // PMD % 512)
        return None if ptes is None else ptes.get(address // PAGE % 512)

    def set(self, address: int, entry: Entry) -> None:
        """Makes an entry present."""
        self.make_table(address)[address // PAGE % 512] = entry

    def make_table(self, address: int) -> _Ptes:
        """The table of PTEs of an address, made if there is none."""
        return self._make_pmds(address).setdefault(address // PMD % 512, {})

    def entries(self, start: int, end: int) -> Iterator[tuple[int, Entry]]:
        """Address and entry of the pages that are present in a range. The range may be changed meanwhile."""
        for base, ptes in self._tables(start, end):
            for number in sorted(ptes):
                address = base + number * PAGE
                if start <= address < end:
                    yield address, ptes[number]

    def clear(self, start: int, end: int) -> None:
        """Drops the entries of a range; the tables stay."""
        for base, ptes in self._tables(start, end):
            if start <= base and base + PMD <= end:
                ptes.clear()
            else:
                for number in [each for each in ptes if start <= base + each * PAGE < end]:
                    del ptes[number]

    def free(self, start: int, end: int, floor: int, ceiling: int) -> None:
        """Frees the tables of an unmapped range that lie wholly between `floor` and `ceiling`, the nearest mapped addresses
        below and above."""

        def unused(base: int, span: int) -> bool:
            return base < end and base + span > start and base >= floor and base + span <= ceiling

        for pgd in [pgd for pgd in self._pgd if pgd * _PGD < end and (pgd + 1) * _PGD > start]:
            puds = self._pgd[pgd]
            for pud in list(puds):
                base = pgd * _PGD + pud * PUD
                if unused(base, PUD):
                    del puds[pud]
                    continue
                for pmd in [pmd for pmd in puds[pud] if unused(base + pmd * PMD, PMD)]:
                    del puds[pud][pmd]
            if unused(pgd * _PGD, _PGD):
                del self._pgd[pgd]

    def move(self, old: int, new: int, length: int, levels: Levels) -> Steps:
        """Moves the entries of a range, by the largest steps that are possible.

        A level is possible where it is allowed, old and new address are at a boundary of it, the step lies inside the range,
        and the destination's slot is empty. Source: move_page_tables() as of 5.11.
        """
        end = old + length
        steps = Steps()
        while old < end:
            size = extent(PUD, old, end, new)
            pmds = self._pmds(old)
            if pmds is not None:
                if levels.pud and size == PUD and self._pmds(new) is None:
                    self._move_pud(old, new)
                    steps += Steps(pud=1)
                else:
                    size = extent(PMD, old, end, new)
                    steps += self._move_in_table(pmds, old, new, size, levels)
            old += size
            new += size
        return steps

    def _move_pud(self, old: int, new: int) -> None:
        moved = self._pgd[old // _PGD].pop(old // PUD % 512)
        self._pgd.setdefault(new // _PGD, {})[new // PUD % 512] = moved

    def _move_in_table(self, pmds: _Pmds, old: int, new: int, size: int, levels: Levels) -> Steps:
        slot = old // PMD % 512
        ptes = pmds.get(slot)
        if ptes is None:
            return Steps()
        target = self._make_pmds(new)
        if levels.pmd and size == PMD and new // PMD % 512 not in target:
            target[new // PMD % 512] = pmds.pop(slot)
            return Steps(pmd=1)
        first = old // PAGE % 512
        moved = [number for number in ptes if first <= number < first + size // PAGE]
        taken = {number: ptes.pop(number) for number in moved}
        table = target.setdefault(new // PMD % 512, {})
        for number, entry in taken.items():
            table[number - first + new // PAGE % 512] = entry
        return Steps(pte=len(moved))

    def _pmds(self, address: int) -> _Pmds | None:
        puds = self._pgd.get(address // _PGD)
        return None if puds is None else puds.get(address // PUD % 512)

    def _make_pmds(self, address: int) -> _Pmds:
        return self._pgd.setdefault(address // _PGD, {}).setdefault(address // PUD % 512, {})

    def _tables(self, start: int, end: int) -> Iterator[tuple[int, _Ptes]]:
        for pgd in sorted(self._pgd):
            if pgd * _PGD >= end or (pgd + 1) * _PGD <= start:
                continue
            puds = self._pgd[pgd]
            for pud in sorted(puds):
                base = pgd * _PGD + pud * PUD
                if base >= end or base + PUD <= start:
                    continue
                for pmd in sorted(puds[pud]):
                    table = base + pmd * PMD
                    if table < end and table + PMD > start:
                        yield table, puds[pud][pmd]


def dense_steps(old: int, new: int, length: int, levels: Levels) -> Steps:
    """The steps of moving a range in which every page is present to one whose tables are empty, without the tables. The
    pattern of steps repeats with each GiB, so this is O(1) for any length."""
    head = min(length, -old % PUD)
    periods = (length - head) // PUD
    middle, tail = old + head, head + periods * PUD
    return (
        _walk(old, new, head, levels)
        + _walk(middle, new + head, PUD, levels) * periods
        + _walk(old + tail, new + tail, length - tail, levels)
    )


def _walk(old: int, new: int, length: int, levels: Levels) -> Steps:
    end = old + length
    steps = Steps()
    while old < end:
        size = extent(PUD, old, end, new)
        if levels.pud and size == PUD:
            steps += Steps(pud=1)
        else:
            size = extent(PMD, old, end, new)
            steps += Steps(pmd=1) if levels.pmd and size == PMD else Steps(pte=size // PAGE)
        old += size
        new += size
    return steps
