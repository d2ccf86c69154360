"""What the command line understands."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import subduct
from subduct.cli.bench_arguments import add_bench
from subduct.cli.doctor import doctor
from subduct.cli.explain_arguments import add_explain
from subduct.cli.run import run
from subduct.cli.selftest import selftest
from subduct.cli.soak import soak

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Holds the standard library's syntax trees with room to churn them.
_DEFAULT_BUDGET = "2GiB"
_DEFAULT_SECONDS = 30.0
_DEFAULT_THREADS = 2
_DEFAULT_SAMPLE = 1_000
# A soak should see many cycles rather than long ones.
_SOAK_SECONDS = 600.0
_SOAK_LIMIT = 300
_SOAK_BUDGET = "512MiB"
# No test takes a second on real hardware; emulated processors are fifty times slower.
_SELFTEST_TIMEOUT_S = 60.0

_RUN_HELP = """\
Load documents into a heap, change them from several threads while the heap
compacts itself, and check that nothing was damaged.

DATA is one of
  a JSON file    an array of records, or an object of records by key
  an NDJSON file (.ndjson, .jsonl): one JSON value a line
  a CSV file     (.csv, .tsv) with a header row; columns separated by commas,
                 semicolons, tabs or bars, as the first rows tell
  a folder       of Python sources: their syntax trees become linked objects,
                 with an index of all names
Which kind of JSON it is the content tells, and where a file is a single line,
the name. Text is UTF-8.
Any of these files may be packed with gzip, or with zstd (before Python 3.14
that needs the extra: pip install 'subduct[zstd]').
Without DATA it is the standard library of the Python that runs this command.
"""

_RUN_EPILOG = """\
operations, chosen at random:
  look up       60 %  read fields of a document, and a name through the index
  read through  22 %  walk a document from its root, and back up
  replace       10 %  by a copy from the source, or out of the heap, by turns
  delete         4 %  whole documents; about a tenth is missing at most
  insert         4 %  a deleted document again, from the source

exit codes:
  0    the heap was verified, and the sample is the same as the source
  1    it was not
  2    bad input, a budget too small for the data, or the output cannot be
       written
  130  Ctrl-C (143: SIGTERM); the report so far is printed
"""

_DOCTOR_HELP = """\
Try what this machine allows, say what each finding means for subduct, and how
to get what is missing.
"""

_DOCTOR_EPILOG = """\
exit codes:
  0    a heap that was given no delivery moved objects with sigbus, under a
       running thread where this process may have one more
  1    it did not, or could not be tried
  2    wrong usage, or the output cannot be written
"""

_SOAK_HELP = """\
Churn documents for long while cycles follow one another, and watch resident
memory, mappings, handles, descriptors and threads. Fails when one of them is
higher in the last third of the time than in the first, by more than its
tolerance.
"""

_SOAK_EPILOG = """\
exit codes:
  0    nothing grew, and the heap was verified
  1    something grew, or was damaged
  2    bad input, or the output cannot be written
  130  Ctrl-C (143: SIGTERM)
"""

_SELFTEST_HELP = """\
Try what is assumed of the kernel: how page tables move, which errors come for
what, how page faults reach user space. Needs no rights and harms nothing: each
test has a process of its own. Prints TAP 13.
"""

_SELFTEST_EPILOG = """\
exit codes:
  0    nothing failed but what this kernel is known for
  1    something failed
  2    wrong usage, such as a test that there is not; or no process can be
       started to run one in, or the output cannot be written
  4    nothing could run: every test was skipped
  130  Ctrl-C
"""


class _Command(argparse.ArgumentParser):
    """Says itself, with its own usage, what it does not understand: argparse leaves that to the outermost parser."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments, with the function to call in `command`. Exits with code 2 for arguments it does not understand."""
    parser = argparse.ArgumentParser(
        prog="subduct",
        description="An off-heap object heap for Python that compacts itself under running code.",
    )
    parser.add_argument("--version", action="version", version=f"subduct {subduct.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=_Command)
    _add_run(commands)
    _add_doctor(commands)
    _add_soak(commands)
    _add_selftest(commands)
    add_explain(commands, _add)
    add_bench(commands, _add)
    return parser.parse_args(argv)


def _add_run(commands: Any) -> None:
    command = _add(commands, "run", "load data, churn it while the heap compacts, check it", _RUN_HELP, _RUN_EPILOG)
    command.set_defaults(command=run)
    _add_data_options(command, budget=_DEFAULT_BUDGET, limit=None)
    command.add_argument(
        "--seconds",
        type=_seconds,
        default=_DEFAULT_SECONDS,
        help="how long to churn; 0 to load and check only (default: 30)",
    )
    command.add_argument(
        "--sample",
        type=_positive,
        default=_DEFAULT_SAMPLE,
        metavar="N",
        help="compare N documents with the source at the end (default: 1000; all when there are fewer)",
    )
    command.add_argument(
        "--keep",
        type=_fraction,
        metavar="FRACTION",
        help="at the end delete all documents but this fraction, collect once, and report the memory given back",
    )
    command.add_argument("--json", action="store_true", help="print the report as one JSON object")


def _add_doctor(commands: Any) -> None:
    command = _add(commands, "doctor", "what this machine allows, and why not more", _DOCTOR_HELP, _DOCTOR_EPILOG)
    command.set_defaults(command=doctor)
    command.add_argument("--json", action="store_true", help="print the findings as one JSON object")


def _add_soak(commands: Any) -> None:
    command = _add(commands, "soak", "churn for long and fail if anything grows", _SOAK_HELP, _SOAK_EPILOG)
    command.set_defaults(command=soak)
    _add_data_options(command, budget=_SOAK_BUDGET, limit=_SOAK_LIMIT)
    command.add_argument(
        "--seconds", type=_some_seconds, default=_SOAK_SECONDS, help="how long to churn (default: 600)"
    )


def _add_selftest(commands: Any) -> None:
    summary = "try what is assumed of the kernel"
    command = _add(commands, "selftest", summary, _SELFTEST_HELP, _SELFTEST_EPILOG)
    command.set_defaults(command=selftest)
    command.add_argument(
        "--list",
        action="store_true",
        help="print the tests' ids and what they assume (with --json, as an object), and run nothing",
    )
    command.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="ID",
        help="run only this test, or those that a glob such as 'uffd.*' names; may be repeated",
    )
    command.add_argument("--json", action="store_true", help="print the results as one JSON object")
    command.add_argument(
        "--timeout",
        type=_some_seconds,
        default=_SELFTEST_TIMEOUT_S,
        metavar="SECONDS",
        help="how long one test may take (default: 60)",
    )


def _add(commands: Any, name: str, summary: str, description: str, epilog: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return command


def _add_data_options(command: argparse.ArgumentParser, *, budget: str, limit: int | None) -> None:
    command.add_argument(
        "data", metavar="DATA", nargs="?", type=_path, help="what to load (default: the standard library)"
    )
    command.add_argument(
        "--delimiter",
        type=_delimiter,
        metavar="CHARACTER",
        help="what separates the columns of a CSV file, or tab (default: what the first rows tell)",
    )
    command.add_argument(
        "--budget",
        metavar="SIZE",
        default=budget,
        help=f"most memory the heap may take, such as 512MiB (default: {budget})",
    )
    command.add_argument(
        "--limit",
        type=_positive,
        metavar="N",
        default=limit,
        help="load only the first N documents" + ("" if limit is None else f" (default: {limit})"),
    )
    command.add_argument(
        "--threads",
        type=_thread_count,
        metavar="N",
        default=_DEFAULT_THREADS,
        help="threads that churn (default: 2); of many, 16 do at a time, or as many as there are processors",
    )
    command.add_argument(
        "--delivery",
        choices=("sigbus", "thread", "software", "pause"),
        help="how the heap catches accesses to what is being moved: by a signal, by a thread of its own, by looking before "
        "each access, or not at all, threads being stopped meanwhile; default: sigbus, or software where that cannot be",
    )
    command.add_argument(
        "--seed", type=int, metavar="N", help="seed of the random choices (default: a new one, reported)"
    )


def _checked(parse_number: Callable[[str], Any], accept: Callable[[Any], bool], expected: str) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        try:
            number = parse_number(text)
        except ValueError:
            number = None
        if number is None or not accept(number):
            raise argparse.ArgumentTypeError(f"expected {expected}, not {text!r}")
        return number

    return convert


def _path(text: str) -> Path:
    # Path("") is the folder that one is in, which nobody means by a variable that is not set.
    if not text:
        raise argparse.ArgumentTypeError("'': no such file or folder")
    return Path(text)


def _delimiter(text: str) -> str:
    if text.lower() in ("tab", "\\t"):
        return "\t"
    if len(text) != 1 or text in '"\r\n':
        raise argparse.ArgumentTypeError(f"expected one character that is no quote, or tab, not {text!r}")
    return text


# More than any machine churns with; a slip of the finger would ask for memory without end.
_thread_count = _checked(int, lambda number: 1 <= number <= 10_000, "a whole number from 1 to 10000")
_positive = _checked(int, lambda number: number >= 1, "a whole number from 1")
# Days are more than anybody waits, and infinity and NaN are no durations.
_seconds = _checked(float, lambda number: 0 <= number <= 1e7, "a number of seconds")
_some_seconds = _checked(float, lambda number: 0 < number <= 1e7, "a number of seconds more than 0")
_fraction = _checked(float, lambda number: 0 <= number <= 1, "a fraction between 0 and 1")
