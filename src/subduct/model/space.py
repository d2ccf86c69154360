"""A modelled address space: the calls that a process can make on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from subduct.model import fault, madvise, memfd, mmap, mremap, protect, userfaultfd
from subduct.model.state import Limits, State, rule_book
from subduct.model.uapi import Feature
from subduct.model.version import NEWEST, Version

if TYPE_CHECKING:
    from collections.abc import Iterator

    from subduct.model.fault import Access
    from subduct.model.mapping import Mapping
    from subduct.model.rules import RuleBook
    from subduct.model.table import Steps


class AddressSpace:
    """An address space of a kernel version, empty at first. `version` says whose rules it follows: those of the newest version
    that is known if a newer one was asked for. ValueError for one before 5.7.

    Its methods are system calls: same arguments, same results, RefusedCall with the rule and the errno where the kernel
    refuses. File descriptors are numbers that the caller chooses, each once: ValueError for one that is open. Memory is modelled
    by whole pages, and each page by the number at its start.
    """

    def __init__(
        self, version: Version | str = NEWEST, *, limits: Limits | None = None, book: RuleBook | None = None
    ) -> None:
        if isinstance(version, str):
            version = Version.parse(version)
        self._state = State(book or rule_book(version), limits or Limits())

    @property
    def version(self) -> Version:
        """The version whose rules it follows."""
        return self._state.book.version

    @property
    def state(self) -> State:
        """Everything it consists of."""
        return self._state

    @property
    def steps(self) -> Steps:
        """Page-table steps of all moves so far."""
        return self._state.steps

    @property
    def mappings(self) -> Iterator[Mapping]:
        """The mappings, in order of address."""
        return iter(self._state.layout)

    def present(self, start: int, end: int) -> list[int]:
        """The addresses of the pages of a range that are in the page table."""
        return [address for address, _ in self._state.table.entries(start, end)]

    def mmap(self, address: int, length: int, prot: int, flags: int, fd: int = -1, offset: int = 0) -> int:
        """mmap(2)."""
        return mmap.mmap(self._state, address, length, prot, flags, fd, offset)

    def munmap(self, address: int, length: int) -> None:
        """munmap(2)."""
        mmap.munmap(self._state, address, length)

    def mremap(self, old_address: int, old_length: int, new_length: int, flags: int, new_address: int = 0) -> int:
        """mremap(2)."""
        return mremap.mremap(self._state, mremap.Request(old_address, old_length, new_length, flags, new_address))

    def madvise(self, address: int, length: int, advice: int) -> None:
        """madvise(2)."""
        madvise.madvise(self._state, address, length, advice)

    def mprotect(self, address: int, length: int, prot: int) -> None:
        """mprotect(2)."""
        protect.mprotect(self._state, address, length, prot)

    def mlock(self, address: int, length: int) -> None:
        """mlock(2)."""
        protect.mlock(self._state, address, length)

    def munlock(self, address: int, length: int) -> None:
        """munlock(2)."""
        protect.munlock(self._state, address, length)

    def mseal(self, address: int, length: int) -> None:
        """mseal(2)."""
        protect.mseal(self._state, address, length)

    def memfd_create(self, fd: int, name: str = "memory", *, sealable: bool = True) -> int:
        """memfd_create(2)."""
        return memfd.memfd_create(self._state, fd, name, sealable=sealable)

    def ftruncate(self, fd: int, size: int) -> None:
        """ftruncate(2), to whole pages."""
        memfd.ftruncate(self._state, fd, size)

    def fallocate(self, fd: int, offset: int, length: int) -> None:
        """fallocate(2) without flags."""
        memfd.fallocate(self._state, fd, offset, length)

    def punch(self, fd: int, offset: int, length: int) -> None:
        """fallocate(2) with FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, of whole pages."""
        memfd.punch(self._state, fd, offset, length)

    def add_seals(self, fd: int, seals: int) -> None:
        """fcntl(F_ADD_SEALS)."""
        memfd.add_seals(self._state, fd, seals)

    def userfaultfd(self, fd: int, features: Feature = Feature.SIGBUS) -> int:
        """userfaultfd(2) and UFFDIO_API: a descriptor with these features, non-blocking."""
        return userfaultfd.userfaultfd(self._state, fd, features)

    def uffd_register(self, fd: int, address: int, length: int, mode: int) -> int:
        """UFFDIO_REGISTER: the calls that the range allows."""
        return userfaultfd.register(self._state, fd, address, length, mode)

    def uffd_unregister(self, fd: int, address: int, length: int) -> None:
        """UFFDIO_UNREGISTER."""
        userfaultfd.unregister(self._state, fd, address, length)

    def uffd_copy(self, destination: int, values: list[int], mode: int = 0) -> int:
        """UFFDIO_COPY of pages with these numbers at their start: bytes done."""
        return userfaultfd.copy(self._state, destination, values, mode)

    def uffd_zeropage(self, address: int, length: int, mode: int = 0) -> int:
        """UFFDIO_ZEROPAGE: bytes done."""
        return userfaultfd.zeropage(self._state, address, length, mode)

    def uffd_continue(self, address: int, length: int, mode: int = 0) -> int:
        """UFFDIO_CONTINUE: bytes done."""
        return userfaultfd.continue_(self._state, address, length, mode)

    def touch(self, address: int, *, write: bool = False) -> Access:
        """What an access to an address does."""
        return fault.access(self._state, address, write=write)

    def read(self, address: int) -> int | Access:
        """The number at the start of the page, or how reading it fails."""
        return fault.read(self._state, address)

    def write(self, address: int, value: int) -> Access:
        """Puts a number at the start of the page."""
        return fault.write(self._state, address, value)
