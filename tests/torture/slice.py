"""One torment over one delivery for some seconds, in a process of its own: `python -m torture.slice NAME DELIVERY SEED SECONDS`.

Prints one line of JSON on success; on failure a traceback, and the exit code is not 0.
"""

import argparse
import faulthandler
import json
import random
import sys
import time
import warnings
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torture.growth import SAMPLES_MIN, Sample, growth, left_over, not_returned
from torture.setting import DELIVERIES, Setting
from torture.torments import CANARIES, ELSEWHERE, TORMENTS

# Rounds in which memory is taken that stays: pools, caches.
WARM_UP_SHARE = 0.25


class TormentedError(AssertionError):
    """Something grew, was left, or was not done."""


def main() -> int:
    """Runs the slice; returns 0."""
    parser = argparse.ArgumentParser(prog="python -m torture.slice", description=__doc__)
    parser.add_argument("name", choices=[*TORMENTS, *CANARIES])
    parser.add_argument("delivery", choices=DELIVERIES)
    parser.add_argument("seed")
    parser.add_argument("seconds", type=float)
    parser.add_argument("--rounds", type=int, default=1, help="at least so many, whatever the time (default 1)")
    parser.add_argument("--grace", type=float, default=180.0, help="seconds beyond its time (default 180)")
    parser.add_argument("--cgroup", type=Path, help="the control group below which others may be made")
    arguments = parser.parse_args()
    # Forking a process that has threads is what some torments are about.
    warnings.simplefilter("ignore", DeprecationWarning)
    faulthandler.enable()
    # A deadlock ends with every thread's stack.
    faulthandler.dump_traceback_later(arguments.seconds + arguments.grace, exit=True)
    sys.setswitchinterval(1e-4)
    seed = f"{arguments.seed} {arguments.name} {arguments.delivery}"
    setting = Setting(arguments.delivery, random.Random(seed), arguments.cgroup)
    print(json.dumps(run(arguments.name, setting, arguments.seconds, arguments.rounds)))
    return 0


def run(name: str, setting: Setting, duration_s: float, rounds_min: int) -> dict[str, Any]:
    """Torments until the time is up and there were rounds enough; returns what was done. Raises what went wrong."""
    torment = (TORMENTS | CANARIES)[name]
    before = Sample.now()
    samples: list[Sample] = []
    began = time.monotonic()
    with closing(torment(setting)) as rounds:
        for _ in rounds:
            samples.append(Sample.settled(samples[-1] if samples else None))
            if time.monotonic() - began >= duration_s and len(samples) >= rounds_min:
                break
    del rounds
    warm = samples[int(WARM_UP_SHARE * len(samples)) :]
    if len(warm) < SAMPLES_MIN:
        setting.notes.add("too few rounds to see whether memory grows")
    wrong = growth(warm) + not_returned(before) + left_over()
    done = {"rounds": len(samples), **asdict(setting.tally)}
    if not done["operations"] or not (done["moves"] or name in ELSEWHERE):
        wrong.append(f"nothing was put to the test: {done}")
    if wrong:
        raise TormentedError("; ".join(wrong))
    return {"done": done, "notes": sorted(setting.notes)}


if __name__ == "__main__":
    sys.exit(main())
