"""`subduct doctor`: what this machine allows, and what heaps do on it."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from subduct import _native
from subduct.cli.findings import completed, findings
from subduct.cli.surroundings import Surroundings
from subduct.cli.trial import trials
from subduct.cli.trial_findings import verdict
from subduct.report.checks import checks_object, write_checks

if TYPE_CHECKING:
    import argparse


def doctor(arguments: argparse.Namespace) -> int:
    """Runs the command; returns 0 when a heap that was told nothing moved objects with the sigbus delivery, 1 otherwise, also where a
    limit of this process keeps heaps from being tried."""
    facts = completed(json.loads(_native.probe()))
    surroundings = Surroundings.read()
    tried = trials()
    checks = findings(facts, surroundings, tried)
    delivery = tried[0].delivery if tried[0].worked else None
    runs = tried[0].as_meant and delivery == "sigbus"
    if arguments.json:
        found = {
            "runs": runs,
            "delivery": delivery,
            "checks": checks_object(checks),
            "trials": [asdict(trial) for trial in tried],
            "facts": facts,
            "surroundings": asdict(surroundings),
        }
        print(json.dumps(found, indent=2))
    else:
        terminal = sys.stdout.isatty()
        colour = terminal and "NO_COLOR" not in os.environ and os.environ.get("TERM", "dumb") != "dumb"
        columns = shutil.get_terminal_size().columns if terminal else 100
        write_checks(checks, sys.stdout, width=max(columns, 40), colour=colour)
        print(f"\n{verdict(tried)}")
    return 0 if runs else 1
