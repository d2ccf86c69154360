"""What the two Python peers share: the command line, the threads, the line of JSON."""

from __future__ import annotations

import argparse
import json
import platform
import sys
import threading
import time
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from peers.latency import Histogram, Recorder
from peers.workload import DIGEST_BASIS, Counts, Shard, text

if TYPE_CHECKING:
    from collections.abc import Callable, MutableSequence, Sequence

SLEEP_NS = 1_000_000


def parse(description: str) -> argparse.ArgumentParser:
    """The options that every peer has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--records", type=int, default=4_000_000)
    parser.add_argument("--operations", type=int, default=12_000_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--stalls", type=Path, help="where the long operations go")
    return parser


class Mutator(threading.Thread):
    """Fills and churns one shard."""

    def __init__(self, shard: Shard, args: argparse.Namespace, began_ns: int) -> None:
        super().__init__(name="mutator")
        self.shard = shard
        self._args = args
        self._began_ns = began_ns
        self.recorder = Recorder(began_ns)
        #: When the last record was stored that is there at the start, in nanoseconds.
        self.filled_ns = 0
        #: What ended the thread before its time.
        self.error: BaseException | None = None

    def run(self) -> None:
        """Fill, then churn."""
        try:
            self.recorder = recorder = Recorder(self._began_ns)
            fill, step, note = self.shard.fill, self.shard.step, recorder.note
            for _ in range(self._args.records // self._args.threads):
                fill()
                note()
            self.filled_ns = recorder.last_ns
            for _ in range(self._args.operations // self._args.threads):
                step()
                note()
        except BaseException as error:
            self.error = error


class Sleeper(threading.Thread):
    """Sleeps a millisecond at a time and measures how much longer it took to be back at work."""

    def __init__(self, look: Callable[[], object]) -> None:
        super().__init__(name="sleeper")
        self._look = look
        self.stop = False
        self.late = Histogram.empty()

    def run(self) -> None:
        """Sleep and look, until told to stop."""
        while not self.stop:
            began_ns = perf_counter_ns()
            time.sleep(SLEEP_NS / 1e9)
            self._look()
            self.late.add(max(0, perf_counter_ns() - began_ns - SLEEP_NS))


def churn(
    args: argparse.Namespace, tables: Sequence[MutableSequence[Any]], look: Callable[[], object]
) -> dict[str, Any]:
    """Run the workload with a shard for each table, and a sleeper that does `look` each time it wakes. Raises what a thread raised."""
    letters = text(args.seed)
    records = args.records // args.threads
    shards = [Shard(table, letters, args.seed, number, records) for number, table in enumerate(tables)]
    began_ns = perf_counter_ns()
    mutators = [Mutator(shard, args, began_ns) for shard in shards]
    sleeper = Sleeper(look)
    sleeper.start()
    for mutator in mutators:
        mutator.start()
    for mutator in mutators:
        mutator.join()
    sleeper.stop = True
    sleeper.join()
    for mutator in mutators:
        if mutator.error is not None:
            raise mutator.error
    return figures(args, mutators, sleeper)


def figures(args: argparse.Namespace, mutators: list[Mutator], sleeper: Sleeper) -> dict[str, Any]:
    """What the run found, as peers print it. Writes the long operations."""
    counts, operation, digest = Counts(), Histogram.empty(), DIGEST_BASIS
    for mutator in mutators:
        counts.add(mutator.shard.counts)
        operation.merge(mutator.recorder.histogram)
        digest = mutator.shard.digest(digest)
    if args.stalls is not None:
        with args.stalls.open("wb") as file:
            for thread, mutator in enumerate(mutators):
                mutator.recorder.words(thread).tofile(file)
    return {
        "runtime": f"{platform.python_implementation()} {platform.python_version()}",
        "records": args.records,
        "operations": args.operations,
        "threads": args.threads,
        "seed": args.seed,
        "digest": f"{digest:016x}",
        **vars(counts),
        "fill_ns": max(mutator.filled_ns for mutator in mutators),
        "churn_ns": max(mutator.recorder.last_ns - mutator.filled_ns for mutator in mutators),
        "stalls_dropped": sum(mutator.recorder.dropped for mutator in mutators),
        "operation": operation.figures(),
        "sleeper": sleeper.late.figures(),
    }


def finish(result: dict[str, Any]) -> None:
    """Print the line and wait until the caller has looked at this process's memory."""
    print(json.dumps(result), flush=True)
    sys.stdin.read()
