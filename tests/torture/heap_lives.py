"""Heaps that are made and closed in a loop: in use, in the middle of cycles, and in every way that heaps can end."""

import threading
from collections.abc import Callable, Generator
from typing import Any

from harness.heaps import assert_documents, document, fill, thin
from subduct import Dict, Heap, HeapClosed
from torture.setting import Setting
from torture.writer import Background

DOCUMENTS = 300
REPLACED = 5


class Garbage:
    """Refers to itself, and so keeps what it has until Python's own collector comes."""

    def __init__(self, *kept: object) -> None:
        self.itself, self.kept = self, kept


def _closed(heap: Heap) -> None:
    heap.close()
    assert heap.closed


def _closed_twice(heap: Heap) -> None:
    heap.close()
    heap.close()
    assert heap.closed


def _left(heap: Heap) -> None:
    with heap:
        heap.root["more"] = [1, 2, 3]
    assert heap.closed


def _by_another_thread(heap: Heap) -> None:
    closer = threading.Thread(target=heap.close)
    closer.start()
    closer.join()
    assert heap.closed


def _outlived(heap: Heap) -> None:
    documents = heap.root["documents"]
    heap.close()
    try:
        documents[0]
    except HeapClosed:
        return
    raise AssertionError("a proxy did not notice that its heap was closed")


def _dropped(heap: Heap) -> None:
    assert not heap.closed


def _left_as_garbage(heap: Heap) -> None:
    Garbage(heap, heap.root, heap.root["documents"])


# After each of these the heap is closed, or nobody can reach it any more.
ENDS: tuple[Callable[[Heap], None], ...] = (
    _closed,
    _closed_twice,
    _left,
    _by_another_thread,
    _outlived,
    _dropped,
    _left_as_garbage,
)


def torment(setting: Setting) -> Generator[None]:
    while True:
        for end in ENDS:
            _live(setting, end)
            _closed_while_in_use(setting)
            setting.tally.operations += 2 * DOCUMENTS
        yield


def _live(setting: Setting, end: Callable[[Heap], None]) -> None:
    heap = Heap("32MiB", delivery=setting.delivery, stress=setting.rng.choice((None, "64kiB")))
    documents = fill(heap, DOCUMENTS)
    thin(documents, keep_every=3)
    heap.collect()
    assert_documents(documents, range(0, DOCUMENTS, 3))
    setting.count(heap)
    del documents
    end(heap)


def _closed_while_in_use(setting: Setting) -> None:
    heap = Heap("32MiB", delivery=setting.delivery)
    documents = fill(heap, DOCUMENTS)
    users = [
        Background(_until_closed(action))
        for action in (lambda: _read(documents), lambda: documents.update({REPLACED: {"id": -1}}), heap.collect)
    ]
    for user in users:
        user.start()
    # From now to some cycles later.
    for _ in range(setting.rng.randrange(3)):
        heap.collect()
    setting.count(heap)
    heap.close()
    for user in users:
        user.stop()
    for user in users:
        user.finish()


def _until_closed(action: Callable[[], Any]) -> Callable[[], None]:
    """Does something again and again until the heap is closed under it."""

    def act() -> None:
        try:
            while True:
                action()
        except HeapClosed:
            pass

    return act


def _read(documents: Dict) -> None:
    found = documents[REPLACED].to_python()
    assert found in (document(REPLACED), {"id": -1}), f"document {REPLACED} is neither old nor new"
