"""Whatever takes an index takes and refuses the same ones as the builtins, with the same words."""

from array import array
from collections import deque
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest

from harness.indices import FailingIndex, Index, InstanceIndex
from harness.outcome import Operation, assert_same
from subduct import Heap


def at(operation: Callable[[Any, Any], Any], index: Any) -> Operation:
    return lambda sequence: operation(sequence, index)


READS: dict[str, Callable[[Any, Any], Any]] = {
    "get": lambda s, i: s[i],
    "slice start": lambda s, i: list(s[i:]),
    "slice stop": lambda s, i: list(s[:i]),
    "slice step": lambda s, i: list(s[::i]),
    "index from": lambda s, i: s.index(2, i),
    "index to": lambda s, i: s.index(2, 0, i),
}
CHANGES: dict[str, Callable[[Any, Any], Any]] = {
    "insert": lambda s, i: s.insert(i, 0),
    "pop": lambda s, i: s.pop(i),
    "set": lambda s, i: s.__setitem__(i, 0),
    "set slice": lambda s, i: s.__setitem__(slice(i, i), [0]),
    "delete": lambda s, i: s.__delitem__(i),
    "delete slice": lambda s, i: s.__delitem__(slice(None, i)),
}
# What fits is multiplied elsewhere: here it would fill the heap.
MULTIPLIES: dict[str, Callable[[Any, Any], Any]] = {
    "multiply": lambda s, i: list(s * i),
    "multiplied": lambda s, i: list(i * s),
}
IN_PLACE: dict[str, Callable[[Any, Any], Any]] = {"multiply in place": lambda s, i: s.__imul__(i) is s}

BEYOND = [2**63, -(2**63) - 1, 2**70, -(2**70), 10**1_000, -(10**1_000)]
EDGES = [0, -1, 2, 3, -3, -4, True, 2**63 - 1, -(2**63)]
INDICES: list[Any] = [
    *BEYOND,
    *EDGES,
    *map(Index, BEYOND),
    Index(1),
    Index(-9),
    FailingIndex(),
    1.5,
    "1",
    None,
    b"1",
    [1],
]
INDICES += [InstanceIndex(), int, deque([1]), array("b", [1]), Fraction(1), type("Long" * 60, (), {})()]


@pytest.mark.parametrize("name", [*READS, *CHANGES])
def test_lists(heap: Heap, name: str) -> None:
    operation = (READS | CHANGES)[name]
    for index in INDICES:
        assert_same(at(operation, index), heap.list([1, 2, 3]), [1, 2, 3])


@pytest.mark.parametrize("name", READS)
def test_tuples(heap: Heap, name: str) -> None:
    for index in INDICES:
        assert_same(at(READS[name], index), heap.tuple((1, 2, 3)), (1, 2, 3))


@pytest.mark.parametrize("name", [*MULTIPLIES, *IN_PLACE])
def test_multiples(heap: Heap, name: str) -> None:
    operation = (MULTIPLIES | IN_PLACE)[name]
    for index in INDICES:
        if index == 2**63 - 1:
            # For this one the builtin has no words.
            with pytest.raises(MemoryError):
                operation(heap.list([1, 2, 3]), index)
            continue
        assert_same(at(operation, index), heap.list([1, 2, 3]), [1, 2, 3])
        if name in MULTIPLIES:
            assert_same(at(operation, index), heap.tuple((1, 2, 3)), (1, 2, 3))
