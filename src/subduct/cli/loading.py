"""The beginning that `run` and `soak` share: a heap, filled with the documents of a source."""

from __future__ import annotations

import time
from itertools import islice
from random import SystemRandom
from typing import TYPE_CHECKING

from subduct import Heap, HeapFull
from subduct.churn import DocumentStore
from subduct.cli.refused import RefusedError
from subduct.load import open_source
from subduct.report import LoadProgress

if TYPE_CHECKING:
    import argparse

    from subduct.cli.interrupt import Interrupt
    from subduct.load import Source
    from subduct.report import Reporter

#: How often progress is shown and a signal noticed, in seconds.
TICK_S = 0.1


def open_heap(arguments: argparse.Namespace) -> Heap:
    """The heap that the arguments ask for. Raises RefusedError for a budget that is no size, or too small."""
    try:
        return Heap(arguments.budget, delivery=arguments.delivery, name="subduct-run")
    except (ValueError, OverflowError) as error:
        raise RefusedError(f"--budget: {error}") from None
    except HeapFull as error:
        raise RefusedError(f"--budget {arguments.budget} is too small for any heap: {error}") from None


def open_data(arguments: argparse.Namespace) -> Source:
    """The source that the arguments name. Raises LoadError for what cannot be read."""
    return open_source(arguments.data, arguments.delimiter)


def choose_seed(arguments: argparse.Namespace) -> int:
    """The seed that was given, or a new one short enough to type again."""
    return SystemRandom().randrange(1_000_000) if arguments.seed is None else int(arguments.seed)


def load(heap: Heap, source: Source, limit: int | None, reporter: Reporter, interrupt: Interrupt) -> DocumentStore:
    """Stores the documents of a source, at most `limit`, and shows how it goes.

    Raises RefusedError when there are none, LoadError for broken input, InterruptedRunError on a signal.
    """
    reporter.note(f"loading {source.title}")
    for note in source.notes:
        reporter.note(f"note: {note}")
    store = DocumentStore(heap, source)
    begin = shown = time.monotonic()
    for number, document in enumerate(islice(source.documents(), limit)):
        store.put(number, document)
        interrupt.check()
        now = time.monotonic()
        if now - shown >= TICK_S:
            shown = now
            reporter.load(_progress(heap, source, limit, now - begin))
    if not len(source):
        reason = f" ({source.skipped[0]})" if source.skipped else ""
        raise RefusedError(f"{source.path}: no documents in it{reason}")
    return store


def _progress(heap: Heap, source: Source, limit: int | None, elapsed_s: float) -> LoadProgress:
    expected = source.expected
    if limit is not None and expected is not None:
        expected = min(limit, expected)
    return LoadProgress(len(source), expected, source.bytes_read, heap.stats().resident_bytes, elapsed_s)
