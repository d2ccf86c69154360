"""What is removed and returned is not lost where Python has no memory for its object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from subduct import Dict, Heap, List

_testcapi = pytest.importorskip("_testcapi", reason="this interpreter cannot refuse memory on demand")

# What fits a slot, short objects of the heap, containers, and what is copied in pieces.
VALUES = {
    "int": 1 << 40,
    "float": 1.5,
    "short text": "sixteen",
    "text": "text of the heap " * 9,
    "short bytes": b"sixteen",
    "bytes": b"bytes of the heap" * 9,
    "list": [1, 2],
    "dict": {"a": 1},
    "tuple": (1,),
    "long text": "é" * 200_000,
    "long bytes": b"x" * 400_000,
}
REFUSALS = 12


def pop(value: object, heap: Heap) -> tuple[Callable[[], Any], Dict]:
    container = heap.dict({"a": 0, "k": value, "z": 1})
    return lambda take=container.pop: take("k"), container


def popitem(value: object, heap: Heap) -> tuple[Callable[[], Any], Dict]:
    container = heap.dict({"a": 0, ("a", "tuple"): value})
    return container.popitem, container


def pop_last(value: object, heap: Heap) -> tuple[Callable[[], Any], List]:
    container = heap.list([0, value])
    return container.pop, container


def pop_first(value: object, heap: Heap) -> tuple[Callable[[], Any], List]:
    container = heap.list([value, 0])
    return lambda take=container.pop: take(0), container


@pytest.mark.parametrize("remove", [pop, popitem, pop_last, pop_first], ids=lambda remove: remove.__name__)
@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_nothing_is_lost_when_memory_is_refused(
    value: object, remove: Callable[[object, Heap], tuple[Callable[[], Any], Any]], heap: Heap
) -> None:
    refused = 0
    for number in range(REFUSALS):
        take, container = remove(value, heap)
        before = container.to_python()
        # CPython keeps some tuples of two for those who want one.
        hoard = [(None, each) for each in range(3_000)]
        _testcapi.set_nomemory(number, number + 1)
        try:
            taken = take()
        except MemoryError:
            taken = None
        finally:
            _testcapi.remove_mem_hooks()
        del hoard
        if taken is None:
            refused += 1
            assert container.to_python() == before
        else:
            assert len(container) == len(before) - 1
    assert 0 < refused < REFUSALS
    heap.verify()
