"""What the kernel shows of a process under /proc, read without the bindings."""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path

_KIB = 1024
_ENTRY_BYTES = 8
_PRESENT = 1 << 63
_WRITE_PROTECTED = 1 << 57


@dataclass(frozen=True)
class Line:
    """A mapping of this process."""

    start: int
    end: int
    permissions: str
    path: str
    flags: frozenset[str]
    """The two-letter VmFlags."""


def mappings() -> list[Line]:
    """The mappings of this process, in order of address."""
    found: list[Line] = []
    for text in Path("/proc/self/smaps").read_text().splitlines():
        words = text.split(maxsplit=5)
        if "-" in words[0] and not words[0].endswith(":"):
            start, end = (int(word, 16) for word in words[0].split("-"))
            found.append(Line(start, end, words[1], words[5] if len(words) > 5 else "", frozenset()))
        elif words[0] == "VmFlags:":
            last = found[-1]
            found[-1] = Line(last.start, last.end, last.permissions, last.path, frozenset(text.split()[1:]))
    return found


def mapping_at(address: int) -> Line | None:
    """The mapping that holds an address."""
    return next((line for line in mappings() if line.start <= address < line.end), None)


def flags_at(address: int) -> frozenset[str]:
    """The VmFlags of the mapping that holds an address; none where nothing is mapped."""
    line = mapping_at(address)
    return frozenset() if line is None else line.flags


def count_in(start: int, end: int) -> int:
    """How many mappings lie in a range, wholly or in part."""
    return sum(line.start < end and start < line.end for line in mappings())


def status_bytes(field: str) -> int:
    """A figure of /proc/self/status that is given in kB, such as VmLck."""
    for text in Path("/proc/self/status").read_text().splitlines():
        if text.startswith(f"{field}:"):
            return int(text.split()[1]) * _KIB
    raise KeyError(field)


def memory_bytes(field: str) -> int:
    """A figure of /proc/meminfo, such as Committed_AS."""
    for text in Path("/proc/meminfo").read_text().splitlines():
        if text.startswith(f"{field}:"):
            return int(text.split()[1]) * _KIB
    raise KeyError(field)


def setting(name: str) -> int | None:
    """A number under /proc/sys; None when this kernel has none of that name."""
    try:
        return int(Path("/proc/sys", name).read_text())
    except (OSError, ValueError):
        return None


def is_present(address: int, page_bytes: int) -> bool:
    """Whether the page tables of this process have a page at an address."""
    return bool(_page_entry(address, page_bytes) & _PRESENT)


def is_write_protected(address: int, page_bytes: int) -> bool:
    """Whether userfaultfd protects the page at an address from writes."""
    return bool(_page_entry(address, page_bytes) & _WRITE_PROTECTED)


def _page_entry(address: int, page_bytes: int) -> int:
    with Path("/proc/self/pagemap").open("rb", buffering=0) as pagemap:
        pagemap.seek(address // page_bytes * _ENTRY_BYTES)
        return int(struct.unpack("Q", pagemap.read(_ENTRY_BYTES))[0])


def file_system(path: str) -> str:
    """The type of the file system that a folder lies on; empty when the kernel does not say.

    For an overlay it is that of its upper layer, if that can be seen from here: there the files are.
    """
    device = Path(path).stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for text in Path("/proc/self/mountinfo").read_text().splitlines():
        mount, _, rest = text.partition(" - ")
        if mount.split()[2] == wanted:
            kind, _, options = rest.split(maxsplit=2)
            upper = re.search(r"\bupperdir=([^,]+)", options)
            return file_system(upper[1]) if kind == "overlay" and upper and Path(upper[1]).exists() else kind
    return ""
