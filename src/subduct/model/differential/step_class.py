"""By which page-table steps the running kernel moves, told from the time it takes, against what the model says.

Times are compared with each other only: the three plain cases set the scale, and only a case that is clearly on another case's
place counts as a difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from subduct.model.differential import ground
from subduct.model.differential.call import Call
from subduct.model.space import AddressSpace
from subduct.model.uapi import PAGE, PMD, PUD, MapFlag, Prot, RegisterMode, RemapFlag
from subduct.model.version import Version

if TYPE_CHECKING:
    from subduct.model.differential.server import KernelServer
    from subduct.model.rules import RuleBook

_FD, _UFFD = 3, 4
_OLD, _NEW = ground.SLOTS[0], ground.SLOTS[2]
# Two classes are told apart if one takes so many times longer; a case has another's class if it is so near to it.
_APART = 4.0
_NEAR = 2.0
_ROUNDS = 10
# Later releases of older versions have the rule about registered mappings too, so that there nothing is known of them.
_REGISTERED_KNOWN = Version(6, 13)


@dataclass(frozen=True, slots=True)
class Case:
    """A move of a GiB: how far old and new address are from a GiB boundary, and whether the mapping is registered."""

    name: str
    old: int
    new: int
    registered: bool = False


CASES = (
    Case("aligned to 1 GiB", 0, 0),
    Case("aligned to 2 MiB", 0, PMD),
    Case("aligned to 4 KiB", 0, PAGE),
    Case("both 2 MiB after a GiB boundary", PMD, PMD),
    Case("registered, aligned to 1 GiB", 0, 0, registered=True),
    Case("registered, aligned to 2 MiB", 0, PMD, registered=True),
)


@dataclass(frozen=True, slots=True)
class Timed:
    """A case, the class that the model says, and the nanoseconds that the kernel took."""

    case: Case
    expected: str
    time_ns: int


def check_step_classes(server: KernelServer, book: RuleBook) -> tuple[list[Timed], list[str]]:
    """Times all cases, again while the classes cannot be told apart or something contradicts the model, at most ten times: the
    times, and what contradicts the model twice. Where something else runs on the machine the times may never tell anything:
    `told_apart` says whether they do."""
    doubted: set[str] = set()
    timed: list[Timed] = []
    for _ in range(_ROUNDS):
        timed = step_classes(server, book)
        found = contradictions(timed)
        if not found and told_apart(timed):
            break
        if again := [line for line in found if line.split(":")[0] in doubted]:
            return timed, again
        doubted |= {line.split(":")[0] for line in found}
    return timed, []


def step_classes(server: KernelServer, book: RuleBook) -> list[Timed]:
    """Times all cases that this machine can do and that the version is sure about."""
    known = server.machine.userfaultfd and book.version >= _REGISTERED_KNOWN
    cases = [case for case in CASES if known or not case.registered]
    lengths = [PUD if case.old == case.new == 0 else PUD - PMD for case in cases]
    arguments = [
        (_OLD + case.old, _NEW + case.new, length, int(case.registered))
        for case, length in zip(cases, lengths, strict=True)
    ]
    found = []
    seen = server.make([Call("time_move", each) for each in arguments])
    for case, length, (result, _) in zip(cases, lengths, seen, strict=True):
        assert result.kind == "value", f"{case.name}: {result}"
        found.append(Timed(case, expected_class(book, case, length), result.number))
    return found


def expected_class(book: RuleBook, case: Case, length: int) -> str:
    """The level at which most of a case is moved in the model: "PTE", "PMD" or "PUD"."""
    space = AddressSpace(book=book)
    space.memfd_create(_FD)
    space.ftruncate(_FD, 2 * PUD)
    old, new = _OLD + case.old, _NEW + case.new
    space.mmap(old, length, Prot.READ | Prot.WRITE, MapFlag.SHARED | MapFlag.FIXED, _FD)
    for offset in range(0, length, PMD):
        space.touch(old + offset)
    if case.registered:
        space.userfaultfd(_UFFD)
        space.uffd_register(_UFFD, old, length, RegisterMode.MISSING)
    space.mremap(old, length, length, RemapFlag.MAYMOVE | RemapFlag.FIXED, new)
    steps = space.steps
    return max((steps.pud * PUD, "PUD"), (steps.pmd * PMD, "PMD"), (steps.pte * PMD, "PTE"))[1]


def contradictions(timed: list[Timed]) -> list[str]:
    """The cases that clearly took the time of another class than the model says, a sentence each. Classes that cannot be told
    apart on this machine contradict nothing."""
    scale = {each.expected: each.time_ns for each in reversed(timed)}
    found = []
    for each in timed:
        own = scale[each.expected]
        if max(each.time_ns, own) / min(each.time_ns, own) >= _APART:
            times = f"{each.time_ns / 1e3:.1f} us and {own / 1e3:.1f} us"
            found.append(f"{each.case.name}: {times} in two cases that both take {each.expected} steps in the model")
        for name, time_ns in scale.items():
            apart = max(own, time_ns) / min(own, time_ns) >= _APART
            near = max(each.time_ns, time_ns) / min(each.time_ns, time_ns) <= _NEAR
            if name != each.expected and apart and near:
                found.append(
                    f"{each.case.name}: {each.time_ns / 1e3:.1f} us, as {name} steps take; the model says {each.expected}"
                )
    return found


def told_apart(timed: list[Timed]) -> bool:
    """Whether the classes that occur take clearly different times on this machine, slower ones longer."""
    scale = {each.expected: each.time_ns for each in reversed(timed)}
    order = [scale[name] for name in ("PUD", "PMD", "PTE") if name in scale]
    return all(slower >= _APART * faster for faster, slower in pairwise(order))
