"""Cycles run beside the program, move objects, and count what they do."""

import copy
import math
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, asdict, fields
from functools import partial
from pathlib import Path

import pytest

from harness.evidence import EVIDENCE
from harness.heaps import Delivery, HeapMaker, assert_documents, document, fill, thin
from harness.kernel import has_userfaultfd
from harness.process import Footprint
from subduct import CycleReport, Heap, HeapClosed, Stats, VerifyReport

needs_userfaultfd = pytest.mark.skipif(not has_userfaultfd(), reason="no userfaultfd on this kernel")


class Reader:
    """A thread that reads every document, over and over, and counts."""

    def __init__(self, heap: Heap) -> None:
        self.documents = heap.root["documents"]
        self.count = 0
        self.stop = threading.Event()
        self.thread = ThreadPoolExecutor(1)

    def __enter__(self) -> "Reader":
        self.result = self.thread.submit(self.read)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.shutdown()
        self.result.result()

    def read(self) -> None:
        numbers = list(self.documents)
        while not self.stop.is_set():
            for number in numbers:
                assert self.documents[number]["id"] == number
                self.count += 1
                if self.stop.is_set():
                    break


def punch_and_refill(heap: Heap, turn: int) -> None:
    """Leave holes in the heap, at other places each turn, without changing what it holds."""
    documents = heap.root["documents"]
    for number in list(documents)[turn % 5 :: 5]:
        documents[number] = document(number)


def test_a_cycle_moves_objects_and_counts_them(heap: Heap) -> None:
    thin(fill(heap, 20_000), keep_every=5)
    report = heap.collect()
    stats = heap.stats()
    assert stats.moves == 1
    assert report.verified
    assert report.regions_evacuated > 0
    assert report.bytes_evacuated > 0
    assert report.pages_built > 0
    assert report.fallback is None
    assert stats.bytes_evacuated >= report.bytes_evacuated
    assert report.live_bytes <= report.resident_bytes <= stats.budget_bytes
    assert report.live_objects > 4_000
    assert stats.live_objects == report.live_objects
    assert_documents(heap.root["documents"], range(0, 20_000, 5))


@needs_userfaultfd
def test_a_cycle_through_userfaultfd_fixes_builds_and_installs() -> None:
    with Heap("128MiB", delivery="sigbus", verify=True) as heap:
        # Pages that point at nothing but each other; documents that stay where they are, and point at some that move.
        heap.root["plain"] = [[number, -number] for number in range(50_000)]
        movers = heap.list([document(number) for number in range(20_000)])
        heap.root["stayers"] = [[mover, "a stayer"] for mover in movers]
        del movers
        thin(fill(heap, 20_000), keep_every=5)
        report = heap.collect()
        stats = heap.stats()
        assert report.delivery == stats.delivery == "sigbus"
        for figures in (report, stats):
            assert figures.pages_fixed > 0
            assert figures.pages_built > 0
            assert figures.pages_installed > 0
            assert figures.bytes_evacuated > 0
        EVIDENCE.record(stats)


@needs_userfaultfd
def test_userfaultfd_is_the_default_where_the_kernel_has_it() -> None:
    with Heap("64MiB") as heap:
        assert heap.stats().delivery == "sigbus"


@needs_userfaultfd
def test_threads_that_run_into_the_move_are_served() -> None:
    with Heap("128MiB", delivery="sigbus", verify=True) as heap:
        fill(heap, 40_000)
        with Reader(heap):
            for turn in range(1_000):
                punch_and_refill(heap, turn)
                heap.collect()
                if heap.stats().faults > 0:
                    break
        assert heap.stats().faults > 0
        assert_documents(heap.root["documents"], range(40_000))
        EVIDENCE.record(heap.stats())


def test_operations_go_on_during_a_cycle(heap: Heap) -> None:
    fill(heap, 30_000)
    # A reader that had to wait for the end of each cycle would get through one operation a cycle. On a busy machine it may
    # have no processor while a cycle runs.
    with Reader(heap) as reader:
        for turn in range(1_000):
            punch_and_refill(heap, turn)
            before = reader.count
            heap.collect()
            if reader.count - before > 10:
                break
        else:
            pytest.fail("nobody could read during a cycle")


def test_cycles_start_by_themselves(make_heap: HeapMaker) -> None:
    heap = make_heap(name="automatic")
    documents = fill(heap, 10_000)
    for turn in range(1_000):
        for number in range(turn % 3, 10_000, 3):
            documents[number] = document(number)
        if heap.stats().moves > 1:
            break
    stats = heap.stats()
    assert stats.moves > 1
    assert stats.allocated_bytes < 1_000 * stats.budget_bytes
    assert_documents(documents, range(10_000))


def test_stress_collects_by_bytes_allocated(make_heap: HeapMaker) -> None:
    calm, stressed = make_heap(), make_heap(stress=32 * 1024)
    fill(calm, 2_000)
    # Cycles are begun by another thread, when it gets a processor.
    for _ in range(1_000):
        fill(stressed, 2_000)
        if stressed.stats().cycles:
            break
    assert stressed.stats().cycles > 0
    assert calm.stats().cycles == 0
    assert_documents(stressed.root["documents"], range(2_000))


def test_verify_sees_the_same_graph_before_and_after_a_move(heap: Heap) -> None:
    thin(fill(heap, 20_000), keep_every=5)
    before = heap.verify()
    assert heap.collect().bytes_evacuated > 0
    after = heap.verify()
    assert isinstance(after, VerifyReport)
    assert after == before
    assert after.objects > 4_000


def test_verify_sees_a_change(heap: Heap) -> None:
    documents = fill(heap, 100)
    before = heap.verify()
    documents[0]["tags"].append(["one more"])
    after = heap.verify()
    assert after.digest != before.digest
    assert after.objects > before.objects


def test_verify_beside_cycles_and_mutators(heap: Heap) -> None:
    fill(heap, 10_000)
    with Reader(heap), ThreadPoolExecutor(1) as pool:
        for turn in range(15):
            punch_and_refill(heap, turn)
            cycle = pool.submit(heap.collect)
            while not cycle.done():
                assert heap.verify().objects > 10_000
            assert cycle.result().verified


def test_cycles_and_lists_a_hundred_thousand_deep_are_marked(heap: Heap) -> None:
    heap.root["chain"] = []
    inner = heap.root["chain"]
    for _ in range(100_000):
        inner.append([])
        inner = inner[0]
    inner.append(heap.root["chain"])
    report = heap.collect()
    assert report.verified
    assert report.live_objects >= 100_000
    del inner
    del heap.root["chain"]
    assert heap.collect().live_objects < 1_000


def test_figures_have_their_types_and_cannot_be_changed(heap: Heap) -> None:
    thin(fill(heap, 20_000), keep_every=5)
    report, stats = heap.collect(), heap.stats()
    assert isinstance(report, CycleReport)
    assert isinstance(stats, Stats)
    for figures in (report, stats):
        for name, value in asdict(figures).items():
            assert value is None or isinstance(value, int | float | str | dict), name
            assert not isinstance(value, float) or math.isfinite(value), name
        with pytest.raises(FrozenInstanceError):
            setattr(figures, fields(figures)[0].name, 0)
    pauses = stats.pauses
    assert pauses.count == 1
    assert 0 < pauses.p50 <= pauses.p99 <= pauses.max
    assert report.cycle == stats.cycles == 1
    assert min(report.mark_ms, report.plan_ms, report.move_ms, report.finish_ms, report.pause_us) >= 0
    assert stats.handles > 0
    assert stats.longest_operation_us > 0


def test_two_heaps_at_once(make_heap: HeapMaker) -> None:
    heaps = [make_heap(name="first"), make_heap(name="second")]
    for heap in heaps:
        fill(heap, 20_000)
    with pytest.raises(TypeError, match="to_python"):
        heaps[0].root["foreign"] = heaps[1].root["documents"]

    def churn(heap: Heap) -> int:
        for turn in range(10):
            punch_and_refill(heap, turn)
            heap.collect()
        return heap.stats().moves

    with ThreadPoolExecutor(2) as pool:
        assert min(pool.map(churn, heaps)) > 0
    for heap in heaps:
        assert_documents(heap.root["documents"], range(20_000))
    heaps[0].close()
    heaps[1].collect()
    assert_documents(heaps[1].root["documents"], range(20_000))


def test_a_closed_heap_says_so(heap: Heap) -> None:
    documents = fill(heap, 100)
    iterator = iter(documents)
    next(iterator)
    heap.close()
    heap.close()
    assert heap.closed
    for operation in (
        lambda: documents[0],
        lambda: len(documents),
        lambda: next(iterator),
        lambda: heap.root["documents"],
        lambda: heap.dict({}),
        documents.clear,
        documents.to_python,
        heap.collect,
        heap.verify,
    ):
        with pytest.raises(HeapClosed):
            operation()
    assert "closed" in repr(documents)


def test_close_during_a_cycle(make_heap: HeapMaker) -> None:
    for _ in range(10):
        heap = make_heap(verify=False)
        thin(fill(heap, 5_000), keep_every=3)
        with ThreadPoolExecutor(2) as pool:
            started = threading.Event()

            def collect_until_closed(heap: Heap = heap, started: threading.Event = started) -> bool:
                try:
                    while True:
                        started.set()
                        heap.collect()
                except HeapClosed:
                    return True

            def read_until_closed(heap: Heap = heap) -> bool:
                try:
                    while True:
                        assert heap.root["documents"][3]["id"] == 3
                except HeapClosed:
                    return True

            results = [pool.submit(collect_until_closed), pool.submit(read_until_closed)]
            started.wait()
            heap.close()
            assert all(result.result() for result in results)


def test_heaps_that_come_and_go_leave_nothing(delivery: Delivery) -> None:
    def one() -> None:
        with Heap("64MiB", delivery=delivery, name="passing") as heap:
            thin(fill(heap, 500), keep_every=3)
            heap.collect()

    for _ in range(5):
        one()
    before = Footprint.now()
    for _ in range(100):
        one()
    after = Footprint.now()
    assert after.descriptors == before.descriptors
    assert after.threads == before.threads
    # Python's own allocator and thread stacks may map a little.
    assert after.mappings <= before.mappings + 8


def test_a_dropped_heap_goes_away(delivery: Delivery) -> None:
    def one() -> None:
        Heap("64MiB", delivery=delivery).root["x"] = [1, 2, 3]

    one()
    before = Footprint.now()
    for _ in range(20):
        one()
    after = Footprint.now()
    assert (after.descriptors, after.threads) == (before.descriptors, before.threads)


def test_a_heap_shows_its_name_in_the_maps(delivery: Delivery) -> None:
    with Heap("64MiB", delivery=delivery, name="shown") as heap:
        heap.root["x"] = 1
        lines = [line for line in Path("/proc/self/maps").read_text().splitlines() if "/memfd:shown" in line]
        assert lines
        # Few mappings however large the heap: the kernel limits their number.
        assert len(lines) <= 16


@pytest.mark.parametrize("name", ["x" * 249, "ä" * 124])
def test_names_as_long_as_they_may_be(name: str) -> None:
    with Heap("8MiB", name=name):
        assert f"/memfd:{name}" in Path("/proc/self/maps").read_text()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("x" * 250, "name must have at most 249 bytes in UTF-8, not 250"),
        ("ä" * 125, "name must have at most 249 bytes in UTF-8, not 250"),
        ("a\0b", "name must not contain NUL"),
        ("a\ud800", r"name must be text without surrogates, which UTF-8 does not have, not 'a\\ud800'"),
    ],
)
def test_names_that_no_file_can_have(name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Heap("8MiB", name=name)


@pytest.mark.parametrize("option", [{"delivery": "pigeon"}, {"recycle": "sometimes"}, {"stress": 0}, {"stress": -5}])
def test_options_that_make_no_sense(option: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Heap("64MiB", **option)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"delivery": 1}, "delivery must be a str or None, not int"),
        ({"recycle": None}, "recycle must be a str, not NoneType"),
        ({"verify": 2}, "verify must be a bool, not int"),
        ({"stress": 1.5}, "stress must be an int or a str, not float"),
        ({"name": b"x"}, "name must be a str, not bytes"),
    ],
)
def test_options_of_a_wrong_type(option: dict[str, object], said: str) -> None:
    with pytest.raises(TypeError, match=f"^{said}$"):
        Heap("8MiB", **option)  # type: ignore[arg-type]


def test_a_heap_is_opened_once(heap: Heap) -> None:
    heap.root["kept"] = 1
    with pytest.raises(RuntimeError, match="opened before"):
        heap.__init__("8MiB")  # type: ignore[misc]
    assert heap.root["kept"] == 1


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, *(partial(pickle.dumps, protocol=p) for p in range(6))])
def test_a_heap_is_neither_copied_nor_pickled(heap: Heap, make: Callable[[Heap], object]) -> None:
    with pytest.raises(TypeError, match=r"^cannot pickle or copy a Heap; "):
        make(heap)
