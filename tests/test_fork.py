"""A forked child has no heap and is told so; the parent does not notice."""

import os
import threading
from collections.abc import Callable

from harness.heaps import Delivery, assert_documents, fill, thin
from subduct import Heap, HeapClosed

AS_TOLD, SURPRISED = 0, 1


def in_child(action: Callable[[], bool]) -> int:
    """Fork, run the action in the child, and return its exit code: AS_TOLD if the action says so."""
    child = os.fork()
    if child == 0:
        code = SURPRISED
        try:
            code = AS_TOLD if action() else SURPRISED
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def is_told(operation: Callable[[], object]) -> bool:
    """Whether the operation raises HeapClosed with a reason that names the fork."""
    try:
        operation()
    except HeapClosed as error:
        return "fork" in str(error)
    return False


def test_the_child_is_told_on_first_use(heap: Heap) -> None:
    documents = fill(heap, 1_000)
    first = documents[0]
    assert in_child(lambda: is_told(lambda: heap.root["documents"])) == AS_TOLD
    assert in_child(lambda: is_told(lambda: documents[5])) == AS_TOLD
    assert in_child(lambda: is_told(lambda: first.update(name="changed"))) == AS_TOLD
    assert in_child(lambda: is_told(lambda: list(documents))) == AS_TOLD
    assert in_child(lambda: is_told(heap.collect)) == AS_TOLD
    assert_documents(documents, range(1_000))


def test_the_child_is_told_when_it_stores_what_the_parent_has(heap: Heap) -> None:
    documents = fill(heap, 10)

    def store() -> bool:
        with Heap("16MiB") as own:
            stores = (lambda: own.root.update(a=documents), lambda: own.list([0]).append([documents]))
            return all(map(is_told, stores)) and not own.root

    assert in_child(store) == AS_TOLD
    assert_documents(documents, range(10))


def test_the_child_may_drop_proxies_and_close(heap: Heap) -> None:
    documents = fill(heap, 1_000)

    def drop_and_close() -> bool:
        nonlocal documents
        del documents
        heap.close()
        heap.close()
        return True

    assert in_child(drop_and_close) == AS_TOLD
    assert_documents(documents, range(1_000))
    assert not heap.closed


def test_the_child_can_have_a_heap_of_its_own(heap: Heap, delivery: Delivery) -> None:
    documents = fill(heap, 1_000)

    def another() -> bool:
        with Heap("64MiB", delivery=delivery, verify=True) as mine:
            thin(fill(mine, 20_000), keep_every=4)
            mine.collect()
            return len(mine.root["documents"]) == 5_000 and mine.stats().moves > 0

    assert in_child(another) == AS_TOLD
    assert_documents(documents, range(1_000))


def test_forks_in_the_middle_of_cycles_disturb_nobody(heap: Heap) -> None:
    documents = fill(heap, 10_000)
    thin(documents, keep_every=2)
    stop = threading.Event()
    reports = []

    def keep_collecting() -> None:
        while True:
            reports.append(heap.collect())
            if stop.is_set():
                break

    collector = threading.Thread(target=keep_collecting)
    collector.start()
    try:
        for _ in range(20):
            assert in_child(lambda: is_told(lambda: documents[0])) == AS_TOLD
    finally:
        stop.set()
        collector.join()
    assert reports
    assert all(report.verified for report in reports)
    assert_documents(documents, range(0, 10_000, 2))
