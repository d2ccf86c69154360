"""Measuring what the steps cost on this machine, with mappings of its own that are gone afterwards."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from subduct import KernelError
from subduct.explain.costs import Costs
from subduct.explain.estimate import Estimate, across, line
from subduct.kernel import Feature, MapFlag, MemfdFlag, Prot, RegisterMode, RemapFlag, UffdFlag, calls

if TYPE_CHECKING:
    from collections.abc import Iterator

_PAGE = 4096
_MIB = 1 << 20
_GIB = 1 << 30
_READ_WRITE = Prot.READ | Prot.WRITE
_RETAINING = RemapFlag.MAYMOVE | RemapFlag.FIXED | RemapFlag.DONTUNMAP
# Each group has as many repetitions of everything, one after the other, so that a disturbance hits all alike.
_GROUPS = 5
_REPETITIONS = 6
# Where the machine is slow or busy, fewer repetitions must do, but at least two a group.
_SECONDS = 1.5
_FEWEST = 2 * _GROUPS


class CalibrationError(Exception):
    """This machine cannot be measured; the message says why."""


@dataclass(frozen=True, slots=True)
class _Level:
    """A kind of step: what one spans, how far the new address must be off for it, and how many steps are tried. The largest
    number lifts a step's cost far above the noise; a page in each step is enough for that, so that it takes little memory."""

    name: str
    span: int
    shift: int
    counts: tuple[int, ...]


_LEVELS = (
    _Level("pte", _PAGE, _PAGE, (512, 1024, 4096)),
    _Level("pmd", 2 * _MIB, 2 * _MIB, (32, 128, 256)),
    _Level("pud", _GIB, 0, (4, 32, 128)),
)
_PUD = _LEVELS[-1]
_FILE_BYTES = _PUD.counts[-1] * _GIB
_DISTANCE = _FILE_BYTES + 2 * _GIB


@dataclass(slots=True)
class _Group:
    """The microseconds of one group: of moves by level and steps, the same beside a running thread, of registrations."""

    moves: dict[str, dict[int, list[float]]] = field(default_factory=lambda: {level.name: {} for level in _LEVELS})
    beside: dict[int, list[float]] = field(default_factory=dict)
    register: list[float] = field(default_factory=list)


def calibrate() -> Costs:
    """Measures all costs in one to two seconds. Raises CalibrationError where the kernel does not move shared memory, or memory
    or addresses are short."""
    try:
        with _reservation() as base, _memfd() as fd:
            return _costs(_measure(base, fd))
    except KernelError as error:
        raise CalibrationError(str(error)) from None


def _costs(groups: list[_Group]) -> Costs:
    found = {level.name: across(line(group.moves[level.name]).step for group in groups) for level in _LEVELS}
    found["call"] = across(line(group.moves[_PUD.name]).call for group in groups)
    if all(group.register for group in groups):
        found["register"] = across(min(group.register) for group in groups)
    if all(group.beside for group in groups):
        # Its shortest times are those in which the other thread happened not to run.
        found["shootdown"] = across(
            line(group.beside, median).step - line(group.moves[_PUD.name], median).step for group in groups
        )
    return _told(found)


def _told(found: dict[str, Estimate]) -> Costs:
    clear = {name: each for name, each in found.items() if each.told_apart}
    return Costs(
        **{name: each.middle for name, each in clear.items()},
        source="measured on this machine",
        ranges={name: (each.low, each.high) for name, each in clear.items()},
        unclear=tuple(name for name in found if name not in clear),
    )


def _measure(base: int, fd: int) -> list[_Group]:
    groups = [_Group() for _ in range(_GROUPS)]
    end = time.monotonic() + _SECONDS
    with _userfaultfd() as uffd, _OtherThread() as other:
        for number in range(_GROUPS * _REPETITIONS):
            if number >= _FEWEST and time.monotonic() > end:
                break
            group = groups[number % _GROUPS]
            for level in _LEVELS:
                for steps in level.counts:
                    taken = _move_us(fd, base, base + _DISTANCE + level.shift, steps, level.span)
                    group.moves[level.name].setdefault(steps, []).append(taken)
            if uffd is not None:
                group.register.append(_register_us(uffd, fd, base))
            if other.can_run_beside:
                with other.running():
                    for steps in _PUD.counts:
                        taken = _move_us(fd, base, base + _DISTANCE, steps, _PUD.span)
                        group.beside.setdefault(steps, []).append(taken)
    return groups


def _move_us(fd: int, old: int, new: int, steps: int, span: int) -> float:
    """Microseconds of moving a shared mapping with one page present in each of so many spans."""
    length = steps * span
    calls.mmap(old, length, _READ_WRITE, MapFlag.SHARED | MapFlag.FIXED, fd, 0)
    for offset in range(0, length, span):
        calls.peek(old + offset, 1)
    begin = time.perf_counter_ns()
    calls.mremap(old, length, length, _RETAINING, new)
    taken = (time.perf_counter_ns() - begin) / 1e3
    for address in (old, new):
        _reserve(address, length)
    return taken


def _register_us(uffd: int, fd: int, address: int) -> float:
    """Microseconds of one UFFDIO_REGISTER of a GiB."""
    calls.mmap(address, _GIB, _READ_WRITE, MapFlag.SHARED | MapFlag.FIXED, fd, 0)
    begin = time.perf_counter_ns()
    calls.uffd_register(uffd, address, _GIB, RegisterMode.MISSING | RegisterMode.MINOR)
    taken = (time.perf_counter_ns() - begin) / 1e3
    _reserve(address, _GIB)
    return taken


def _reserve(address: int, length: int) -> None:
    flags = MapFlag.PRIVATE | MapFlag.ANONYMOUS | MapFlag.FIXED | MapFlag.NORESERVE
    calls.mmap(address, length, Prot.NONE, flags)


@contextmanager
def _reservation() -> Iterator[int]:
    """Addresses of our own, from a GiB boundary on."""
    flags = MapFlag.PRIVATE | MapFlag.ANONYMOUS | MapFlag.NORESERVE
    length = 2 * _DISTANCE + _GIB
    address = calls.mmap(0, length, Prot.NONE, flags)
    try:
        yield -(-address // _GIB) * _GIB
    finally:
        calls.munmap(address, length)


@contextmanager
def _memfd() -> Iterator[int]:
    fd = calls.memfd_create("subduct-calibration", MemfdFlag.CLOEXEC)
    try:
        calls.ftruncate(fd, _FILE_BYTES)
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _userfaultfd() -> Iterator[int | None]:
    """A descriptor for registering shared memory; None where that is not allowed, or not known."""
    try:
        uffd = calls.userfaultfd(UffdFlag.USER_MODE_ONLY | UffdFlag.CLOEXEC | UffdFlag.NONBLOCK)
    except KernelError:
        yield None
        return
    try:
        calls.uffd_api(uffd, Feature.SIGBUS | Feature.MINOR_SHMEM)
    except KernelError:
        os.close(uffd)
        yield None
        return
    try:
        yield uffd
    finally:
        os.close(uffd)


class _OtherThread:
    """A thread that computes now and then, outside the interpreter's lock, so that it runs on a processor of its own."""

    def __init__(self) -> None:
        self.can_run_beside = len(os.sched_getaffinity(0)) > 1
        self._data = bytes(_MIB)
        self._wanted, self._computing = threading.Event(), threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._compute, name="subduct-calibration", daemon=True)

    def __enter__(self) -> _OtherThread:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._wanted.set()
        self._thread.join()

    @contextmanager
    def running(self) -> Iterator[None]:
        """While it is entered, the thread computes."""
        self._wanted.set()
        self._computing.wait()
        try:
            yield
        finally:
            self._wanted.clear()
            self._computing.clear()

    def _compute(self) -> None:
        while self._wanted.wait() and not self._ended:
            self._computing.set()
            hashlib.sha256(self._data).digest()
