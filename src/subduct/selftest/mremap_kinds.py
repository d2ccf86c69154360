"""MREMAP_DONTUNMAP over every kind of memory: where the pages go, and what the old range shows afterwards."""

from __future__ import annotations

import errno
from functools import partial
from typing import TYPE_CHECKING

from subduct.kernel import RemapFlag, calls
from subduct.selftest.assumption import UsedBy, assumes
from subduct.selftest.expect import LackingError, equal, holds
from subduct.selftest.memory import (
    KINDS,
    MEMFD_SHARED,
    PAGE,
    PRIVATE_ANONYMOUS,
    Kind,
    anonymous,
    hole,
    reserve,
    stamp,
    stamped,
    stamps,
    write_stamps,
)
from subduct.selftest.proc import mapping_at

if TYPE_CHECKING:
    from collections.abc import Callable

_MOVE = RemapFlag.MAYMOVE | RemapFlag.DONTUNMAP
_MOVE_TO = _MOVE | RemapFlag.FIXED
_PAGES = 4
_ALL = range(_PAGES)

_SOURCE = {
    True: "commit a4609387859f, mremap: extend MREMAP_DONTUNMAP to non-anonymous mappings (5.13)",
    False: "mremap(2), MREMAP_DONTUNMAP (5.7)",
}


def moved(kind: Kind, address: int, pages: int, flags: int, target: int = 0) -> int:
    """Moves page tables; `LackingError` where the kernel refuses a kind that releases before 5.13 refuse."""
    try:
        return calls.mremap(address, pages * PAGE, pages * PAGE, flags, target)
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise LackingError(f"this kernel refuses to move {kind.words} (EINVAL)") from error
        raise


def simple(kind: Kind) -> None:
    """To where the kernel likes."""
    old = kind.make(_PAGES)
    new = moved(kind, old, _PAGES, _MOVE)
    holds("the new range is apart from the old one", abs(new - old) >= _PAGES * PAGE, (old, new))
    equal("the new range", stamps(new, _PAGES), stamped("map", _ALL))
    equal("the old range", stamps(old, _PAGES), kind.left(_ALL))


def fixed(kind: Kind) -> None:
    """To an address of the caller's."""
    old, target = kind.make(_PAGES), reserve(_PAGES * PAGE)
    equal("the address returned", moved(kind, old, _PAGES, _MOVE_TO, target), target)
    equal("the new range", stamps(target, _PAGES), stamped("map", _ALL))
    equal("the old range", stamps(old, _PAGES), kind.left(_ALL))
    before, after = mapping_at(old), mapping_at(target)
    holds("both are mapped", before is not None and after is not None, (before, after))
    if before is not None and after is not None:
        equal("what may be done with the two", after.permissions, before.permissions)
        equal("the file behind the two", after.path, before.path)


def middle(kind: Kind) -> None:
    """The middle of a mapping."""
    old = kind.make(_PAGES + 2)
    new = moved(kind, old + PAGE, _PAGES, _MOVE)
    inner = range(1, _PAGES + 1)
    equal("the new range", stamps(new, _PAGES), stamped("map", inner))
    equal("the old range", stamps(old + PAGE, _PAGES), kind.left(inner))
    equal("the page before", stamps(old, 1), stamped("map", range(1)))
    last = _PAGES + 1
    equal("the page behind", stamps(old + last * PAGE, 1), stamped("map", range(last, last + 1)))


def overwrite(kind: Kind) -> None:
    """Over the middle of a mapping that was there."""
    old, other = kind.make(_PAGES), anonymous(_PAGES + 2)
    write_stamps(other, _PAGES + 2, "other")
    moved(kind, old, _PAGES, _MOVE_TO, other + PAGE)
    equal("the new range", stamps(other + PAGE, _PAGES), stamped("map", _ALL))
    equal("the old range", stamps(old, _PAGES), kind.left(_ALL))
    last = _PAGES + 1
    equal("the page before", stamps(other, 1), stamped("other", range(1)))
    equal("the page behind", stamps(other + last * PAGE, 1), stamped("other", range(last, last + 1)))


def contents(kind: Kind) -> None:
    """Writes after the move, through both ranges."""
    old = kind.make(2)
    new = moved(kind, old, 2, _MOVE)
    calls.store(new, stamp("new", 0))
    calls.store(old + PAGE, stamp("old", 1))
    if kind.shared:
        equal("the old range after a write to the new one", stamps(old, 1), [stamp("new", 0)])
        equal("the new range after a write to the old one", stamps(new + PAGE, 1), [stamp("old", 1)])
    else:
        equal("the old range after a write to the new one", stamps(old, 1), kind.left(range(1)))
        equal("the new range after a write to the old one", stamps(new + PAGE, 1), [stamp("map", 1)])


def hint(kind: Kind) -> None:
    """A free address without MREMAP_FIXED, and one that is taken."""
    # In the middle of a wider gap, where the kernel would not put it of its own accord.
    old, free = kind.make(_PAGES), hole(2 * _PAGES) + PAGE
    equal("the address returned for a hint that is free", moved(kind, old, _PAGES, _MOVE, free), free)
    other, taken = kind.make(_PAGES), anonymous(_PAGES)
    write_stamps(taken, _PAGES, "taken")
    new = moved(kind, other, _PAGES, _MOVE, taken)
    holds("a hint that is taken is passed over", abs(new - taken) >= _PAGES * PAGE, (taken, new))
    equal("what was at the hint", stamps(taken, _PAGES), stamped("taken", _ALL))


def again(kind: Kind) -> None:
    """A second move of what the first one left, over the first one's result."""
    old, target = kind.make(_PAGES), reserve(_PAGES * PAGE)
    moved(kind, old, _PAGES, _MOVE_TO, target)
    write_stamps(old, _PAGES, "again")
    equal("the address returned", moved(kind, old, _PAGES, _MOVE_TO, target), target)
    equal("the new range", stamps(target, _PAGES), stamped("again", _ALL))
    left = stamped("again", _ALL) if kind.shared else kind.left(_ALL)
    equal("the old range", stamps(old, _PAGES), left)


def _what_is_left(kind: Kind) -> str:
    if kind.shared:
        return "the same pages again"
    return "what the file holds" if kind.file else "zeros"


_CASES: dict[str, tuple[Callable[[Kind], None], str]] = {
    "simple": (simple, "moves to where the kernel likes, and its old range shows {left}"),
    "fixed": (fixed, "moves to a given address with MREMAP_FIXED, and its old range stays mapped and shows {left}"),
    "partial": (middle, "moves in part: the pages beside stay, and the old range of the part shows {left}"),
    "overwrite": (
        overwrite,
        "moves over the middle of another mapping: only the middle is replaced, and the old range shows {left}",
    ),
    "contents": (contents, "after the move: {alias}"),
    "again": (again, "moves a second time over the result of the first, and its old range shows {left}"),
}


for _kind in KINDS:
    _alias = "a write through one range is seen through the other" if _kind.shared else "the two ranges share nothing"
    for _case, (_check, _sentence) in _CASES.items():
        _widened = _kind is not PRIVATE_ANONYMOUS
        assumes(
            f"mremap.dontunmap.{_kind.name}.{_case}",
            f"{_kind.words[0].upper()}{_kind.words[1:]} {_sentence.format(left=_what_is_left(_kind), alias=_alias)}.",
            source=_SOURCE[_widened],
            used_by=UsedBy.HEAP if _kind is MEMFD_SHARED and _case in {"fixed", "contents"} else UsedBy.BINDINGS,
            since=(5, 13) if _widened else (5, 7),
        )(partial(_check, _kind))

for _kind in (PRIVATE_ANONYMOUS, MEMFD_SHARED):
    assumes(
        f"mremap.dontunmap.{_kind.name}.hint",
        f"An address without MREMAP_FIXED is where {_kind.words} moves to if it is free, and is passed over if it is taken.",
        source="measured; mremap(2) says new_address is for MREMAP_FIXED",
        since=(5, 13) if _kind is MEMFD_SHARED else (5, 7),
    )(partial(hint, _kind))
