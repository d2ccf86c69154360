"""Measuring what the steps cost on this machine, with mappings of its own that are gone afterwards."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from contextlib import contextmanager
from statistics import median
from typing import TYPE_CHECKING

from subduct import KernelError
from subduct.explain.costs import Costs
from subduct.kernel import Feature, MapFlag, MemfdFlag, Prot, RegisterMode, RemapFlag, UffdFlag, calls

if TYPE_CHECKING:
    from collections.abc import Iterator

_PAGE = 4096
_MIB = 1 << 20
_PMD = 2 * _MIB
_GIB = 1 << 30
_ROUNDS = 7
_READ_WRITE = Prot.READ | Prot.WRITE
# What each level is measured with: enough steps to tell their cost from the call's, and little memory.
_PTE_BYTES = 32 * _MIB
_PMD_BYTES = _GIB
_PUD_BYTES = 8 * _GIB
_RESERVED_BYTES = 2 * (_PUD_BYTES + 2 * _GIB)


class CalibrationError(Exception):
    """This machine cannot be measured; the message says why."""


def calibrate() -> Costs:
    """Measures all costs: medians of seven moves each, in about a second. Raises CalibrationError where the kernel does not
    move shared memory, or memory is short."""
    try:
        with _reservation() as base, _memfd() as fd:
            return _measure(base, fd)
    except KernelError as error:
        raise CalibrationError(str(error)) from None


def _measure(base: int, fd: int) -> Costs:
    far = base + _RESERVED_BYTES // 2
    one = _moves(fd, base, far, _PAGE, every=_PAGE)
    pte = _moves(fd, base, far + _PAGE, _PTE_BYTES, every=_PAGE)
    pmd = _moves(fd, base, far + _PMD, _PMD_BYTES, every=_PMD)
    pud = _moves(fd, base, far, _PUD_BYTES, every=_GIB)
    with _busy_thread():
        beside = _moves(fd, base, far, _PUD_BYTES, every=_GIB)
    steps = _PUD_BYTES // _GIB
    return Costs(
        call=one,
        pte=max(0.0, pte - one) / (_PTE_BYTES // _PAGE),
        pmd=max(0.0, pmd - one) / (_PMD_BYTES // _PMD),
        pud=max(0.0, pud - one) / steps,
        register=_register_us(fd, base),
        shootdown=max(0.0, beside - pud) / steps,
        source="measured on this machine",
    )


def _moves(fd: int, old: int, new: int, length: int, *, every: int) -> float:
    """Microseconds of moving a shared mapping with one page present in each `every` bytes: the median."""
    times = []
    flags = RemapFlag.MAYMOVE | RemapFlag.FIXED | RemapFlag.DONTUNMAP
    for _ in range(_ROUNDS):
        calls.mmap(old, length, _READ_WRITE, MapFlag.SHARED | MapFlag.FIXED, fd, 0)
        for offset in range(0, length, every):
            calls.peek(old + offset, 1)
        begin = time.perf_counter_ns()
        calls.mremap(old, length, length, flags, new)
        times.append((time.perf_counter_ns() - begin) / 1e3)
        for address in (old, new):
            _reserve(address, length)
    return median(times)


def _register_us(fd: int, address: int) -> float | None:
    """Microseconds of one UFFDIO_REGISTER; None where userfaultfd is not allowed."""
    try:
        uffd = calls.userfaultfd(UffdFlag.USER_MODE_ONLY | UffdFlag.CLOEXEC | UffdFlag.NONBLOCK)
    except KernelError:
        return None
    times = []
    try:
        calls.uffd_api(uffd, Feature.SIGBUS)
        for _ in range(_ROUNDS):
            calls.mmap(address, _GIB, _READ_WRITE, MapFlag.SHARED | MapFlag.FIXED, fd, 0)
            begin = time.perf_counter_ns()
            calls.uffd_register(uffd, address, _GIB, RegisterMode.MISSING | RegisterMode.MINOR)
            times.append((time.perf_counter_ns() - begin) / 1e3)
            _reserve(address, _GIB)
    except KernelError:
        return None
    finally:
        os.close(uffd)
    return median(times)


def _reserve(address: int, length: int) -> None:
    flags = MapFlag.PRIVATE | MapFlag.ANONYMOUS | MapFlag.FIXED | MapFlag.NORESERVE
    calls.mmap(address, length, Prot.NONE, flags)


@contextmanager
def _reservation() -> Iterator[int]:
    """Addresses of our own, from a GiB boundary on."""
    flags = MapFlag.PRIVATE | MapFlag.ANONYMOUS | MapFlag.NORESERVE
    address = calls.mmap(0, _RESERVED_BYTES + _GIB, Prot.NONE, flags)
    try:
        yield -(-address // _GIB) * _GIB
    finally:
        calls.munmap(address, _RESERVED_BYTES + _GIB)


@contextmanager
def _memfd() -> Iterator[int]:
    fd = calls.memfd_create("subduct-calibration", MemfdFlag.CLOEXEC)
    try:
        calls.ftruncate(fd, _PUD_BYTES)
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _busy_thread() -> Iterator[None]:
    """Another thread that computes outside the interpreter's lock, so that it runs on a processor of its own."""
    data = bytes(4 * _MIB)
    stop = threading.Event()

    def compute() -> None:
        while not stop.is_set():
            hashlib.sha256(data).digest()

    thread = threading.Thread(target=compute, name="subduct-calibration", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
