"""Files in memory (memfd, and what backs shared anonymous memory) and their page cache."""

from __future__ import annotations

from dataclasses import dataclass, field

from subduct.model.uapi import PAGE, Seal


@dataclass(slots=True, eq=False)
class Page:
    """A page of memory: its content (the 64-bit number at its start; the rest is zero), and whether it was ever filled.
    A page that fallocate made is in the page cache, unfilled, until its first use."""

    value: int = 0
    filled: bool = True


@dataclass(slots=True, eq=False)
class File:
    """A file of shared memory: its size in bytes, its pages by index, and what is sealed about it."""

    name: str
    size: int = 0
    seals: Seal = Seal.SEAL
    pages: dict[int, Page] = field(default_factory=dict)

    @property
    def page_count(self) -> int:
        """Pages up to the end of the file, holes included."""
        return -(-self.size // PAGE)

    def page(self, index: int) -> Page:
        """The page at an index, filled; a hole gets a page of zeros. O(1)."""
        page = self.pages.setdefault(index, Page())
        page.filled = True
        return page

    def discard(self, first: int, end: int) -> None:
        """Makes the pages with indexes from `first` up to `end` holes. O(pages of the file)."""
        for index in [index for index in self.pages if first <= index < end]:
            del self.pages[index]
