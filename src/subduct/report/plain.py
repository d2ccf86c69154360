"""Plain lines, for pipes, logs, and terminals without rich."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from subduct.report.lines import check_line, churn_line, load_line
from subduct.report.rows import report_rows
from subduct.report.table import aligned

if TYPE_CHECKING:
    from typing import TextIO

    from subduct.report.snapshot import CheckProgress, ChurnProgress, LoadProgress, RunReport

# Progress lines come at most this often: a log of a long run stays readable.
_INTERVAL_S = 5.0


class PlainReporter:
    """Writes one line for each note, one every few seconds for progress, and the final table in aligned columns."""

    def __init__(self, output: TextIO) -> None:
        self._output = output
        self._last = time.monotonic()

    def note(self, text: str) -> None:
        self._last = time.monotonic()
        self._print(text)

    def load(self, progress: LoadProgress) -> None:
        if self._due():
            self._print(f"  {load_line(progress)}")

    def churn(self, progress: ChurnProgress) -> None:
        if self._due():
            self._print(f"  {churn_line(progress)}")

    def check(self, progress: CheckProgress) -> None:
        if self._due():
            self._print(f"  {check_line(progress)}")

    def report(self, report: RunReport) -> None:
        self._print("")
        for line in aligned(report_rows(report)):
            self._print(line)

    def close(self) -> None:
        """There is nothing to put back."""

    def _due(self) -> bool:
        now = time.monotonic()
        if now - self._last < _INTERVAL_S:
            return False
        self._last = now
        return True

    def _print(self, text: str) -> None:
        print(text, file=self._output, flush=True)
