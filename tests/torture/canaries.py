"""Torments that must fail: what proves that the others could."""

import mmap
import os
import subprocess
import sys
import threading
import time
from collections.abc import Generator

from subduct import Heap
from torture.setting import Setting, check
from torture.writer import churning, writers

# A round of a leak takes so long, so that what leaks stays little.
ROUND_S = 0.1
PAGES = 20
PRIVATE_BYTES = 10 << 20
RESERVED_BYTES = 1 << 30

_KEPT: list[object] = []


def damage(setting: Setting) -> Generator[None]:
    """A document changes behind its owner's back."""
    with setting.heap() as heap:
        crew = writers(setting, heap, 2)
        while True:
            with churning(setting, crew):
                heap.collect()
                crew[0].own["list"].append("nobody's")
            check(heap)
            yield


def leak_descriptor(setting: Setting) -> Generator[None]:
    """Each round leaves a descriptor open."""
    while True:
        os.dup(2)
        yield from _round(setting)


def leak_thread(setting: Setting) -> Generator[None]:
    """Each round leaves a thread behind."""
    while True:
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        yield from _round(setting)


def leak_mapping(setting: Setting) -> Generator[None]:
    """Each round leaves small mappings behind."""
    while True:
        _KEPT.extend(mmap.mmap(-1, mmap.PAGESIZE) for _ in range(PAGES))
        yield from _round(setting)


def leak_memory(setting: Setting) -> Generator[None]:
    """Each round leaves memory behind."""
    while True:
        _KEPT.append(b"x" * PRIVATE_BYTES)
        yield from _round(setting)


def leak_reservation(setting: Setting) -> Generator[None]:
    """Once, address space is not given back."""
    _KEPT.append(mmap.mmap(-1, RESERVED_BYTES, flags=mmap.MAP_PRIVATE, prot=0))
    while True:
        yield from _round(setting)


def left_heap(setting: Setting) -> Generator[None]:
    """A heap is not closed when all is over."""
    _KEPT.append(Heap("16MiB", delivery=setting.delivery))
    while True:
        yield from _round(setting)


def left_process(setting: Setting) -> Generator[None]:
    """A child is alive when all is over."""
    _KEPT.append(subprocess.Popen(["sleep", "600"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL))
    while True:
        yield from _round(setting)


def complaint(setting: Setting) -> Generator[None]:
    """Something is said that nobody raises."""
    print("Exception ignored", file=sys.stderr)
    while True:
        yield from _round(setting)


def crash(_setting: Setting) -> Generator[None]:
    """The process ends in the middle of a round."""
    os.abort()
    yield


def hang(_setting: Setting) -> Generator[None]:
    """A round does not end."""
    while True:
        time.sleep(1)
    yield


def idle(_setting: Setting) -> Generator[None]:
    """Rounds in which nothing is done."""
    while True:
        time.sleep(ROUND_S)
        yield


def _round(setting: Setting) -> Generator[None]:
    setting.tally.operations += 1
    time.sleep(ROUND_S)
    yield
