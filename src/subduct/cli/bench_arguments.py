"""What `subduct bench` understands."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from subduct.bench.benchmark import positive
from subduct.bench.suite import BENCHMARKS
from subduct.cli.bench import bench

if TYPE_CHECKING:
    from collections.abc import Callable

    from subduct.bench.benchmark import Benchmark

_HELP = """\
Measure what the heap costs, side by side with what the kernel charges for the
same work and with what else could be done. Every ratio is of two things
measured in this run; targets are printed beside what was measured.
"""

_EPILOG = """\
exit codes:
  0    measured; with --check: no target was missed
  1    with --check: a target was missed; or the machine could not do it
  2    wrong usage, or the output cannot be written
  130  Ctrl-C
"""


def add_bench(commands: Any, add: Callable[[Any, str, str, str, str], argparse.ArgumentParser]) -> None:
    """Adds the command, with a subcommand for each benchmark; `add` makes a command's parser."""
    command = add(commands, "bench", "measure pauses, faults, moves, memory and access", _HELP, _EPILOG)
    command.set_defaults(command=bench)
    parsers = command.add_subparsers(title="benchmarks", metavar="BENCHMARK", required=True)
    for benchmark in BENCHMARKS.values():
        parser = parsers.add_parser(benchmark.name, help=benchmark.summary, description=f"{benchmark.summary}.")
        parser.set_defaults(benchmark=benchmark)
        _add_options(parser, benchmark)


def _add_options(parser: Any, benchmark: Benchmark) -> None:
    sizes = benchmark.sizes
    parser.add_argument(
        "--sizes",
        nargs="+",
        type=sizes.parse,
        default=list(sizes.default),
        metavar="SIZE",
        help=f"{sizes.of}, " + ("such as 64MiB 8GiB" if sizes.unit == "bytes" else "such as 50000 4M"),
    )
    parser.add_argument(
        "--repetitions",
        type=positive,
        default=benchmark.repetitions,
        metavar="N",
        help=f"repetitions that the spread is taken over (default: {benchmark.repetitions})",
    )
    if benchmark.threads is not None:
        parser.add_argument(
            "--threads",
            type=positive,
            default=benchmark.threads,
            metavar="N",
            help=f"threads that use the heap meanwhile (default: {benchmark.threads})",
        )
    if benchmark.seconds is not None:
        parser.add_argument(
            "--seconds",
            type=_duration,
            default=benchmark.seconds,
            help=f"how long each repetition churns (default: {benchmark.seconds:g})",
        )
    if benchmark.options is not None:
        benchmark.options(parser)
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write the result to a file as JSON, too")
    parser.add_argument("--saved", type=Path, metavar="FILE", help="measure nothing: show a result that was saved")
    parser.add_argument("--check", action="store_true", help="exit with code 1 when a target was missed")


def _duration(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= 1e6:
        raise argparse.ArgumentTypeError(f"expected a number of seconds, not {text!r}")
    return seconds
