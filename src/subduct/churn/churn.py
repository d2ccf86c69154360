"""A run of churn: some workers, and a thread that makes cycles follow one another."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from subduct.churn.loop import Loop, StopFlag
from subduct.churn.turns import Turns
from subduct.churn.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from subduct import Heap
    from subduct.churn.store import DocumentStore

# Without a pause between cycles the mutators would run in one for ever, which is not what a service sees.
_CYCLE_PAUSE_S = 0.05

# Operations at a time, where there are more threads than that and no more processors. What has begun is completed before a churn
# ends, and a thread that wants to end it waits for the GIL as long as the others want it, too.
_AT_ONCE = 16


class ThreadsError(Exception):
    """Not as many threads can be had as a churn was to use. The text says how many there are, and what to do."""


class Churn:
    """Threads that churn a store while cycles run. `start`, then `stop`; both once."""

    def __init__(self, store: DocumentStore, threads: int, seed: int) -> None:
        self._stop = StopFlag()
        count = len(store.source)
        turns = Turns(max(_AT_ONCE, os.cpu_count() or 1))
        self._workers = [
            Worker(store, range(first, count, threads), seed * threads + first, turns, self._stop)
            for first in range(threads)
        ]
        self._loops: list[Loop] = [*self._workers, _Cycles(store.heap, self._stop)]

    def start(self) -> None:
        """Starts all threads. Raises ThreadsError where that cannot be; none is left then."""
        for number, loop in enumerate(self._loops):
            try:
                loop.start()
            except RuntimeError as error:
                self.stop()
                raise ThreadsError(
                    f"the process may have no more than {number} threads for the churn: {error}; use fewer (--threads), or "
                    "raise the limit on threads (ulimit -u, pids.max of the control group) or on address space (ulimit -v)"
                ) from None
        self._stop.begun.set()

    @property
    def running(self) -> bool:
        """False once a thread has failed, or `stop` was called."""
        return not self._stop.is_set

    @property
    def operations(self) -> int:
        """Operations that all threads have completed."""
        return sum(sum(worker.counts.values()) for worker in self._workers)

    @property
    def operations_by_name(self) -> Mapping[str, int]:
        """Operations that all threads have completed, for each kind."""
        total: dict[str, int] = {}
        for worker in self._workers:
            for name, count in worker.counts.items():
                total[name] = total.get(name, 0) + count
        return total

    def stop(self) -> None:
        """Ends all threads, each after what it is doing; raises the error of the first that failed."""
        self._stop.is_set = True
        self._stop.begun.set()
        for loop in self._loops:
            loop.join()
        for loop in self._loops:
            if loop.error is not None:
                raise loop.error

    def restore(self) -> None:
        """Inserts the documents that were deleted when the churn stopped."""
        for worker in self._workers:
            worker.restore()


class _Cycles(Loop):
    """Runs one full cycle after the other."""

    def __init__(self, heap: Heap, stop: StopFlag) -> None:
        super().__init__("churn-cycles", stop)
        self._heap = heap

    def step(self) -> None:
        self._heap.collect()
        time.sleep(_CYCLE_PAUSE_S)
