"""Choosing how a run is reported."""

from __future__ import annotations

import importlib.util
import json
import os
from typing import TYPE_CHECKING, Protocol

from subduct.report.json import report_object
from subduct.report.plain import PlainReporter

if TYPE_CHECKING:
    from typing import TextIO

    from subduct.report.snapshot import CheckProgress, ChurnProgress, LoadProgress, RunReport


class Reporter(Protocol):
    """Shows a run as it goes, and its end. The progress methods may be called as often as one likes."""

    def note(self, text: str) -> None:
        """Says what happens next, or what a person should know."""

    def load(self, progress: LoadProgress) -> None:
        """Shows loading so far."""

    def churn(self, progress: ChurnProgress) -> None:
        """Shows churning so far."""

    def check(self, progress: CheckProgress) -> None:
        """Shows comparing so far."""

    def report(self, report: RunReport) -> None:
        """Shows the final report."""

    def close(self) -> None:
        """Leaves the terminal as it was. May be called again."""


class JsonReporter:
    """The final report as one JSON object; progress goes to another reporter, or nowhere."""

    def __init__(self, output: TextIO, progress: Reporter | None) -> None:
        self._output = output
        self._progress = progress

    def note(self, text: str) -> None:
        if self._progress:
            self._progress.note(text)

    def load(self, progress: LoadProgress) -> None:
        if self._progress:
            self._progress.load(progress)

    def churn(self, progress: ChurnProgress) -> None:
        if self._progress:
            self._progress.churn(progress)

    def check(self, progress: CheckProgress) -> None:
        if self._progress:
            self._progress.check(progress)

    def report(self, report: RunReport) -> None:
        self.close()
        print(json.dumps(report_object(report), indent=2), file=self._output, flush=True)

    def close(self) -> None:
        if self._progress:
            self._progress.close()


def make_reporter(output: TextIO, errors: TextIO, *, as_json: bool) -> Reporter:
    """The reporter for these streams.

    A live line where `output` is a terminal and rich can be imported (the extra `subduct[cli]`), plain lines otherwise.
    As JSON, `output` gets nothing but the object, and progress is shown on `errors` if that is a terminal.
    """
    if not as_json:
        return _progress_reporter(output)
    return JsonReporter(output, _progress_reporter(errors) if errors.isatty() else None)


def _progress_reporter(stream: TextIO) -> Reporter:
    if can_draw(stream):
        from subduct.report.terminal import TerminalReporter

        return TerminalReporter(stream)
    return PlainReporter(stream)


def can_draw(stream: TextIO) -> bool:
    """Whether rich is there and the stream is a terminal on which lines can be drawn again."""
    dumb = os.environ.get("TERM", "dumb") in ("dumb", "unknown", "")
    return stream.isatty() and not dumb and importlib.util.find_spec("rich") is not None
