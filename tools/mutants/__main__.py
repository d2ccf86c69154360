"""`python -m mutants`: applies every defect, one at a time, and says which test noticed."""

import argparse
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path

from mutants.checks import CHECKS, TIMEOUT_S, Check, plan
from mutants.failure import MutantsError
from mutants.mutant import Mutant, load
from mutants.table import Result, document, line
from mutants.tree import Tree

_REPOSITORY = Path(__file__).parents[2]
_HOME = _REPOSITORY / "target" / "mutants"
_DOCUMENT = _REPOSITORY / "docs" / "mutants.md"

# A run has not ended when it takes so many times as long as without a mutant, on the same machine beside the same work. What
# takes a second may take a minute.
_TIMES_AS_LONG = 4
_LEAST_TIMEOUT_S = 60

Timeouts = dict[tuple[Check, str], int]


def main() -> int:
    """Runs the command; returns 0 when every mutant was caught, 1 otherwise."""
    mutants = load()
    arguments = _parse(mutants)
    chosen = [each for each in mutants if not arguments.only or {each.name, each.area} & set(arguments.only)]
    tree = Tree(_REPOSITORY, _HOME)
    tree.copy()
    try:
        timeouts_s = _unmutated(chosen)
        results = [_report(_try(tree, mutant, timeouts_s)) for mutant in chosen]
    except MutantsError as error:
        print(f"mutants: {error}", file=sys.stderr)
        return 1
    failed = [each for each in results if each.problem]
    for each in failed:
        print(f"FAILED  {each.mutant.name} ({each.mutant.breaks}): {each.problem}", file=sys.stderr)
    print(f"\n{len(results) - len(failed)} of {len(results)} mutants caught")
    if arguments.document and not failed:
        _DOCUMENT.write_text(document(results, datetime.now(UTC).date()))
        print(f"written to {_DOCUMENT.relative_to(_REPOSITORY)}")
    return 1 if failed else 0


def _unmutated(chosen: list[Mutant]) -> Timeouts:
    """Runs what the mutants name on the tree as it is, and returns how long each may take, in seconds.

    What fails there would seem to catch everything, and raises `MutantsError`.
    """
    timeouts_s = {}
    wanted = dict.fromkeys(plan(mutant.caught_by)[0] for mutant in chosen)
    for check, tests in wanted:
        if refused := check.build(_HOME):
            raise MutantsError(f"{check.name} does not compile without any mutant:\n{refused[-2_000:]}")
        outcome = check.run(_HOME, tests)
        if outcome.caught:
            raise MutantsError(f"{check.name} {tests} fails without any mutant: {outcome.how}")
        timeouts_s[check, tests] = max(_LEAST_TIMEOUT_S, round(_TIMES_AS_LONG * outcome.seconds))
        print(f"{f'no mutant: {check.name} {tests}':44}  {outcome.seconds:6.1f} s  passes", flush=True)
    return timeouts_s


def _try(tree: Tree, mutant: Mutant, timeouts_s: Timeouts) -> Result:
    seconds = 0.0
    try:
        with tree.mutated(mutant):
            for check, tests in plan(mutant.caught_by):
                if refused := check.build(_HOME):
                    return Result(mutant, "", seconds, f"does not compile for {check.name}:\n{refused[-2_000:]}")
                outcome = check.run(_HOME, tests, timeouts_s.get((check, tests), TIMEOUT_S))
                seconds += outcome.seconds
                if outcome.caught:
                    return Result(mutant, f"{check.name}: {outcome.how}", seconds)
    except MutantsError as error:
        return Result(mutant, "", seconds, str(error))
    return Result(mutant, "", seconds, f"survived {', '.join(CHECKS)}")


def _report(result: Result) -> Result:
    print(line(result), flush=True)
    return result


def _parse(mutants: list[Mutant]) -> argparse.Namespace:
    known = sorted({mutant.name for mutant in mutants} | {mutant.area for mutant in mutants})
    parser = argparse.ArgumentParser(prog="python -m mutants", description=__doc__)
    parser.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        choices=known,
        help=f"try this mutant, or those of this area; may be given again: {shlex.join(known)}",
    )
    parser.add_argument("--document", action="store_true", help="write docs/mutants.md if all are caught")
    arguments = parser.parse_args()
    if arguments.document and arguments.only:
        parser.error("the document is about all mutants: give --document without --only")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
