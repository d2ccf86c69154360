"""The mappings of an address space: looking up, splitting, merging."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from subduct.model.mapping import SPECIAL
from subduct.model.uapi import PAGE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from subduct.model.mapping import Mapping
    from subduct.model.rules import RuleBook


class Layout:
    """Mappings in order of address, without overlaps. Looking up is O(log n), changes are O(n) in their number."""

    def __init__(self, book: RuleBook) -> None:
        self._book = book
        self._mappings: list[Mapping] = []

    def __iter__(self) -> Iterator[Mapping]:
        return iter(self._mappings)

    def __len__(self) -> int:
        return len(self._mappings)

    def at(self, address: int) -> Mapping | None:
        """The mapping that contains an address."""
        position = bisect_right(self._mappings, address, key=lambda mapping: mapping.start) - 1
        if position < 0:
            return None
        mapping = self._mappings[position]
        return mapping if address < mapping.end else None

    def within(self, start: int, end: int) -> list[Mapping]:
        """The mappings that have a part in the range; an empty range has none."""
        if start >= end:
            return []
        first = bisect_right(self._mappings, start, key=lambda mapping: mapping.end)
        found = []
        for mapping in self._mappings[first:]:
            if mapping.start >= end:
                break
            found.append(mapping)
        return found

    def before(self, address: int) -> Mapping | None:
        """The last mapping that ends at or below an address."""
        position = bisect_right(self._mappings, address, key=lambda mapping: mapping.end) - 1
        return self._mappings[position] if position >= 0 else None

    def after(self, address: int) -> Mapping | None:
        """The first mapping that begins at or above an address."""
        return next((mapping for mapping in self._mappings if mapping.start >= address), None)

    def add(self, mapping: Mapping) -> None:
        """Adds a mapping to a free range, without merging it."""
        self._mappings.insert(bisect_right(self._mappings, mapping.start, key=lambda each: each.start), mapping)

    def remove(self, mapping: Mapping) -> None:
        """Takes a mapping out."""
        self._mappings.remove(mapping)

    def isolate(self, mapping: Mapping, start: int, end: int) -> Mapping:
        """Splits a mapping, so that the part of it in the range is a mapping of its own: that part."""
        if mapping.start < start:
            rest = mapping.part(start, mapping.end)
            mapping.end = start
            self.add(rest)
            mapping = rest
        if end < mapping.end:
            rest = mapping.part(end, mapping.end)
            mapping.end = end
            self.add(rest)
        return mapping

    def add_merged(self, mapping: Mapping, *, behind: bool = True, apart: Mapping | None = None) -> Mapping:
        """Adds a mapping to a free range, and merges it with its neighbours where the kernel does, with the one behind only if
        `behind`, and never with `apart`: the mapping that contains it afterwards."""
        left, right = (each if each is not apart else None for each in self._neighbours(mapping))
        joins_left = left is not None and self._continues(left, mapping) and self._anon_fits(left, mapping)
        joins_right = (
            behind and right is not None and self._continues(mapping, right) and self._anon_fits(right, mapping)
        )
        if joins_left and joins_right and not _anon_same(left, right):
            joins_right = False
        return self._join(mapping, left if joins_left else None, right if joins_right else None)

    def settle(self, mapping: Mapping, *, behind: bool = True) -> Mapping:
        """Merges a mapping that has just changed with its neighbours, as `add_merged`: the mapping that contains it
        afterwards."""
        self.remove(mapping)
        return self.add_merged(mapping, behind=behind)

    def grow(self, mapping: Mapping, length: int, *, merges: bool) -> None:
        """Makes a mapping longer by as many free bytes behind it; `merges` says whether it may then join the next."""
        mapping.end += length
        right = self.after(mapping.end)
        if merges and right is not None and self._continues(mapping, right) and self._anon_fits(right, mapping):
            self._join_right(mapping, right)

    def _neighbours(self, mapping: Mapping) -> tuple[Mapping | None, Mapping | None]:
        left, right = self.before(mapping.start), self.after(mapping.end)
        return (
            left if left is not None and left.end == mapping.start else None,
            right if right is not None and right.start == mapping.end else None,
        )

    def _continues(self, left: Mapping, right: Mapping) -> bool:
        return (
            left.end == right.start
            and left.prot == right.prot
            and left.flags == right.flags
            and not left.flags & SPECIAL
            and left.file is right.file
            and left.index + left.pages == right.index
            and left.registration == right.registration
        )

    def _anon_fits(self, neighbour: Mapping, mapping: Mapping) -> bool:
        if neighbour.anon is None and mapping.anon is not None:
            return self._book.holds("merge.written-into-unwritten")
        return mapping.anon is None or neighbour.anon is mapping.anon

    def _join(self, mapping: Mapping, left: Mapping | None, right: Mapping | None) -> Mapping:
        if left is None and right is None:
            self.add(mapping)
            return mapping
        if left is not None:
            left.end = mapping.end
            left.anon = left.anon or mapping.anon
            if right is not None:
                self._join_right(left, right)
            return left
        assert right is not None
        right.index -= mapping.length // PAGE
        right.start = mapping.start
        right.anon = right.anon or mapping.anon
        return right

    def _join_right(self, mapping: Mapping, right: Mapping) -> None:
        mapping.end = right.end
        mapping.anon = mapping.anon or right.anon
        self.remove(right)


def _anon_same(left: Mapping | None, right: Mapping | None) -> bool:
    assert left is not None
    assert right is not None
    return left.anon is None or right.anon is None or left.anon is right.anon
