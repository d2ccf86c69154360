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

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

_MISSED = 1


def bench(arguments: argparse.Namespace) -> int:
    """Runs the command; returns 0, or 1 when a target was missed and `--check` was given."""
    result = _saved(arguments) if arguments.saved else _measured(arguments)
    if arguments.save:
        _write(arguments.save, result.json() + "\n")
    if getattr(arguments, "plot", None):
        try:
            _write(arguments.plot, pause_plot(result))
        except ValueError as error:
            raise RefusedError(f"--plot: {error}") from None
    print(result.json() if arguments.json else "\n".join(result.lines()))
    return _MISSED if arguments.check and result.missed else 0


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


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise RefusedError(str(error)) from None
