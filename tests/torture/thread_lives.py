"""Threads that come, use the heap for a moment and end, while it flips; some leave proxies to be dropped by their end."""

import threading
from collections.abc import Generator

from harness.heaps import document
from subduct import Heap
from torture.setting import Setting, check
from torture.writer import churning, writers

AT_ONCE = 4
TURNS = 10

_kept = threading.local()


class Life:
    """One short-lived thread: writes a document, reads it back, and ends."""

    def __init__(self, heap: Heap, number: int) -> None:
        self.heap, self.number = heap, number
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._use()
        except BaseException as error:
            self._error = error

    def _use(self) -> None:
        mine = self.heap.dict()
        mine[self.number] = document(self.number)
        assert mine[self.number].to_python() == document(self.number), f"document {self.number} is another"
        if self.number % 2:
            # Dropped when the thread is past its last operation.
            _kept.proxies = [mine, mine[self.number]]

    def finish(self) -> None:
        """Waits for its end; raises what it raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error


def torment(setting: Setting) -> Generator[None]:
    with setting.heap() as heap:
        crew = writers(setting, heap, 1)
        while True:
            handles = heap.stats().handles
            with churning(setting, crew, heap.collect):
                for _ in range(TURNS):
                    for life in [Life(heap, setting.rng.randrange(1 << 30)) for _ in range(AT_ONCE)]:
                        life.finish()
            setting.tally.operations += TURNS * AT_ONCE
            check(heap)
            assert heap.stats().handles <= handles + len(crew), "ended threads keep handles"
            yield
