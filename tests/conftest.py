"""Heaps for tests, the seed of the run, and the record of what went through userfaultfd."""

import gc
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness import standard
from harness.evidence import EVIDENCE
from harness.heaps import Delivery, HeapMaker
from harness.kernel import has_userfaultfd
from harness.seed import SEED
from subduct import Heap

DELIVERIES: tuple[Delivery, ...] = ("sigbus", "thread", "software", "pause")


def pytest_collection_finish() -> None:
    """Thousands of tests have been found, which stay to the end: Python's collector need not look at them again and again."""
    gc.freeze()


def pytest_report_header() -> str:
    return f"seed: {SEED} (repeat with SUBDUCT_SEED={SEED})"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in [*EVIDENCE.lines(), standard.summary()]:
        terminalreporter.write_line(line)
    terminalreporter.write_line(f"seed: {SEED}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is None:
        EVIDENCE.write(Path(session.config.rootpath) / ".test-evidence.json")
    else:
        output["evidence"] = EVIDENCE.sums()
        output["standard"] = standard.PASSED


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Asked only where xdist is installed, and only there it can be imported."""
    from harness.sharing import Sharing

    return Sharing(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A process that tests were shared out to has ended."""
    output: dict[str, Any] = getattr(node, "workeroutput", {})
    EVIDENCE.merge(output.get("evidence", {}))
    standard.PASSED.update(output.get("standard", {}))


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """Random numbers that depend on the run's seed and the test's name only."""
    return random.Random(f"{SEED} {request.node.nodeid}")


@pytest.fixture(params=DELIVERIES)
def delivery(request: pytest.FixtureRequest) -> Delivery:
    """Every delivery that this kernel allows."""
    name: Delivery = request.param
    if name in ("sigbus", "thread") and not has_userfaultfd():
        pytest.skip("no userfaultfd on this kernel")
    return name


@contextmanager
def recorded(heap: Heap) -> Iterator[Heap]:
    """Check the heap once more after the test, note what it did, close it."""
    with heap:
        yield heap
        if not heap.closed:
            heap.verify()
            EVIDENCE.record(heap.stats())


@pytest.fixture
def make_heap(delivery: Delivery) -> Iterator[HeapMaker]:
    """Make heaps with options of the test's own; they are checked and closed after it."""
    with ExitStack() as heaps:

        def make(budget: int | str = "64MiB", **options: Any) -> Heap:
            return heaps.enter_context(recorded(Heap(budget, **{"delivery": delivery, "verify": True, **options})))

        yield make


@pytest.fixture
def heap(make_heap: HeapMaker) -> Heap:
    """A fresh 64 MiB heap that traces itself again after every cycle."""
    return make_heap()


@pytest.fixture
def no_collections() -> Iterator[None]:
    """Keep Python from collecting its own garbage, which may happen at any allocation, runs what others have in gc.callbacks, and
    with it lets other threads run, as with the builtins."""
    gc.disable()
    yield
    gc.enable()
