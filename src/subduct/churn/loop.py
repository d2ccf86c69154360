"""A thread that repeats one step."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod


class StopFlag:
    """Tells loops to begin, and to come to an end."""

    __slots__ = ("begun", "is_set")

    def __init__(self) -> None:
        #: Set once all threads are there. A thread that is started among others that compute waits for the GIL after each of
        #: them: to start hundreds that way takes minutes.
        self.begun = threading.Event()
        self.is_set = False


class Loop(ABC):
    """Repeats `step` on a thread of its own until the flag is set. A step that raises ends all loops with that flag."""

    def __init__(self, name: str, stop: StopFlag) -> None:
        self._stop = stop
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        #: What a step raised.
        self.error: BaseException | None = None

    @abstractmethod
    def step(self) -> None:
        """Does the work once."""

    def start(self) -> None:
        """Starts the thread, which waits until all may begin. Raises RuntimeError where the process may have no more of them."""
        self._thread.start()

    def join(self) -> None:
        """Waits until the thread has ended, if it was started."""
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            self._stop.begun.wait()
            while not self._stop.is_set:
                self.step()
        except BaseException as error:
            self.error = error
            self._stop.is_set = True
