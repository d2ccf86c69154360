"""A heap that is made, filled, thinned out and compacted, as proof of what the doctor says of heaps."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import resource
import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from subduct import CycleReport, Dict, Heap, KernelError, Unsupported
from subduct.cli.untried import untried, untried_heap
from subduct.kernel import PAGE_SIZE, Mapping
from subduct.selftest import child
from subduct.selftest.child import NoProcessError

if TYPE_CHECKING:
    from collections.abc import Callable

Delivery: TypeAlias = Literal["sigbus", "thread", "software", "pause"]

DELIVERIES: Final[tuple[Delivery, ...]] = ("sigbus", "thread", "software", "pause")

_BUDGET = "16MiB"
GIB: Final = 1 << 30
_RECORDS = 1_600
_LENGTH = 60
# Of so many records one is kept: sparse regions are what a cycle empties.
_KEPT = 4
_ROUNDS = 2
_TIMEOUT_S = 120.0
_STDERR_BYTES = 1 << 16
# From linux/mman.h, the same on x86-64, arm64 and riscv.
_MCL_FUTURE, _MCL_ONFAULT = 2, 4
_DIED = "this is a fault of subduct's own: report it, with the output of `subduct doctor --json`."
_PANIC = re.compile(r"panicked at [^\n]*\n([^\n]+)")


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of one heap. Sizes in bytes."""

    asked: str | None
    """The delivery that was asked for; None for what heaps use unless told otherwise."""
    delivery: str | None
    """The one that the heap had; None where there was no heap."""
    moved_bytes: int
    pause_us: float
    faults: int
    """Accesses to pages that were not ready, while the objects moved."""
    fallback: str | None
    """Why everything moved in the pause, where it should have moved under running threads."""
    problem: str | None
    """What failed, in words; None where objects moved, and every one was found again."""
    remedy: str = ""
    untried: bool = False
    """Whether a limit of this process kept it from being tried: then nothing is known of heaps."""
    window_unit_bytes: int = GIB
    """What the heap's windows were multiples of."""
    read_beside: bool = True
    """Whether a thread read the heap while the objects moved, unless there was none to be had."""

    @property
    def worked(self) -> bool:
        """Whether objects moved and were verified."""
        return self.problem is None

    @property
    def as_meant(self) -> bool:
        """Whether they also moved as the delivery is meant to."""
        return self.worked and self.fallback is None


def trials() -> list[Trial]:
    """Tries what heaps use unless told otherwise, then the other deliveries: a heap each, in a process of its own.

    Takes a second or so. The calling process must have no other thread: it forks.
    """
    first = _try(None)
    others = [_try(delivery) for delivery in DELIVERIES if delivery != first.delivery]
    return [first, *others]


def _try(delivery: Delivery | None) -> Trial:
    try:
        return _try_apart(delivery)
    except OSError as error:
        why = untried(error.errno, starts=True)
        problem = (
            why.problem if why else f"could not be tried: this process cannot start another one ({error.strerror})"
        )
        remedy = why.remedy if why else f"{NoProcessError(error.errno, error.strerror).remedy}."
        return Trial(delivery, None, 0, 0.0, 0, None, problem, remedy, untried=True)


def _try_apart(delivery: Delivery | None) -> Trial:
    lock = _future_lock()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def body() -> dict[str, Any]:
        # Panics of the core and tracebacks are for the report, not for the terminal.
        os.dup2(writer, 2)
        # A heap of a program's own has as many descriptors for itself as this leaves.
        for descriptor in (reader, writer):
            if descriptor > 2:
                os.close(descriptor)
        return _attempt(delivery, lock)

    try:
        try:
            found = child.run(body, _TIMEOUT_S)
        finally:
            os.close(writer)
        with os.fdopen(reader, "rb", closefd=False) as said:
            complaint = said.read(_STDERR_BYTES).decode(errors="replace")
    finally:
        os.close(reader)
    if isinstance(found, str):
        return Trial(delivery, None, 0, 0.0, 0, None, f"the process that tried it {found}{_why(complaint)}", _DIED)
    return Trial(delivery, **found)


def _future_lock() -> int:
    """The flags by which mlockall(2) locks what this process will map, 0 without; a forked child does not inherit them."""
    try:
        with Mapping.anonymous(PAGE_SIZE) as page:
            flags = page.smaps()[0].vm_flags
    except (OSError, IndexError):
        return 0
    if "lo" not in flags:
        return 0
    return _MCL_FUTURE | (_MCL_ONFAULT if "lf" in flags else 0)


def _why(complaint: str) -> str:
    lines = [line for line in complaint.splitlines() if line.strip()]
    panic = _PANIC.search(complaint)
    last = panic[1] if panic else lines[-1] if lines else ""
    return f": {last.strip()}" if last else ""


def _attempt(delivery: Delivery | None, lock: int) -> dict[str, Any]:
    """Runs in the child."""
    if lock and ctypes.CDLL(None, use_errno=True).mlockall(lock) != 0:
        return _failed(f"mlockall failed: {os.strerror(ctypes.get_errno())}", "")
    try:
        return _move(delivery)
    except KernelError as error:
        if why := untried(error.errno):
            return _failed(why.problem, why.remedy, untried=True)
        problem = str(error.strerror).removesuffix(f"; {error.remedy}")
        if error.errno == errno.ENOMEM and resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
            return _failed(
                problem,
                "raise ulimit -v: a heap takes addresses for twenty times its budget, and for the stacks of its threads.",
            )
        return _failed(problem, error.remedy)
    except Unsupported as error:
        if why := untried_heap(str(error)):
            return _failed(why.problem, why.remedy, untried=True)
        problem, _, remedy = str(error).partition("; ")
        return _failed(problem, f"{remedy}." if remedy else "")
    except Exception as error:
        return _failed(f"{type(error).__name__}: {error}", "")


def _failed(problem: str, remedy: str, *, untried: bool = False) -> dict[str, Any]:
    nothing = {"delivery": None, "moved_bytes": 0, "pause_us": 0.0, "faults": 0, "fallback": None}
    return nothing | {"problem": problem, "remedy": remedy, "untried": untried}


def _move(delivery: Delivery | None) -> dict[str, Any]:
    kept = range(0, _RECORDS, _KEPT)
    wrong = 0
    with Heap(_BUDGET, delivery=delivery, name="subduct-doctor") as heap:
        # Again, because a move that leaves something behind is found out by the next one.
        for _ in range(_ROUNDS):
            heap.root["records"] = {number: _record(number) for number in range(_RECORDS)}
            records = heap.root["records"]
            for number in range(_RECORDS):
                if number % _KEPT:
                    del records[number]
            cycle, misread, read_beside = _collect_beside(heap, partial(_count_wrong, records, kept))
            wrong += misread
            heap.verify()
        stats = heap.stats()
    problem = None if stats.bytes_evacuated else "no cycle moved anything"
    if wrong:
        problem = f"{wrong} reads did not find what had been stored"
    return {
        "delivery": cycle.delivery,
        "moved_bytes": stats.bytes_evacuated,
        "window_unit_bytes": stats.window_unit_bytes,
        "pause_us": cycle.pause_us,
        "faults": cycle.faults,
        "fallback": cycle.fallback,
        "problem": problem,
        "read_beside": read_beside,
    }


def _count_wrong(records: Dict, kept: range) -> int:
    return sum(records[number] != _record(number) for number in kept)


def _record(number: int) -> list[int | str]:
    return [str(number), *range(number, number + _LENGTH)]


def _collect_beside(heap: Heap, count_wrong: Callable[[], int]) -> tuple[CycleReport, int, bool]:
    """A full cycle on a thread, while this one reads: what the cycle did, how much was read wrong, then and afterwards, and whether
    there was such a thread."""
    ended: list[CycleReport | Exception] = []

    def collect() -> None:
        try:
            ended.append(heap.collect())
        except Exception as error:
            ended.append(error)

    thread = threading.Thread(target=collect)
    try:
        thread.start()
    except RuntimeError:
        # The heap has the threads that it needs; that there is none for this trial is no fault of its.
        return heap.collect(), count_wrong(), False
    wrong = 0
    while thread.is_alive():
        wrong += count_wrong()
    wrong += count_wrong()
    thread.join()
    (end,) = ended
    if isinstance(end, Exception):
        raise end
    return end, wrong, True
