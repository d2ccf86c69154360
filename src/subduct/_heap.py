"""The public `Heap`: sizes in words, reports as values, closed at the latest when the interpreter has ended."""

import re
import warnings
from collections.abc import Iterable, Mapping, MutableMapping, MutableSequence, Sequence
from dataclasses import dataclass
from types import NoneType, TracebackType
from typing import Any, Literal, NoReturn, Self

from subduct import (
    _limits,
    _native,
    _views,  # noqa: F401 - for keys(), values() and items(): a child forked in the middle of a later import could never finish it
)
from subduct._native import Dict, List, Tuple
from subduct._stats import CycleReport, Fallbacks, Pauses, Stats, VerifyReport

_SIZE = re.compile(r"\s*(\d+)(?:\.(\d+))?\s*(?:([kmgt])(i?b?)|b)?\s*", re.ASCII | re.IGNORECASE)
_BYTES_MAX = 2**63
# Characters of a size that messages show.
_SHOWN_MAX = 40

# Smaller budgets are not compared with what the machine has: every machine has as much, and making heaps stays quick.
_ALWAYS_FITS_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class SizeLimits:
    """Least and most bytes of a size, and how messages say them."""

    least: int
    most: int
    words: str


_ANY_SIZE = SizeLimits(1, 2**63 - 1, "more than 0 bytes and less than 8 EiB")
# As the native module has them.
_BUDGETS = SizeLimits(8 << 20, 1 << 40, "between 8 MiB and 1 TiB")


def parse_size(size: int | str, what: str, limits: SizeLimits = _ANY_SIZE) -> int:
    """Bytes from an int or from text such as "8GiB", "8G" (the same), "1.5GB", "64kB" or "4096"; `what` names the argument
    in messages."""
    if isinstance(size, str):
        parsed = _parse_text(size, what)
    elif isinstance(size, int) and not isinstance(size, bool):
        parsed = size
    else:
        raise TypeError(f"{what} must be an int or a str, not {type(size).__name__}")
    if not limits.least <= parsed <= limits.most:
        raise ValueError(f"{what} must be {limits.words}, not {_shown(size)}")
    return parsed


def _shown(size: int | str) -> str:
    """A size as messages show it: Python does not print integers of any length, and nobody reads a long text."""
    if isinstance(size, int):
        return str(size) if abs(size) < _BYTES_MAX else f"an int of {size.bit_length()} bits"
    return (
        repr(size) if len(size) <= _SHOWN_MAX else f"{size[:_SHOWN_MAX]!r} and {len(size) - _SHOWN_MAX} characters more"
    )


def _parse_text(text: str, what: str) -> int:
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{what} must be a number of bytes or text with a unit such as '8GiB', '512MiB', '1.5GB' or '64kB'"
            f" (B, kB, MB, GB, TB, KiB, MiB, GiB, TiB; K, M, G, T stand for KiB, MiB, GiB, TiB), not {_shown(text)}"
        )
    whole, fraction, letter, ending = match[1].lstrip("0"), match[2] or "", match[3] or "", match[4] or ""
    # A letter alone is binary, as for `java -Xmx8G`, MemoryMax=8G, `docker run -m 8g` and `head -c 8G`.
    unit: int = (1000 if ending.lower() == "b" else 1024) ** " kmgt".index(letter.lower() or " ")
    # More digits than any size has are more than Python may convert.
    digits_max = len(str(_BYTES_MAX))
    if len(whole) > digits_max:
        return _BYTES_MAX
    fraction = fraction[:digits_max]
    scale: int = 10 ** len(fraction)
    return int(whole or "0") * unit + int(fraction or "0") * unit // scale


def _check_options(*, delivery: object, recycle: object, verify: object, name: object) -> None:
    """Raise TypeError for an option of a wrong type, ValueError for a name that is no text."""
    for option, value, kinds in (
        ("delivery", delivery, (str, NoneType)),
        ("recycle", recycle, (str,)),
        ("verify", verify, (bool,)),
        ("name", name, (str,)),
    ):
        if not isinstance(value, kinds):
            words = " or ".join("None" if kind is NoneType else f"a {kind.__name__}" for kind in kinds)
            raise TypeError(f"{option} must be {words}, not {type(value).__name__}")
    for option, text in (("delivery", delivery), ("recycle", recycle), ("name", name)):
        if isinstance(text, str) and any("\ud800" <= c <= "\udfff" for c in text):
            raise ValueError(f"{option} must be text without surrogates, which UTF-8 does not have, not {text!r}")


class Heap:
    """An object heap of its own, that compacts itself while it is used.

    The root is a `Dict`; what it reaches lives, and what proxies refer to. Any number of threads may use a heap, and as many heaps may
    be open as the process has room for; 256 of them may have the delivery "sigbus", and those after them have "software", where none
    was asked for. A heap is closed by `close()`, at the end of a `with` block, when it and all its proxies are gone, or when the
    interpreter has ended. After a fork it belongs to the parent alone. Sub-interpreters cannot import it (ImportError).
    """

    __slots__ = ("__weakref__", "_native")

    def __init__(
        self,
        budget: int | str,
        *,
        delivery: Literal["sigbus", "thread", "software", "pause"] | None = None,
        recycle: Literal["keep", "pool", "release"] = "pool",
        verify: bool = False,
        stress: int | str | None = None,
        name: str = "subduct",
    ) -> None:
        """Open a heap.

        `budget` limits its resident bytes, 8 MiB to 1 TiB: an int, or text with a unit ("8GiB" or "8G", "1.5GB"). A sixteenth of it, 4
        to 64 MiB, is kept for compaction. `delivery` says how
        an access to a page that is not ready is caught: by a signal on the thread ("sigbus"), by a thread of the heap ("thread", for
        processes that cannot give up SIGBUS, or come to ignore it), by a look at the page's state before each access ("software", which
        needs no userfaultfd), or not at all, everything moving while threads are stopped ("pause"). None is sigbus where that works
        and fewer than 256 open heaps have it, else software. `recycle` says what becomes of freed memory: "keep" it resident, a "pool" of
        it, or "release" all. `verify` checks the heap with a second tracer in every cycle; `stress` collects each time so many bytes were
        allocated, and moves all it can. `name` shows in messages and in /proc/self/maps; it has at most 249 bytes, none of them NUL.

        Raises TypeError or ValueError for a wrong option, RuntimeError if this heap was opened before, Unsupported where this machine
        cannot do what was asked, KernelError where a system call fails. Warns (RuntimeWarning) of a budget above the memory of the
        machine or the limit of the control group.
        """
        if hasattr(self, "_native"):
            raise RuntimeError("this heap was opened before; make another one")
        budget_bytes = parse_size(budget, "budget", _BUDGETS)
        _check_options(delivery=delivery, recycle=recycle, verify=verify, name=name)
        self._native = _native.Heap(
            budget_bytes,
            delivery=delivery,
            recycle=recycle,
            verify=verify,
            stress=None if stress is None else parse_size(stress, "stress"),
            name=name,
        )
        if budget_bytes > _ALWAYS_FITS_BYTES and (limit := _limits.exceeded(budget_bytes)):
            try:
                warnings.warn(limit, RuntimeWarning, stacklevel=2)
            except RuntimeWarning:
                self.close()
                raise

    @property
    def root(self) -> Dict:
        """The root: a Dict that always lives. O(1)."""
        return self._native.root

    def dict(self, mapping: Mapping[Any, Any] | Iterable[Any] = (), /) -> Dict:
        """Make a Dict, updated from `mapping` as the builtin would be; it lives while something refers to it. O(size)."""
        return self._native.dict(mapping)

    def list(self, iterable: Iterable[Any] = (), /) -> List:
        """Make a List of what `iterable` yields; it lives while something refers to it. O(size)."""
        return self._native.list(iterable)

    def tuple(self, iterable: Iterable[Any] = (), /) -> Tuple:
        """Make a Tuple of what `iterable` yields; it lives while something refers to it. O(size).

        As for the builtin, what an iterator yields is gathered in Python's memory first.
        """
        return self._native.tuple(iterable)

    def collect(self) -> CycleReport:
        """Run a full cycle and wait for its end; other threads go on meanwhile. Returns what it did. O(live data)."""
        return CycleReport(**self._native.collect())

    def stats(self) -> Stats:
        """Return the figures of this moment. O(1)."""
        figures = self._native.stats()
        parts = {"pauses": Pauses(**figures["pauses"]), "fallbacks": Fallbacks(**figures["fallbacks"])}
        return Stats(**(figures | parts))

    def verify(self) -> VerifyReport:
        """Check the whole heap with the second tracer, everybody stopped. O(live data). Raises RuntimeError if it is broken."""
        return VerifyReport(**self._native.verify())

    def close(self) -> None:
        """Give all memory back. Using the heap or its proxies raises HeapClosed from then on; closing again does nothing."""
        self._native.close()

    @property
    def closed(self) -> bool:
        """Whether the heap was closed."""
        return self._native.closed

    def __enter__(self) -> Self:
        """Return the heap."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the heap."""
        self.close()

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied: the copy would be the same heap by another name."""
        raise TypeError(
            "cannot pickle or copy a Heap; to_python() of its root copies what it holds, and another Heap takes that copy"
        )

    def __repr__(self) -> str:
        """Say what the heap holds, or that it is closed."""
        try:
            stats = self._native.stats()
        except _native.HeapClosed:
            return "Heap(closed)"
        mib = 2**20
        return (
            f"Heap({stats['resident_bytes'] / mib:.1f} of {stats['budget_bytes'] / mib:.1f} MiB resident,"
            f" {stats['cycles']} cycles, delivery={stats['delivery']!r})"
        )


# Here and not in the package: nobody has one of these before this module was loaded.
MutableMapping.register(Dict)
MutableSequence.register(List)
Sequence.register(Tuple)

# Where a name is defined is nobody's business: what users see is where to import it from.
Heap.__module__ = "subduct"
