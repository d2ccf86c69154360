"""Threads that churn one heap while every cycle moves what they use."""

from collections.abc import Generator

from torture.setting import Setting, check
from torture.writer import churning, writers

ROUND_CYCLES = 8


def torment(setting: Setting) -> Generator[None]:
    with setting.heap() as heap:
        crew = writers(setting, heap, 4)
        while True:
            with churning(setting, crew):
                for _ in range(ROUND_CYCLES):
                    heap.collect()
            check(heap)
            yield
