"""`python -m subduct.model.differential`: random sequences of calls on the running kernel and on the model."""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from contextlib import redirect_stdout
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from subduct.model.differential.comparison import DifferenceError, run_sequence
from subduct.model.differential.generate import run_random
from subduct.model.differential.server import BrokenError, KernelServer
from subduct.model.differential.step_class import check_step_classes, told_apart
from subduct.model.state import rule_book
from subduct.model.version import Version

if TYPE_CHECKING:
    from subduct.model.rules import RuleBook

_SEQUENCES = 150
_HELP = """Make random sequences of calls on the running kernel and on the model, and compare after every call. Exits with 1 and the
shortest sequence that shows a difference if there is one, with 2 where nothing can be compared or the comparison itself fails."""


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"at least one sequence, not {number}")
    return number


def main(argv: list[str] | None = None) -> int:
    """Runs the comparison; returns 0 if nothing differs, 1 if something does, 2 where it cannot run."""
    parser = argparse.ArgumentParser(prog="python -m subduct.model.differential", description=_HELP)
    parser.add_argument("--sequences", type=_count, default=_SEQUENCES, metavar="N", help="how many (default: 150)")
    parser.add_argument("--seed", type=int, metavar="N", help="repeats a run (default: a new one, printed)")
    parser.add_argument(
        "--kernel", type=Version.parse, metavar="VERSION", help="whose rules (default: of the kernel that runs)"
    )
    parser.add_argument(
        "--connect",
        type=Path,
        metavar="SOCKET",
        help="ask the kernel of the machine where `python -m subduct.model.differential.kernel_side` has its standard input "
        "and output at the other end of this Unix socket (default: this machine's)",
    )
    parser.add_argument("--json", action="store_true", help="print the outcome as one JSON object")
    arguments = parser.parse_args(argv)
    if find_spec("hypothesis") is None:
        print("the random sequences come from Hypothesis, which is not installed", file=sys.stderr)
        return 2
    try:
        server = KernelServer(arguments.connect)
    except (OSError, BrokenError) as error:
        print(f"there is nothing to ask the kernel: {error}", file=sys.stderr)
        return 2
    with server:
        return _report(server, arguments)


def _report(server: KernelServer, arguments: argparse.Namespace) -> int:
    try:
        rules = rule_book(arguments.kernel or Version.parse(server.machine.release))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    seed = random.SystemRandom().randrange(1 << 32) if arguments.seed is None else arguments.seed
    if not arguments.json:
        print(f"Linux {server.machine.release}, rules of {rules.version}, seed {seed}", flush=True)
    if not server.machine.empty:
        print("the addresses that the calls would use are taken in the process that makes them", file=sys.stderr)
        return 2
    try:
        outcome = _compare(server, rules, arguments.sequences, seed)
    except BrokenError as error:
        print(f"nothing can be said, since {error}", file=sys.stderr)
        return 2
    if arguments.json:
        print(json.dumps(outcome, indent=2))
    else:
        _print(outcome)
    return 1 if outcome["difference"] or outcome["step_class_differences"] else 0


def _compare(server: KernelServer, rules: RuleBook, sequences: int, seed: int) -> dict[str, Any]:
    book = server.machine.adapted(rules)
    begin = time.monotonic()
    calls: list[int] = []

    def run(operations: list[tuple[str, bytes]]) -> None:
        calls.append(len(run_sequence(server, book, operations)))

    difference = None
    try:
        # What Hypothesis has to say is no part of the outcome.
        with redirect_stdout(sys.stderr):
            run_random(server.machine, run, sequences=sequences, seed=seed)
    except DifferenceError as found:
        difference = str(found)
    timed, contradicted = check_step_classes(server, book)
    return {
        "kernel": server.machine.release,
        "rules": str(book.version),
        "seed": seed,
        "machine": asdict(server.machine),
        "sequences": len(calls),
        "calls": sum(calls),
        "seconds": round(time.monotonic() - begin, 1),
        "difference": difference,
        "step_classes": {each.case.name: {"expected": each.expected, "us": each.time_ns / 1e3} for each in timed},
        "step_classes_told_apart": told_apart(timed),
        "step_class_differences": contradicted,
    }


def _print(outcome: dict[str, Any]) -> None:
    lacking = [name for name in ("userfaultfd", "perf", "mseal", "vvar") if not outcome["machine"][name]]
    if lacking:
        print(f"not compared, since this machine has none that could be used: {', '.join(lacking)}")
    found = f"{outcome['sequences']} sequences, {outcome['calls']} calls in {outcome['seconds']} s: no difference"
    print(outcome["difference"] or found)
    for name, timed in outcome["step_classes"].items():
        print(f"  moving 1 GiB, {name}: {timed['us']:.1f} us, {timed['expected']} steps in the model")
    if not outcome["step_classes_told_apart"]:
        print("  the kinds of step take too similar times here to be told apart")
    for line in outcome["step_class_differences"]:
        print(f"  ! {line}")


if __name__ == "__main__":
    sys.exit(main())
