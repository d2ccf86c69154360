"""Ctrl-C and SIGTERM as a flag that a command looks at where it can end cleanly."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class InterruptedRunError(Exception):
    """The command was asked to end."""


class Interrupt:
    """While it is entered, the first SIGINT or SIGTERM is remembered and the second ends the process at once."""

    def __init__(self) -> None:
        self._signal: int | None = None
        self._previous: dict[signal.Signals, signal.Handlers | object] = {}

    def __enter__(self) -> Interrupt:
        for number in _SIGNALS:
            self._previous[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            # None stands for a handler that Python did not install and cannot put back.
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)  # type: ignore[arg-type]

    @property
    def requested(self) -> bool:
        """Whether a signal came."""
        return self._signal is not None

    @property
    def exit_code(self) -> int:
        """128 plus the signal's number, as a shell reports it."""
        return 128 + (self._signal or 0)

    def check(self) -> None:
        """Raises InterruptedRunError once a signal came."""
        if self._signal is not None:
            raise InterruptedRunError

    def _remember(self, number: int, _: FrameType | None) -> None:
        if self._signal is not None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self._signal = number
