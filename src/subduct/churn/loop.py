"""A thread that repeats one step."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod


class StopFlag:
    """Tells loops to come to an end."""

    __slots__ = ("is_set",)

    def __init__(self) -> None:
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
        """Starts the thread."""
        self._thread.start()

    def join(self) -> None:
        """Waits until the thread has ended."""
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stop.is_set:
                self.step()
        except BaseException as error:
            self.error = error
            self._stop.is_set = True
