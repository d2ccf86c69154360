"""/proc/PID/maps and /proc/PID/smaps: proc_pid_maps(5), proc_pid_smaps(5)."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from subduct.kernel._enums import Prot

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_HEAD = re.compile(
    r"(?P<start>[0-9a-f]+)-(?P<end>[0-9a-f]+) (?P<access>[r-][w-][x-])(?P<kind>[ps]) "
    r"(?P<offset>[0-9a-f]+) (?P<device>[0-9a-f]+:[0-9a-f]+) (?P<inode>\d+) *(?P<path>.*)"
)
_FIGURE = re.compile(r"(\w+): +(\d+)( kB)?")
_FLAGS = "VmFlags:"


@dataclass(frozen=True, slots=True)
class MapsEntry:
    """A mapping as the kernel lists it: a line of /proc/PID/maps."""

    start: int
    """First address."""
    end: int
    """First address behind it."""
    prot: Prot
    """How it may be accessed."""
    shared: bool
    """Whether writes are seen by others."""
    offset: int
    """Where in the file it begins, in bytes."""
    device: str
    """The file's device, `major:minor`, hexadecimal."""
    inode: int
    """The file's inode; 0 for none."""
    path: str
    """The file's path, `[heap]` and the like, or empty. The kernel writes a newline as `\\012` and adds ` (deleted)`;
    bytes that are no text are there as in `os.fsdecode`."""

    @property
    def length(self) -> int:
        """Length in bytes."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class SmapsEntry(MapsEntry):
    """A mapping with its figures: an entry of /proc/PID/smaps."""

    figures: Mapping[str, int] = field(default_factory=dict, hash=False)
    """Every figure by the kernel's name (Rss, Pss, Private_Dirty ...): bytes where the kernel says kB, else the number itself."""
    vm_flags: frozenset[str] = frozenset()
    """Two-letter flags, as in Linux's Documentation/filesystems/proc.rst: `um` is registered with a userfaultfd for missing
    pages, `ui` for minor faults, `uw` for writes, `dc` is not given to forked children, `de` cannot be expanded, `pf` is
    VM_PFNMAP, `ac` is charged, `lo` is locked, `sl` is sealed."""

    @property
    def rss_bytes(self) -> int:
        """Resident bytes; pages that several views show count in each."""
        return self.figures["Rss"]

    @property
    def pss_bytes(self) -> int:
        """Resident bytes, each page divided by how many times it is mapped."""
        return self.figures["Pss"]


def maps(*, address: int = 0, length: int | None = None, process: int | None = None) -> list[MapsEntry]:
    """The mappings of this process, or of another that may be looked at, in order of their addresses.

    `address` and `length` choose those that overlap a range. Raises OSError where /proc does not say. O(mappings).
    """
    return [entry for entry in parse_maps(_read("maps", process)) if _overlaps(entry, address, length)]


def smaps(*, address: int = 0, length: int | None = None, process: int | None = None) -> list[SmapsEntry]:
    """As `maps()`, with figures. O(pages of the process): the kernel walks the page tables."""
    return [entry for entry in parse_smaps(_read("smaps", process)) if _overlaps(entry, address, length)]


def _read(name: str, process: int | None) -> str:
    path = Path("/proc", "self" if process is None else str(process), name)
    # Not as text, which would take a carriage return in a file's name for the end of a line.
    return os.fsdecode(path.read_bytes())


def _overlaps(entry: MapsEntry, address: int, length: int | None) -> bool:
    return entry.end > address and (length is None or entry.start < address + length)


def _prot(access: str) -> Prot:
    found = Prot.NONE
    for letter, prot in zip("rwx", (Prot.READ, Prot.WRITE, Prot.EXEC), strict=True):
        if letter in access:
            found |= prot
    return found


def _entry(match: re.Match[str]) -> MapsEntry:
    return MapsEntry(
        start=int(match["start"], 16),
        end=int(match["end"], 16),
        prot=_prot(match["access"]),
        shared=match["kind"] == "s",
        offset=int(match["offset"], 16),
        device=match["device"],
        inode=int(match["inode"]),
        path=match["path"],
    )


def parse_maps(text: str) -> Iterator[MapsEntry]:
    """Entries of the text of a maps file; ValueError for a line that is none."""
    for line in text.split("\n"):
        if line:
            match = _HEAD.fullmatch(line)
            if match is None:
                raise ValueError(f"not a line of a maps file: {line!r}")
            yield _entry(match)


def parse_smaps(text: str) -> Iterator[SmapsEntry]:
    """Entries of the text of an smaps file; ValueError for a line that is none. Figures of later kernels are kept."""
    head: MapsEntry | None = None
    figures: dict[str, int] = {}
    flags: frozenset[str] = frozenset()
    for line in text.split("\n"):
        if (match := _HEAD.fullmatch(line)) is not None:
            if head is not None:
                yield _with_figures(head, figures, flags)
            head, figures, flags = _entry(match), {}, frozenset()
        elif line.startswith(_FLAGS):
            flags = frozenset(line[len(_FLAGS) :].split())
        elif (figure := _FIGURE.match(line)) is not None:
            figures[figure[1]] = int(figure[2]) * (1024 if figure[3] else 1)
        elif line:
            raise ValueError(f"not a line of an smaps file: {line!r}")
    if head is not None:
        yield _with_figures(head, figures, flags)


def _with_figures(head: MapsEntry, figures: dict[str, int], flags: frozenset[str]) -> SmapsEntry:
    return SmapsEntry(
        head.start,
        head.end,
        head.prot,
        head.shared,
        head.offset,
        head.device,
        head.inode,
        head.path,
        MappingProxyType(figures),
        flags,
    )
