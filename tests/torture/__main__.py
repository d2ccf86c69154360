"""`python -m torture`: every torment over every delivery; fails if anything was damaged, died, hung, grew or was left."""

import argparse
import math
import os
import random
import shlex
import sys
from pathlib import Path

from torture.cgroup import delegated_group
from torture.driver import Result, Run, Slice
from torture.setting import DELIVERIES, possible_deliveries
from torture.table import table
from torture.torments import CANARIES, TORMENTS

SLICE_S_MIN = 1.0
# More time is more slices, with other random choices.
SLICE_S_MAX = 60.0
SAID_LINES = 60


def main() -> int:
    """Runs the command; returns 0 if all went well."""
    arguments = _parse()
    kinds = [(name, delivery) for name in arguments.only for delivery in arguments.delivery]
    kind_s = arguments.seconds * arguments.jobs / len(kinds)
    passes = math.ceil(kind_s / SLICE_S_MAX)
    slice_s = max(SLICE_S_MIN, kind_s / passes)
    slices = []
    for seed in range(arguments.seed, arguments.seed + passes):
        # So that two of one kind, which want the same things of the machine, are seldom side by side.
        slices += [Slice(*kind, seed) for kind in random.Random(seed).sample(kinds, len(kinds))]
    print(f"seed {arguments.seed}; {len(slices)} slices of {slice_s:.0f} s, {arguments.jobs} at a time", flush=True)
    if missing := [name for name in DELIVERIES if name not in possible_deliveries()]:
        print(f"this kernel has no userfaultfd: not over {' and '.join(missing)}", flush=True)
    run = Run(slice_s, arguments.rounds, arguments.jobs, arguments.grace, arguments.cgroup)
    results = []
    for result in run.results(slices):
        results.append(result)
        each = result.slice
        print(f"  {each.name} over {each.delivery}: {result.problem or 'well'}", flush=True)
        if result.problem:
            _explain(result, slice_s)
    print(f"\n{table(results)}\n")
    for note in sorted({f"{each.slice.name}: {note}" for each in results for note in each.notes}):
        print(note)
    failed = sum(bool(result.problem) for result in results)
    print(f"seed {arguments.seed}: {f'{failed} of {len(results)} slices failed' if failed else 'all went well'}")
    return 1 if failed else 0


def _explain(result: Result, slice_s: float) -> None:
    each = result.slice
    print(f"--- {each.name} over {each.delivery} failed with seed {each.seed}; what it said:")
    said = result.said.splitlines()
    # A panic's message comes first, the stacks of all threads last.
    left_out = max(len(said) - 2 * SAID_LINES, 0)
    print("\n".join(said[:SAID_LINES]))
    print("\n".join([f"  ({left_out} lines)"] * bool(left_out) + said[max(SAID_LINES, len(said) - SAID_LINES) :]))
    options = shlex.join(["--only", each.name, "--delivery", each.delivery, "--seed", str(each.seed)])
    print(f"--- repeat: make torture TORTURE_SECONDS={slice_s:.0f} ARGS={shlex.quote(options)}", flush=True)


def _parse() -> argparse.Namespace:
    possible = possible_deliveries()
    parser = argparse.ArgumentParser(prog="python -m torture", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0, help="for all slices together (default 300)")
    parser.add_argument("--seed", type=int, help="repeat a run; the order of threads is not in it")
    parser.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        choices=[*TORMENTS, *CANARIES],
        help=f"one of {', '.join(TORMENTS)}; or one that must fail: {', '.join(CANARIES)}",
    )
    parser.add_argument("--delivery", action="append", metavar="NAME", choices=possible, help=", ".join(possible))
    parser.add_argument("--rounds", type=int, default=8, help="in each slice at least, whatever the time (default 8)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="slices side by side (all processors)")
    parser.add_argument("--grace", type=float, default=180.0, help="seconds beyond its time for a slice (default 180)")
    parser.add_argument(
        "--cgroup",
        type=Path,
        metavar="DIR",
        default=delegated_group(),
        help="a control group below which others may be made (its own, if that was delegated)",
    )
    arguments = parser.parse_args()
    if arguments.seed is None:
        arguments.seed = random.SystemRandom().randrange(1 << 32)
    arguments.only = arguments.only or list(TORMENTS)
    arguments.delivery = arguments.delivery or list(possible)
    arguments.jobs = max(1, min(arguments.jobs, len(arguments.only) * len(arguments.delivery)))
    return arguments


if __name__ == "__main__":
    sys.exit(main())
