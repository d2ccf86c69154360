"""`subduct soak`: churn for long, and fail if anything grows."""

from __future__ import annotations

import gc
import sys
import time
import warnings
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from statistics import median_high, median_low
from typing import TYPE_CHECKING

from subduct import HeapFull
from subduct.churn import Churn, DamageError
from subduct.churn.sample import disagreement, matches_source
from subduct.cli.interrupt import Interrupt, InterruptedRunError
from subduct.cli.loading import TICK_S, choose_seed, load, open_data, open_heap
from subduct.cli.refused import RefusedError
from subduct.cli.untried import untried
from subduct.report import make_reporter
from subduct.report.table import aligned
from subduct.report.units import count, mib, plural, seconds

if TYPE_CHECKING:
    import argparse

    from subduct import Heap
    from subduct.churn import DocumentStore
    from subduct.report import Reporter

_MIB = 1 << 20
_PROCESS = Path("/proc/self")
# Enough rounds to tell a trend from noise; each long enough for some cycles.
_MOST_ROUNDS = 30
_FEWEST_ROUNDS = 6
_ROUND_S = 2.0
# A thread that was joined is a task of the process for a moment longer. One that stays for so many looks is growth.
_MOST_LOOKS = 1000
_LOOK_S = 0.001


@dataclass(frozen=True, slots=True)
class Sample:
    """What must not grow, taken at rest: no thread churns, all documents are there, and a collection has just ended."""

    live_bytes: int
    resident_bytes: int
    handles: int
    private_bytes: int
    mappings: int
    descriptors: int
    threads: int


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How much more is not called growth: a share of what there was, and an amount."""

    share: float
    amount: int

    def limit(self, before: int) -> int:
        """The most that may be there after `before`."""
        return int(before * (1 + self.share)) + self.amount


TOLERANCES = {
    "live_bytes": Tolerance(0.02, _MIB),
    "resident_bytes": Tolerance(0.05, 8 * _MIB),
    "handles": Tolerance(0.0, 0),
    "private_bytes": Tolerance(0.10, 16 * _MIB),
    "mappings": Tolerance(0.0, 8),
    "descriptors": Tolerance(0.0, 0),
    "threads": Tolerance(0.0, 0),
}


def soak(arguments: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    # Before anybody waits for a load.
    _figures()
    reporter = make_reporter(sys.stdout, sys.stderr, as_json=False)
    with Interrupt() as interrupt, warnings.catch_warnings(), open_data(arguments) as source:
        for kind in (SyntaxWarning, DeprecationWarning):
            warnings.simplefilter("ignore", kind)
        try:
            with open_heap(arguments) as heap:
                store = load(heap, source, arguments.limit, reporter, interrupt)
                samples = _rounds(store, arguments, reporter, interrupt)
                wrong = disagreement(heap)
                damaged = sum(not matches_source(store, number) for number in range(len(source)))
        except HeapFull as error:
            raise RefusedError(f"--budget {arguments.budget} is too small for this data: {error}") from None
        except DamageError as error:
            raise RefusedError(str(error), code=1) from None
        except InterruptedRunError:
            return interrupt.exit_code
        finally:
            reporter.close()
    grown = growth(samples)
    for line in aligned(_table(samples), right=frozenset({1, 2, 3})):
        print(line)
    print(f"\nverified: {wrong or 'yes'}")
    print(f"compared with the source: {plural(len(source), 'document')}, {damaged or 'none'} damaged")
    print(f"grown: {', '.join(grown)}" if grown else "nothing grew")
    return 1 if wrong or damaged or grown else 0


def growth(samples: list[Sample]) -> list[str]:
    """The names of what is higher in the last third of the samples than in the first, beyond its tolerance: medians are
    compared, so that one odd sample decides nothing."""
    return [name for name, (first, last) in _thirds(samples).items() if last > TOLERANCES[name].limit(first)]


def _thirds(samples: list[Sample]) -> dict[str, tuple[int, int]]:
    """Each figure's median in the first third and in the last. Of the two in the middle of an even number of samples it is the
    higher one in the first third and the lower one in the last: between two samples an odd one would decide."""
    size = max(1, len(samples) // 3)
    first, last = (zip(*map(astuple, part), strict=True) for part in (samples[:size], samples[-size:]))
    names = [field.name for field in fields(Sample)]
    return {name: (median_high(a), median_low(b)) for name, a, b in zip(names, first, last, strict=True)}


def _table(samples: list[Sample]) -> list[list[str]]:
    rows = [["", "first third", "last third", "at most"]]
    for name, (first, last) in _thirds(samples).items():
        numbers = [first, last, TOLERANCES[name].limit(first)]
        shown = [mib(number) if name.endswith("_bytes") else count(number) for number in numbers]
        rows.append([name.removesuffix("_bytes"), *shown])
    return rows


def _rounds(
    store: DocumentStore, arguments: argparse.Namespace, reporter: Reporter, interrupt: Interrupt
) -> list[Sample]:
    """Churns in rounds for the time that was asked for; samples of all but the first, in which everything warms up."""
    rounds = min(_MOST_ROUNDS, max(_FEWEST_ROUNDS, int(arguments.seconds / _ROUND_S)))
    seed = choose_seed(arguments)
    reporter.note(
        f"churning {plural(len(store), 'document')} for {seconds(arguments.seconds)} "
        f"on {plural(arguments.threads, 'thread')}, in {rounds} rounds, seed {seed}"
    )
    samples = []
    begin = time.monotonic()
    for number in range(rounds + 1):
        churn = Churn(store, arguments.threads, seed + number)
        needed = _figures()["threads"]
        _churn(churn, arguments.seconds / (rounds + 1), interrupt)
        churn.restore()
        sample = _take_sample(store.heap, needed)
        reporter.note(_line(time.monotonic() - begin, churn.operations, store.heap, sample))
        if number:
            samples.append(sample)
    return samples


def _churn(churn: Churn, duration_s: float, interrupt: Interrupt) -> None:
    """Churn for so long, and until something was done: a round in which nothing was tells nothing of growth."""
    begin = time.monotonic()
    churn.start()
    try:
        while (
            churn.running
            and not interrupt.requested
            and (time.monotonic() - begin < duration_s or not churn.operations)
        ):
            time.sleep(TICK_S)
    finally:
        churn.stop()
    interrupt.check()


def _take_sample(heap: Heap, needed: int) -> Sample:
    """Samples when the threads that churned have gone: `needed` is how many there were before them."""
    # Python's own garbage holds proxies, and so handles.
    gc.collect()
    heap.collect()
    stats = heap.stats()
    process = _settled_figures(needed)
    return Sample(stats.live_bytes, stats.resident_bytes, stats.handles, **process)


def _settled_figures(needed: int) -> dict[str, int]:
    """The figures of the first look that finds no more than `needed` threads, or of the last look if none does."""
    for _ in range(_MOST_LOOKS):
        figures = _figures()
        if figures["threads"] <= needed:
            break
        time.sleep(_LOOK_S)
    return figures


def _figures() -> dict[str, int]:
    """What the kernel says of this process. Raises RefusedError where it says nothing."""
    try:
        status = (_PROCESS / "status").read_text().splitlines()
        private_kib = next(int(line.split()[1]) for line in status if line.startswith("RssAnon:"))
        return {
            "private_bytes": private_kib << 10,
            "mappings": (_PROCESS / "maps").read_bytes().count(b"\n"),
            "descriptors": len(list((_PROCESS / "fd").iterdir())),
            "threads": len(list((_PROCESS / "task").iterdir())),
        }
    except OSError as error:
        lacks_files = untried(error.errno)
        remedy = "mount /proc" if lacks_files is None else lacks_files.remedy.rstrip(".")
        raise RefusedError(
            f"what must not grow is read from {_PROCESS}, which cannot be read: {error.strerror}; {remedy}"
        ) from None


def _line(elapsed_s: float, operations: int, heap: Heap, sample: Sample) -> str:
    stats = heap.stats()
    return (
        f"  {seconds(elapsed_s)}  {count(operations)} operations, {count(stats.cycles)} cycles, "
        f"live {mib(sample.live_bytes)}, resident {mib(sample.resident_bytes)}, private {mib(sample.private_bytes)}, "
        f"{count(sample.handles)} handles, {count(sample.mappings)} mappings"
    )
