"""`subduct bench`: measure, show, save, plot, judge."""

from __future__ import annotations

import sys
import time
from subprocess import CalledProcessError
from typing import TYPE_CHECKING

from subduct import HeapFull
from subduct.bench.machine import this_machine
from subduct.bench.plot import pause_plot
from subduct.bench.result import Result, read_result
from subduct.cli.refused import RefusedError
from subduct.cli.saving import check_writable, save

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

_MISSED = 1


def bench(arguments: argparse.Namespace) -> int:
    """Runs the command; returns 0, or 1 when a target was missed and `--check` was given."""
    plot: Path | None = getattr(arguments, "plot", None)
    for path in filter(None, (arguments.save, plot)):
        check_writable(path)
    result = _saved(arguments) if arguments.saved else _measured(arguments)
    try:
        # First of all: what took long to measure is lost otherwise, where a file cannot be written.
        print(result.json() if arguments.json else "\n".join(result.lines()), flush=True)
    finally:
        # Also where nobody reads what is printed.
        _save(arguments.save, plot, result)
    return _MISSED if arguments.check and result.missed else 0


def _save(path: Path | None, plot: Path | None, result: Result) -> None:
    if path is not None:
        save(path, result.json() + "\n")
    if plot is not None:
        try:
            save(plot, pause_plot(result))
        except ValueError as error:
            raise RefusedError(f"--plot: {error}") from None


def _measured(arguments: argparse.Namespace) -> Result:
    machine, began = this_machine(), time.monotonic()

    def progress(text: str) -> None:
        if sys.stderr.isatty():
            print(f"{time.monotonic() - began:6.1f} s  {text}", file=sys.stderr, flush=True)

    try:
        rows = arguments.benchmark.run(arguments, progress)
    except HeapFull as error:
        raise RefusedError(f"--sizes: too large for this machine: {error}", code=_MISSED) from None
    except CalledProcessError as error:
        raise RefusedError(f"a process of the measurement ended with code {error.returncode}", code=_MISSED) from None
    return Result(arguments.benchmark, machine, time.monotonic() - began, rows)


def _saved(arguments: argparse.Namespace) -> Result:
    try:
        return read_result(arguments.saved, arguments.benchmark.name)
    except (OSError, ValueError) as error:
        raise RefusedError(f"--saved: {error}") from None
