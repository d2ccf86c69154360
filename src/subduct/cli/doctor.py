"""`subduct doctor`: what this machine allows."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from subduct import _native
from subduct.cli.findings import findings, verdict
from subduct.cli.surroundings import Surroundings
from subduct.report.checks import checks_object, write_checks

if TYPE_CHECKING:
    import argparse


def doctor(arguments: argparse.Namespace) -> int:
    """Runs the command; returns 0 when heaps will run with the sigbus delivery, 1 otherwise."""
    facts = json.loads(_native.probe())
    surroundings = Surroundings.read()
    checks = findings(facts, surroundings)
    runs = facts["delivery"] == "sigbus"
    if arguments.json:
        found = {
            "runs": runs,
            "delivery": facts["delivery"],
            "checks": checks_object(checks),
            "facts": facts,
            "surroundings": asdict(surroundings),
        }
        print(json.dumps(found, indent=2))
    else:
        terminal = sys.stdout.isatty()
        colour = terminal and "NO_COLOR" not in os.environ and os.environ.get("TERM", "dumb") != "dumb"
        columns = shutil.get_terminal_size().columns if terminal else 100
        write_checks(checks, sys.stdout, width=max(columns, 40), colour=colour)
        print(f"\n{verdict(facts)}")
    return 0 if runs else 1
