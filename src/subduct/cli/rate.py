"""How fast a counter grows."""

from __future__ import annotations

from collections import deque

# Long enough that a display is calm, short enough that it is of now.
_WINDOW_S = 2.0


class Rate:
    """The growth of a counter for each second, over the last two."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, int]] = deque([(0.0, 0)])

    def add(self, time_s: float, total: int) -> None:
        """Takes in the counter at a time; times must grow."""
        self._points.append((time_s, total))
        while len(self._points) > 2 and time_s - self._points[1][0] >= _WINDOW_S:
            self._points.popleft()

    @property
    def total(self) -> int:
        """The counter as it was added last."""
        return self._points[-1][1]

    @property
    def per_second(self) -> float:
        """Growth for each second."""
        (begin_s, begin), (end_s, end) = self._points[0], self._points[-1]
        return (end - begin) / (end_s - begin_s) if end_s > begin_s else 0.0
