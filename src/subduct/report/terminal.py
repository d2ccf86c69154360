"""A live line and a table on a terminal, drawn with rich."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from subduct.report.lines import check_line, churn_line, load_line
from subduct.report.rows import report_rows

if TYPE_CHECKING:
    from typing import TextIO

    from subduct.report.snapshot import CheckProgress, ChurnProgress, LoadProgress, RunReport

_BAR_WIDTH = 16
# On a narrower terminal the figures need the whole line.
_BAR_MIN_COLUMNS = 110
# The report is never folded to less.
_TABLE_MIN_COLUMNS = 40


class TerminalReporter:
    """Keeps one line at the bottom of the terminal up to date; notes scroll past above it."""

    def __init__(self, output: TextIO) -> None:
        self._console = Console(file=output, highlight=False)
        self._live: Live | None = None

    def note(self, text: str) -> None:
        # A new phase begins: the line of the one before goes.
        self.close()
        self._console.print(Text(text, style="bold"))

    def load(self, progress: LoadProgress) -> None:
        total = progress.expected
        self._draw(load_line(progress), progress.documents / total if total else None)

    def churn(self, progress: ChurnProgress) -> None:
        self._draw(churn_line(progress), progress.seconds / progress.duration if progress.duration else None)

    def check(self, progress: CheckProgress) -> None:
        self._draw(check_line(progress), progress.compared / progress.sample if progress.sample else None)

    def report(self, report: RunReport) -> None:
        self.close()
        table = Table.grid(padding=(0, 2))
        table.add_column(style="cyan", no_wrap=True)
        table.add_column(overflow="fold")
        for label, value in report_rows(report):
            table.add_row(label, Text(value, style=_verdict_style(report) if label == "verified" else ""))
        self._console.print()
        if self._console.width < _TABLE_MIN_COLUMNS:
            # The labels would leave no room for the values; what the terminal breaks at its edge can be read.
            Console(file=self._console.file, highlight=False, width=_TABLE_MIN_COLUMNS).print(table)
        else:
            self._console.print(table)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _draw(self, text: str, share: float | None) -> None:
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        grid = Table.grid(padding=(0, 1))
        # A line that wrapped would leave its first part behind at every refresh.
        line = Text(text, no_wrap=True, overflow="ellipsis")
        if share is not None and self._console.width >= _BAR_MIN_COLUMNS:
            grid.add_row(ProgressBar(total=1.0, completed=min(share, 1.0), width=_BAR_WIDTH), line)
        else:
            grid.add_row(line)
        self._live.update(grid, refresh=True)


def _verdict_style(report: RunReport) -> str:
    return "bold green" if report.verified else "bold red"
