"""Threads share one heap while it compacts, and nobody holds anybody up."""

import random
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from harness.heaps import HeapMaker, assert_documents, checksum, document, fill, thin
from harness.seed import SEED
from subduct import Dict, Heap, List

CYCLES = 25
KEYS_EACH = 4_000


@pytest.fixture
def eager_switching() -> Iterator[None]:
    """Let Python change threads a thousand times more often than it does by itself."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(before)


class Hammer:
    """One thread's part: it alone writes its range of keys and its own list; it reads everybody's."""

    def __init__(self, heap: Heap, thread: int, threads: int, keys: int = KEYS_EACH) -> None:
        self.rng = random.Random(f"{SEED} {thread}")
        self.documents = heap.root["documents"]
        self.own_list = heap.root["lists"][thread]
        self.range = range(thread * keys, (thread + 1) * keys)
        self.everything = threads * keys
        self.twin = {number: document(number) for number in self.range}
        self.list_twin: list[Any] = []

    def run(self, stop: threading.Event) -> int:
        """Work until told to stop, but take a step; returns the number of steps."""
        self.step()
        steps = 1
        while not stop.is_set():
            self.step()
            steps += 1
        self.check()
        return steps

    def step(self) -> None:
        """One random operation on heap and twin."""
        self.rng.choice((self.replace, self.replace, self.delete, self.read_own, self.read_any, self.change_list))()

    def check(self) -> None:
        """Compare all that this thread owns."""
        assert self.own_list.to_python() == self.list_twin
        for key in self.range:
            assert (key in self.documents) is (key in self.twin)

    def replace(self) -> None:
        key, version = self.rng.choice(self.range), self.rng.randrange(1 << 40)
        self.documents[key] = document(key, version)
        self.twin[key] = document(key, version)

    def delete(self) -> None:
        key = self.rng.choice(self.range)
        assert self.documents.pop(key, None) == self.twin.pop(key, None)

    def read_own(self) -> None:
        key = self.rng.choice(self.range)
        found = self.documents.get(key)
        assert (None if found is None else found.to_python()) == self.twin.get(key)

    def read_any(self) -> None:
        key = self.rng.randrange(self.everything)
        found = self.documents.get(key)
        if found is not None:
            assert found["id"] == key
            assert found["check"] == checksum(key, found["version"])
            assert found["tags"][1] == key * 2**61

    def change_list(self) -> None:
        if len(self.list_twin) > 50:
            at = self.rng.randrange(50)
            del self.own_list[at::2]
            del self.list_twin[at::2]
        item = [self.rng.random(), {"text": "y" * self.rng.randrange(100)}]
        at = self.rng.randrange(len(self.list_twin) + 1)
        self.own_list.insert(at, item)
        self.list_twin.insert(at, item)


def moving_cycles(heap: Heap, count: int) -> int:
    """Run cycles until so many moved something; returns the number run. Only a deadlock keeps it from ending."""
    target = heap.stats().moves + count
    run = 0
    while heap.stats().moves < target:
        heap.collect()
        run += 1
        assert run < 100 * count, "the cycles move nothing"
    return run


@pytest.mark.usefixtures("eager_switching")
@pytest.mark.parametrize(("threads", "recycle"), [(2, "pool"), (5, "keep")])
def test_threads_hammer_one_heap_while_cycles_run(make_heap: HeapMaker, threads: int, recycle: str) -> None:
    heap = make_heap("128MiB", recycle=recycle)
    heap.root["lists"] = [[] for _ in range(threads)]
    fill(heap, threads * KEYS_EACH)
    hammers = [Hammer(heap, thread, threads) for thread in range(threads)]
    stop = threading.Event()
    with ThreadPoolExecutor(threads + 1) as pool:
        work = [pool.submit(hammer.run, stop) for hammer in hammers]
        try:
            assert moving_cycles(heap, CYCLES) >= CYCLES
        finally:
            stop.set()
        assert all(each.result() > 0 for each in work)
    expected = {key: value for hammer in hammers for key, value in hammer.twin.items()}
    assert heap.root["documents"].to_python() == expected


@pytest.mark.usefixtures("eager_switching")
def test_a_hundred_thousand_operations_while_every_64_kib_start_a_cycle(make_heap: HeapMaker) -> None:
    threads, keys, steps = 4, 400, 25_000
    heap = make_heap("64MiB", stress=64 * 1024)
    heap.root["lists"] = [[] for _ in range(threads)]
    fill(heap, threads * keys)
    hammers = [Hammer(heap, thread, threads, keys) for thread in range(threads)]

    def work(hammer: Hammer) -> None:
        for _ in range(steps):
            hammer.step()
        hammer.check()

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, hammers))
    expected = {key: value for hammer in hammers for key, value in hammer.twin.items()}
    assert heap.root["documents"].to_python() == expected
    assert heap.stats().moves > 10


def test_threads_append_to_one_list(make_heap: HeapMaker) -> None:
    heap = make_heap(stress=64 * 1024)
    shared = heap.list()

    def work(thread: int) -> None:
        for number in range(3_000):
            shared.append((thread, number))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    got = shared.to_python()
    assert len(got) == 12_000
    for thread in range(4):
        assert [number for owner, number in got if owner == thread] == list(range(3_000))


def test_setdefault_from_many_threads_stores_one_value(make_heap: HeapMaker) -> None:
    heap = make_heap(stress=64 * 1024)
    shared = heap.dict()

    def work(thread: int) -> list[Any]:
        return [shared.setdefault(key, [thread]).to_python() for key in range(1_000)]

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(work, range(4)))
    assert len(shared) == 1_000
    assert all(result == results[0] for result in results)


def test_a_thread_that_waits_outside_the_heap_does_not_delay_a_cycle(heap: Heap) -> None:
    thin(fill(heap, 5_000), keep_every=10)
    used, leave = threading.Event(), threading.Event()

    def sit() -> int:
        documents = heap.root["documents"]
        before = len(documents)
        used.set()
        leave.wait()
        return before - len(documents)

    with ThreadPoolExecutor(1) as pool:
        sitting = pool.submit(sit)
        used.wait()
        moves = heap.stats().moves
        heap.collect()
        assert heap.stats().moves > moves
        assert not sitting.done()
        leave.set()
        assert sitting.result() == 0


def pause_in(step: Callable[[], object]) -> Iterator[tuple[str, int]]:
    """Pairs for a dict, with something else happening between them."""
    for number in range(20):
        step()
        yield f"key {number}", number


def test_python_code_inside_an_operation_may_collect(heap: Heap) -> None:
    documents = fill(heap, 2_000)
    thin(documents, keep_every=4)
    mixed = heap.list([3, 1, 2])
    pairs = heap.dict()

    def collecting_key(value: int) -> int:
        heap.collect()
        return -value

    mixed.sort(key=collecting_key)
    assert mixed.to_python() == [3, 2, 1]
    pairs.update(pause_in(heap.collect))
    assert pairs.to_python() == {f"key {number}": number for number in range(20)}
    mixed.extend(number for _, number in pause_in(heap.collect))
    assert mixed.to_python() == [3, 2, 1, *range(20)]


def test_an_iterator_survives_cycles_between_its_steps(heap: Heap) -> None:
    documents = fill(heap, 5_000)
    thin(documents, keep_every=5)
    seen = []
    for step, (number, found) in enumerate(documents.items()):
        if step % 100 == 0:
            heap.collect()
        assert isinstance(found, Dict)
        assert found["check"] == checksum(number, 0)
        seen.append(number)
    assert seen == list(range(0, 5_000, 5))


def test_short_lived_threads_leave_nothing_behind(heap: Heap) -> None:
    numbers = heap.list()
    handles = heap.stats().handles

    def work(number: int) -> None:
        mine: List = heap.list([number])
        numbers.append(mine)

    for number in range(200):
        thread = threading.Thread(target=work, args=(number,))
        thread.start()
        thread.join()
    heap.collect()
    assert numbers.to_python() == [[number] for number in range(200)]
    assert heap.stats().handles == handles


def test_cycles_asked_for_by_many_threads_at_once(heap: Heap) -> None:
    thin(fill(heap, 5_000), keep_every=10)
    with ThreadPoolExecutor(4) as pool:
        reports = [report.result() for report in [pool.submit(heap.collect) for _ in range(12)]]
    assert all(report.verified for report in reports)
    assert_documents(heap.root["documents"], range(0, 5_000, 10))
