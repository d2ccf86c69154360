"""The state of a modelled address space, and the few changes of it that several calls share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from subduct.model.catalogue import OTHER_RULES
from subduct.model.layout import Layout
from subduct.model.mapping import VmFlag
from subduct.model.mremap_rules import MREMAP_RULES, mremap_orders
from subduct.model.rules import RuleBook
from subduct.model.table import PageTable, Steps
from subduct.model.uapi import PAGE, PUD, TASK_SIZE, Feature
from subduct.model.version import NEWEST, OLDEST, Version

if TYPE_CHECKING:
    from collections.abc import Callable

    from subduct.model.file import File
    from subduct.model.mapping import Mapping

RULES = {rule.id: rule for rule in (*MREMAP_RULES, *OTHER_RULES)}

# Where the model maps what may go anywhere: downwards from here, as the kernel does from below the stack.
_TOP = 0x7F00_0000_0000


def rule_book(version: Version) -> RuleBook:
    """The rules as they are in a kernel version, or in the newest that is known if that is older. ValueError for a version
    before 5.7."""
    if version < OLDEST:
        raise ValueError(
            f"MREMAP_DONTUNMAP came with Linux {OLDEST}; nothing older is modelled, so not {version} either"
        )
    version = min(version, NEWEST)
    return RuleBook(version, RULES.values(), mremap_orders(version))


@dataclass(frozen=True, slots=True)
class Limits:
    """What the process may have; None means as much as it likes (for locked memory: the capability CAP_IPC_LOCK).

    `lowest_address` is where the lowest mapping may begin that is placed exactly: vm.mmap_min_addr, 0 with the capability
    CAP_SYS_RAWIO.
    """

    locked_bytes: int | None = None
    address_space_bytes: int | None = None
    mappings: int = 65_530
    lowest_address: int = 0


class State:
    """Mappings, page table, open files and userfaultfd descriptors of one process."""

    def __init__(self, book: RuleBook, limits: Limits) -> None:
        self.book = book
        self.limits = limits
        self.layout = Layout(book)
        self.table = PageTable()
        self.files: dict[int, File] = {}
        self.descriptors: dict[int, Feature] = {}
        self.locked_pages = 0
        self.steps = Steps()
        self.place: Callable[[int], int] = self.highest_free

    def check_free(self, fd: int) -> None:
        """ValueError for a number that cannot become a descriptor: it is one already, or is negative."""
        if fd < 0 or fd in self.files or fd in self.descriptors:
            raise ValueError(f"{fd} cannot be chosen as a descriptor: it is open already, or negative")

    def highest_free(self, length: int) -> int:
        """The highest free range of a length, at a boundary that suits it: its address."""
        boundary = PUD if length >= PUD else PAGE
        address = (_TOP - length) // boundary * boundary
        for mapping in reversed(list(self.layout)):
            if mapping.start < address + length and mapping.end > address:
                address = (mapping.start - length) // boundary * boundary
        return address

    def choose(self, hint: int, length: int) -> int:
        """Where the kernel maps what may go anywhere: at the hint, if there is one and the range is free."""
        hint -= hint % PAGE
        if hint and hint + length <= TASK_SIZE and not self.layout.within(hint, hint + length):
            return hint
        return self.place(length)

    def unmap(self, start: int, end: int) -> None:
        """Takes away what is mapped in a range, with its page-table entries and the tables that become unused. An empty
        range has none."""
        if start == end:
            return
        for mapping in self.layout.within(start, end):
            part = self.layout.isolate(mapping, max(start, mapping.start), min(end, mapping.end))
            if VmFlag.LOCKED in part.flags:
                self.locked_pages -= part.pages
            self.table.clear(part.start, part.end)
            self.layout.remove(part)
        below, above = self.layout.before(start), self.layout.after(end)
        self.table.free(start, end, below.end if below else 0, above.start if above else TASK_SIZE)

    def check_unmap(self, start: int, end: int) -> None:
        """Refuses to unmap a range in which a mapping is sealed."""
        mappings = self.layout.within(start, end)
        if not any(VmFlag.SEALED in mapping.flags for mapping in mappings):
            return
        first = mappings[0]
        if VmFlag.SEALED not in first.flags and first.start < start and self.book.holds("munmap.splits-first"):
            self.layout.isolate(first, start, first.end)
        self.book.check("munmap.sealed", broken=True)

    def covered(self, start: int, end: int) -> bool:
        """Whether all of a range is mapped."""
        for mapping in self.layout.within(start, end):
            if mapping.start > start:
                return False
            start = mapping.end
        return start >= end

    def change(self, mapping: Mapping, start: int, end: int) -> Mapping:
        """The part of a mapping in a range, as a mapping that may be changed; `layout.settle` it afterwards."""
        return self.layout.isolate(mapping, max(start, mapping.start), min(end, mapping.end))

    @property
    def mapped_pages(self) -> int:
        """Pages of addresses that are mapped."""
        return sum(mapping.pages for mapping in self.layout)
