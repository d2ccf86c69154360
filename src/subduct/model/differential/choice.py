"""Turning a few random bytes into the arguments of a call, by what is mapped at the moment.

Zero always chooses what is simplest, so that a sequence of calls becomes simpler as its bytes become smaller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from subduct.model.differential import ground
from subduct.model.uapi import PAGE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from subduct.model.mapping import Mapping
    from subduct.model.state import State

_T = TypeVar("_T")


class Choice:
    """Random choices from bytes, zeros when they are used up, with an eye on the model's state."""

    def __init__(self, data: bytes, state: State) -> None:
        self._bytes = iter(data)
        self.state = state

    def number(self, end: int) -> int:
        """A number from 0 up to `end`, exclusive; at most 256."""
        return next(self._bytes, 0) % end

    def among(self, values: Sequence[_T]) -> _T:
        """One of the values."""
        return values[self.number(len(values))]

    def rarely(self) -> bool:
        """True once in 24 times."""
        return self.number(24) == 23

    def mapping(self) -> Mapping | None:
        """One of the mappings among the single pages, if there is one."""
        found = [each for each in self.state.layout if ground.START <= each.start < ground.END]
        return self.among(found) if found else None

    def page(self) -> int:
        """The address of any single page."""
        return ground.START + self.number(ground.PAGES) * PAGE

    def length(self) -> int:
        """One to six pages."""
        return (1 + self.number(6)) * PAGE

    def span(self) -> tuple[int, int]:
        """Address and length of pages to do something with: a mapping, a part of one, more than one, or anything."""
        how = self.number(8)
        mapping = None if how == 7 else self.mapping()
        if mapping is None:
            return self._clipped(self.page(), self.length())
        if how < 3 or mapping.pages == 1:
            return self._clipped(mapping.start, mapping.length)
        part = (1 + self.number(mapping.pages - 1)) * PAGE
        if how == 3:
            return self._clipped(mapping.start, part)
        if how == 4:
            return self._clipped(mapping.end - part, part)
        if how == 5:
            return self._clipped(mapping.start + part, PAGE)
        return self._clipped(mapping.start, mapping.length + part)

    def address(self) -> int:
        """The address of one page, mapped if possible."""
        mapping = None if self.rarely() else self.mapping()
        if mapping is None:
            return self.page()
        address = mapping.start + self.number(mapping.pages) * PAGE
        return min(address, ground.END - PAGE)

    def odd(self, number: int) -> int:
        """The number, or rarely one that is no multiple of the page size."""
        return number + self.among((1, PAGE // 2)) if self.rarely() else number

    def _clipped(self, address: int, length: int) -> tuple[int, int]:
        """The range without what is beyond the single pages, where a mapping may have grown to; at least a page."""
        address = min(address, ground.END - PAGE)
        return address, min(length, ground.END - address)
