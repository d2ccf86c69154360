"""Lets so many threads work at a time, one after the other."""

from __future__ import annotations

import threading
from collections import deque


class Turns:
    """A semaphore that is handed on in the order in which threads came.

    `threading.Semaphore` would let the thread in again that has just left, while the others wait for the GIL.
    """

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._waiting: deque[threading.Lock] = deque()
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            gate = threading.Lock()
            gate.acquire()
            self._waiting.append(gate)
        gate.acquire()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._free += 1
