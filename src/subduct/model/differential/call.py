"""One call of a comparison, and what is seen after it."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from subduct.model.differential import ground

#: The calls that return an address of the kernel's choice, and which argument is the length of what is there.
MOVERS = {"mmap": 1, "mremap": 2}

Argument: TypeAlias = "int | list[int]"


@dataclass(frozen=True, slots=True)
class Call:
    """A call by its name, with arguments in order: as a method of AddressSpace has them. File descriptors are numbers that
    both sides translate."""

    name: str
    arguments: tuple[Argument, ...]

    def settled(self, away: int) -> Call:
        """The call with the address of what was last mapped outside the ground, where it says ELSEWHERE."""
        return Call(self.name, tuple(ground.settled(argument, away) for argument in self.arguments))

    def __str__(self) -> str:
        return f"{self.name}({', '.join(_shown(argument) for argument in self.arguments)})"


def _shown(argument: Argument) -> str:
    if isinstance(argument, list):
        return f"[{', '.join(map(str, argument))}]"
    return hex(argument) if argument > 0xFFFF else str(argument)


class Result(NamedTuple):
    """How a call ended: "value" with what it returned, "error" with the errno, "signal" with the signal that ended the
    process."""

    kind: str
    number: int

    def __str__(self) -> str:
        if self.kind == "error":
            return errno.errorcode.get(self.number, str(self.number))
        return f"signal {self.number}" if self.kind == "signal" else hex(self.number)


def is_elsewhere(name: str, result: Result) -> bool:
    """Whether a call mapped something at an address of the kernel's choice, outside the ground."""
    return result.kind == "value" and name in MOVERS and not ground.inside(result.number)


class Line(NamedTuple):
    """A mapping as /proc/self/smaps shows it: its addresses, its protection, the name and the offset of what is behind it, and
    those of its VmFlags that the model knows."""

    start: int
    end: int
    protection: str
    name: str
    offset: int
    flags: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.start:#x}-{self.end:#x} {self.protection} {self.name or 'anonymous'}+{self.offset:#x} {' '.join(self.flags)}"


class FileView(NamedTuple):
    """A memfd: its size, and the filled pages of its page cache: index and number at the start."""

    size: int
    pages: tuple[tuple[int, int], ...]


class View(NamedTuple):
    """What is seen after a call, without changing anything by looking: the mappings of the ground, its present pages with the
    numbers at their start (None where reading is not allowed), the memfds, and the pages that count as locked."""

    lines: tuple[Line, ...]
    present: tuple[tuple[int, int | None], ...]
    files: tuple[FileView, ...]
    locked_pages: int


class Seen(NamedTuple):
    """A call's result and the view after it; None where a signal ended the process."""

    result: Result
    view: View | None


def differences(kernel: Seen, model: Seen) -> list[str]:
    """What differs between the two, a line each."""
    if kernel.result != model.result:
        return [f"result: kernel {kernel.result}, model {model.result}"]
    if kernel.view is None or model.view is None:
        return [] if kernel.view is model.view else ["one of the two has ended"]
    found = []
    for name, ours, theirs in zip(View._fields, kernel.view, model.view, strict=True):
        if ours == theirs:
            continue
        if isinstance(ours, tuple) and isinstance(theirs, tuple):
            found += [f"{name}: only the kernel has {_entry(each)}" for each in ours if each not in theirs]
            found += [f"{name}: only the model has {_entry(each)}" for each in theirs if each not in ours]
        else:
            found.append(f"{name}: kernel {ours}, model {theirs}")
    return found


def _entry(entry: object) -> str:
    if isinstance(entry, Line):
        return str(entry)
    if isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[0], int):
        return f"{entry[0]:#x}: {entry[1]}"
    return str(entry)
