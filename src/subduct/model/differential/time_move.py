"""How long the running kernel takes to move a GiB of page tables."""

from __future__ import annotations

import time

from subduct import _native
from subduct.model.uapi import PMD, MapFlag, Prot, RegisterMode, RemapFlag

_ROUNDS = 5


def time_move(fd: int, uffd: int | None, old: int, new: int, length: int) -> int:
    """Nanoseconds of moving a shared mapping with one page present in each table of 2 MiB, registered with a userfaultfd if one
    is given: the shortest of five. Raises KernelError."""
    shortest = None
    for _ in range(_ROUNDS):
        _native.sys_mmap(old, length, Prot.READ | Prot.WRITE, MapFlag.SHARED | MapFlag.FIXED, fd, 0)
        for offset in range(0, length, PMD):
            _native.sys_peek(old + offset, 1)
        if uffd is not None:
            _native.sys_uffd_register(uffd, old, length, RegisterMode.MISSING)
        begin = time.perf_counter_ns()
        _native.sys_mremap(old, length, length, RemapFlag.MAYMOVE | RemapFlag.FIXED, new)
        taken = time.perf_counter_ns() - begin
        _native.sys_munmap(new, length)
        shortest = taken if shortest is None else min(taken, shortest)
    assert shortest is not None
    return shortest
