"""Mappings (the kernel's VMAs): a range of addresses, what it shows, and the flags that rules ask for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Flag, auto
from typing import TYPE_CHECKING

from subduct.model.uapi import PAGE, Feature, Prot, RegisterMode

if TYPE_CHECKING:
    from subduct.model.file import File


class VmFlag(Flag):
    """The flags of a mapping besides its protection: VM_* in the kernel, `VmFlags` in /proc/self/smaps."""

    NONE = 0
    SHARED = auto()
    MAYWRITE = auto()
    LOCKED = auto()
    DONTEXPAND = auto()
    PFNMAP = auto()
    ACCOUNT = auto()
    SEALED = auto()
    DONTCOPY = auto()
    DONTDUMP = auto()
    RANDOM = auto()
    SEQUENTIAL = auto()


# Mappings with one of these are never merged and never locked.
SPECIAL = VmFlag.DONTEXPAND | VmFlag.PFNMAP


@dataclass(frozen=True, slots=True)
class Registration:
    """A range registered with a userfaultfd: the descriptor, its features, and the faults it catches there."""

    descriptor: int
    mode: RegisterMode
    features: Feature = Feature.SIGBUS

    def same_descriptor(self, other: Registration | None) -> bool:
        """Whether both belong to one descriptor."""
        return other is not None and other.descriptor == self.descriptor


class AnonVma:
    """Who may have written pages of its own: mappings that share one may be merged though both have such pages."""

    __slots__ = ()


@dataclass(slots=True, eq=False)
class Mapping:
    """A mapping. `index` is the page of the file at `start`; for private anonymous memory, the page number of the
    address where it was made."""

    start: int
    end: int
    prot: Prot
    flags: VmFlag
    file: File | None
    index: int
    registration: Registration | None = None
    anon: AnonVma | None = None

    @property
    def length(self) -> int:
        """Bytes."""
        return self.end - self.start

    @property
    def pages(self) -> int:
        """Pages."""
        return self.length // PAGE

    @property
    def shared(self) -> bool:
        """Whether writes go to the file."""
        return VmFlag.SHARED in self.flags

    @property
    def anonymous(self) -> bool:
        """Whether there is no file behind it: private anonymous memory (shared anonymous memory has a file)."""
        return self.file is None

    def catches(self, mode: RegisterMode) -> bool:
        """Whether it is registered for one of these faults."""
        return self.registration is not None and bool(self.registration.mode & mode)

    def index_at(self, address: int) -> int:
        """The index that the page at an address has, or would have after growth."""
        return self.index + (address - self.start) // PAGE

    def part(self, start: int, end: int) -> Mapping:
        """A mapping of a part of the range that is the same otherwise."""
        return replace(self, start=start, end=end, index=self.index_at(start))

    def describe(self) -> str:
        """One line, for messages: range, protection, flags, backing."""
        names = [flag.name for flag in VmFlag if flag in self.flags and flag.name]
        registered = f" registered={self.registration.mode!r}" if self.registration else ""
        backing = self.file.name if self.file else "anonymous"
        return f"{self.start:#x}-{self.end:#x} {self.prot!r} {','.join(names)} {backing}+{self.index}{registered}"
