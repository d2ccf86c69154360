"""`subduct selftest`: does this kernel do what is assumed of it?"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from subduct.cli.refused import RefusedError
from subduct.selftest import tap
from subduct.selftest.catalogue import assumptions
from subduct.selftest.child import NoProcessError
from subduct.selftest.machine import Machine
from subduct.selftest.outcome import Outcome, exit_code
from subduct.selftest.record import catalogue, record
from subduct.selftest.runner import run_all
from subduct.selftest.selection import UnknownTestError, chosen

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

_INTERRUPTED = 130


def selftest(arguments: argparse.Namespace) -> int:
    """Runs the command; returns 0 when nothing failed but what is known to, 1 when something did, 4 when nothing could run, 130 for
    Ctrl-C.

    Raises:
        RefusedError: a test was asked for that there is not, or no process can be started to run one in.
    """
    try:
        tests = chosen(assumptions(), arguments.only)
    except UnknownTestError as unknown:
        raise RefusedError(str(unknown)) from unknown
    if arguments.list:
        if arguments.json:
            print(json.dumps(catalogue(tests), indent=2))
        else:
            _print(tap.listing(tests))
        return 0
    machine = Machine.here()
    outcomes: list[Outcome] = []
    try:
        if not arguments.json:
            _print(tap.header(machine, len(tests)))
        for outcome in run_all(tests, machine.release, arguments.timeout):
            outcomes.append(outcome)
            if not arguments.json:
                _print(tap.lines(len(outcomes), outcome))
    except KeyboardInterrupt:
        print(tap.BAIL_OUT, file=sys.stderr if arguments.json else sys.stdout)
        return _INTERRUPTED
    except NoProcessError as error:
        reason = f"no process can be started to run a test in: {error.strerror}"
        if not arguments.json:
            _print([f"{tap.BAIL_OUT} {reason}"])
        raise RefusedError(f"{reason}; {error.remedy}") from error
    if arguments.json:
        print(json.dumps(record(machine, outcomes), indent=2))
    else:
        print(tap.summary(outcomes))
    return exit_code(outcomes)


def _print(lines: Iterable[str]) -> None:
    """Prints at once: whoever watches sees which test is running when one hangs."""
    for line in lines:
        print(line, flush=True)
