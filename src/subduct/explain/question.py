"""A question about mremap, and its answer by the model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from subduct.model import (
    AddressSpace,
    Levels,
    MapFlag,
    Prot,
    RefusedCall,
    RegisterMode,
    RemapFlag,
    Rule,
    Steps,
    Version,
    VmFlag,
    dense_steps,
)
from subduct.model.mremap import Request, levels, mremap
from subduct.model.uapi import PAGE, page_up

if TYPE_CHECKING:
    from subduct.explain.kinds import Kind

_GIB = 1 << 30
# Addresses far enough apart for the largest mapping that fits beside its copy, at boundaries of every level.
_OLD = 1 << 40
_NEW = 1 << 46
# The largest size that can be asked about: there must be room for the range twice.
MOST_BYTES = _NEW - _OLD - _GIB
_FD = 3
_UFFD = 4


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be moved, and how. Sizes and the alignment are bytes; the old address and the new one are multiples of the
    alignment, and of no larger power of two in common."""

    kind: Kind
    flags: RemapFlag
    size: int
    new_size: int
    align: int
    version: Version
    registered: bool = False
    locked: bool = False
    sealed: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """The kernel's answer: the rule that refuses, if one does; the checks that were passed before; the page-table steps if
    every page of the mapping is present, and where the mapping is afterwards.

    `crowded` is the answer where something else is mapped right behind a mapping that grows, None where that is no matter.
    `entry_steps` are the steps of a kernel of an older version that has the later rule about registered mappings, None where
    that is no matter either."""

    refusal: Rule | None
    passed: tuple[Rule, ...]
    steps: Steps | None
    moved: bool
    crowded: Answer | None = None
    entry_steps: Steps | None = None


def ask(question: Question) -> Answer:
    """Lets the model make the call. Raises RefusedCall if the version cannot even prepare it: it has no mseal, for one."""
    answer = _ask(question, crowded=False)
    if answer.refusal is None and not answer.moved and page_up(question.new_size) > page_up(question.size):
        answer = replace(answer, crowded=_ask(question, crowded=True))
    return answer


def _ask(question: Question, *, crowded: bool) -> Answer:
    space = _prepare(question)
    if crowded:
        behind = addresses(question.align)[0] + page_up(question.size)
        space.mmap(behind, PAGE, Prot.NONE, MapFlag.PRIVATE | MapFlag.ANONYMOUS | MapFlag.FIXED)
    fixed = RemapFlag.FIXED in question.flags or RemapFlag.DONTUNMAP in question.flags
    old, new = addresses(question.align)
    request = Request(old, question.size, question.new_size, question.flags, new if fixed else 0)
    state = space.state
    state.place = lambda _length: new
    mapping = state.layout.at(old)
    assert mapping is not None
    refusal = None
    how = levels(state, mapping)
    try:
        result = mremap(state, request)
    except RefusedCall as refused:
        refusal = refused.rule
    passed = tuple(
        state.book.rule(identity) for identity in dict.fromkeys(request.passed) if state.book.holds(identity)
    )
    if refusal is not None:
        return Answer(refusal, passed, None, moved=False)
    if result == old:
        return Answer(None, passed, Steps(), moved=False)
    length = min(page_up(question.size), page_up(question.new_size))
    entry_steps = None
    if question.registered and not state.book.holds("tables.registered-by-entry"):
        entry_steps = dense_steps(old, result, length, Levels(pmd=False, pud=False))
    return Answer(None, passed, dense_steps(old, result, length, how), moved=True, entry_steps=entry_steps)


def addresses(align: int) -> tuple[int, int]:
    """An old and a new address at multiples of an alignment whose distance is no multiple of a larger one, as far as
    page tables are concerned."""
    if align >= _GIB:
        return _OLD, _NEW
    return _OLD + align, _NEW + 2 * align


def _prepare(question: Question) -> AddressSpace:
    space = AddressSpace(question.version)
    old, _ = addresses(question.align)
    flags, fd = question.kind.flags, -1
    if question.kind.memfd:
        fd = space.memfd_create(_FD)
        space.ftruncate(fd, page_up(max(question.size, question.new_size)))
    space.mmap(old, question.size, Prot.READ | Prot.WRITE, flags | MapFlag.FIXED, fd)
    mapping = space.state.layout.at(old)
    assert mapping is not None
    if question.registered:
        space.userfaultfd(_UFFD)
        space.uffd_register(_UFFD, old, page_up(question.size), RegisterMode.MISSING)
    mapping.flags |= question.kind.special
    if question.locked:
        mapping.flags |= VmFlag.LOCKED
    if question.sealed:
        space.mseal(old, page_up(question.size))
    return space
