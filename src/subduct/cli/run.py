"""`subduct run`: load documents, churn them while the heap compacts, check them, report."""

from __future__ import annotations

import sys
import time
import warnings
from random import Random
from typing import TYPE_CHECKING

from subduct import HeapFull
from subduct.churn import Churn, DamageError
from subduct.churn.sample import choose_sample, disagreement, matches_source
from subduct.cli.interrupt import Interrupt, InterruptedRunError
from subduct.cli.loading import TICK_S, choose_seed, load, open_data, open_heap
from subduct.cli.rate import Rate
from subduct.cli.refused import RefusedError
from subduct.report import CheckProgress, ChurnProgress, Kept, Memory, RunReport, make_reporter
from subduct.report.units import count, percent, plural, seconds

if TYPE_CHECKING:
    import argparse

    from subduct import Heap
    from subduct.churn import DocumentStore
    from subduct.load import Source
    from subduct.report import Reporter


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    reporter = make_reporter(sys.stdout, sys.stderr, as_json=arguments.json)
    with Interrupt() as interrupt, warnings.catch_warnings(), open_data(arguments) as source:
        # The parser warns about the sources it reads; they are not ours to mend.
        for kind in (SyntaxWarning, DeprecationWarning):
            warnings.simplefilter("ignore", kind)
        try:
            with open_heap(arguments) as heap:
                return _Job(heap, source, reporter, interrupt, arguments).run()
        except HeapFull as error:
            raise RefusedError(f"--budget {arguments.budget} is too small for this data: {error}") from None
        finally:
            reporter.close()


class _Job:
    """One run. Every phase leaves its results here, so that a report can be made at any time."""

    def __init__(
        self, heap: Heap, source: Source, reporter: Reporter, interrupt: Interrupt, arguments: argparse.Namespace
    ) -> None:
        self._heap = heap
        self._source = source
        self._reporter = reporter
        self._interrupt = interrupt
        self._arguments = arguments
        self._seed = choose_seed(arguments)
        self._random = Random(self._seed)
        self._load_s = 0.0
        self._churn: Churn | None = None
        self._churn_s = 0.0
        self._loaded: Memory | None = None
        self._churned: Memory | None = None
        self._kept: Kept | None = None
        # By number: what is kept is compared a second time.
        self._compared: set[int] = set()
        self._mismatches: dict[int, str] = {}
        self._failures: list[str] = []

    def run(self) -> int:
        """All phases and the report; returns the exit code."""
        try:
            store = self._load()
            self._run_churn(store)
            self._churned = self._measure(store)
            self._check(store)
            if self._arguments.keep is not None:
                self._keep(store, self._churned)
        except InterruptedRunError:
            self._failures.append("interrupted")
        report = self._report()
        self._reporter.report(report)
        if report.interrupted:
            return self._interrupt.exit_code
        return 0 if report.verified else 1

    def _load(self) -> DocumentStore:
        begin = time.monotonic()
        try:
            store = load(self._heap, self._source, self._arguments.limit, self._reporter, self._interrupt)
        finally:
            self._load_s = time.monotonic() - begin
        if len(store) != len(self._source):
            held, read = plural(len(store), "document"), plural(len(self._source), "document")
            self._failures.append(f"{read} were loaded, but the heap holds {held}")
        self._loaded = self._measure(store)
        return store

    def _measure(self, store: DocumentStore) -> Memory:
        """Collects, and says what the heap holds then."""
        self._interrupt.check()
        self._heap.collect()
        stats = self._heap.stats()
        return Memory(len(store), stats.live_objects, stats.live_bytes, stats.resident_bytes)

    def _run_churn(self, store: DocumentStore) -> None:
        duration = self._arguments.seconds
        threads = self._arguments.threads
        if not duration:
            return
        self._reporter.note(
            f"churning {plural(len(store), 'document')} for {seconds(duration)} on {plural(threads, 'thread')}, "
            f"seed {self._seed}"
        )
        churn = self._churn = Churn(store, threads, self._seed)
        rate = Rate()
        begin = time.monotonic()
        churn.start()
        try:
            while churn.running and not self._interrupt.requested and time.monotonic() - begin < duration:
                time.sleep(TICK_S)
                elapsed = time.monotonic() - begin
                rate.add(elapsed, churn.operations)
                self._reporter.churn(self._churn_progress(elapsed, rate))
        finally:
            self._churn_s = time.monotonic() - begin
            if self._interrupt.requested:
                self._reporter.note("ending after the cycle that is running (a second Ctrl-C ends at once)")
            try:
                churn.stop()
            except DamageError as error:
                self._failures.append(str(error))
        self._interrupt.check()
        if not len(store):
            # Of very few documents a churn may have deleted all just then, and there would be nothing to compare.
            churn.restore()

    def _churn_progress(self, elapsed_s: float, rate: Rate) -> ChurnProgress:
        stats = self._heap.stats()
        return ChurnProgress(
            seconds=elapsed_s,
            duration=self._arguments.seconds,
            operations=rate.total,
            operations_per_s=rate.per_second,
            live_bytes=stats.live_bytes,
            resident_bytes=stats.resident_bytes,
            cycles=stats.cycles,
            pause_p50_us=stats.pauses.p50,
            pause_max_us=stats.pauses.max,
        )

    def _check(self, store: DocumentStore) -> None:
        """Re-traces the heap, checks the index, and compares a sample with the source."""
        self._interrupt.check()
        sample = choose_sample(store, self._arguments.sample, self._random)
        if len(sample) < min(self._arguments.sample, len(store)):
            held, found = plural(len(store), "document"), count(len(sample))
            self._failures.append(f"of {held} in the heap, {found} were found by key and could be compared")
        self._reporter.note(f"verifying, then comparing {plural(len(sample), 'document')} with the source")
        wrong = disagreement(self._heap)
        if wrong is not None:
            self._failures.append(wrong)
        if not store.index_is_exact():
            self._failures.append("the index of names does not hold what the documents hold")
        for compared, number in enumerate(sample):
            self._interrupt.check()
            self._reporter.check(CheckProgress(compared, len(sample)))
            if not matches_source(store, number):
                self._mismatches[number] = str(self._source.key(number))
            self._compared.add(number)

    def _keep(self, store: DocumentStore, before: Memory) -> None:
        """Deletes all but a fraction of the documents, collects once, and checks what is left."""
        fraction = self._arguments.keep
        present = [number for number in range(len(self._source)) if store.contains(number)]
        kept = set(self._random.sample(present, round(len(present) * fraction)))
        self._reporter.note(f"deleting {plural(len(present) - len(kept), 'document')}, keeping {percent(fraction)}")
        for number in present:
            if number not in kept:
                self._interrupt.check()
                store.delete(number)
        store.drop_unused_names()
        self._kept = Kept(fraction, before, self._measure(store))
        self._check(store)

    def _report(self) -> RunReport:
        interrupted = self._interrupt.requested
        failures = list(self._failures)
        if self._mismatches:
            failures.append(f"{plural(len(self._mismatches), 'document')} not the same as the source")
        if not failures and not interrupted and not self._compared:
            failures.append("no document was compared with the source")
        return RunReport(
            source=self._source.title,
            kind=self._source.kind,
            notes=tuple(self._source.notes),
            bytes_read=self._source.bytes_read,
            skipped=len(self._source.skipped),
            load_s=self._load_s,
            documents=len(self._source),
            seed=self._seed,
            threads=self._arguments.threads,
            churn_s=self._churn_s,
            operations=self._churn.operations if self._churn else 0,
            operations_by_name=self._churn.operations_by_name if self._churn else {},
            loaded=self._loaded,
            churned=self._churned,
            kept=self._kept,
            sample_compared=len(self._compared),
            mismatches=tuple(self._mismatches.values()),
            verified=not failures and not interrupted,
            failure="; ".join(failures) or None,
            interrupted=interrupted,
            stats=self._heap.stats(),
        )
