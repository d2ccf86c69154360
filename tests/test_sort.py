"""List.sort() does what list.sort() does: the same order, the same exceptions."""

import copy
import operator
import random
from typing import Any

import pytest

from harness.indices import FailingIndex
from harness.outcome import Operation, assert_same, outcome, plain
from subduct import Heap

MIXED: list[Any] = [3, "a", None, [1, 2], {"k": [3]}, (1, 2), True, 2.5, b"x", 3, "a" * 100, 2**80]
NUMBERS: list[Any] = [(7 * i) % 1_000 for i in range(1_000)]
SAMPLES: list[list[Any]] = [[], [1], MIXED, NUMBERS]


OPERATIONS: dict[str, Operation] = {
    "by text": lambda s: s.sort(key=lambda x: str(plain(x))),
    "by length": lambda s: s.sort(key=lambda x: len(str(plain(x))), reverse=True),
    "by constant": lambda s: s.sort(key=lambda _: 0, reverse=True),
    "mixed": lambda s: s.sort(),
    "reverse 1": lambda s: s.sort(key=lambda x: str(plain(x)), reverse=1),
    "reverse 0": lambda s: s.sort(key=lambda x: str(plain(x)), reverse=0),
    "reverse float": lambda s: s.sort(key=str, reverse=1.5),
    "reverse None": lambda s: s.sort(key=lambda x: str(plain(x)), reverse=None),
    "reverse failing": lambda s: s.sort(key=str, reverse=FailingIndex()),
    "unknown": lambda s: s.sort(kye=str),
    "positional": lambda s: s.sort(str),
    "failing": lambda s: s.sort(key=lambda x: 1 // (x != 2.5)),
}


# Refused alike, but in words of PyO3's or with proxies' names that the builtin has no reason to mention.
OWN_WORDS = {"positional", "unknown", "mixed"}


@pytest.mark.parametrize("sample", SAMPLES, ids=["empty", "one", "mixed", "numbers"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_operations(heap: Heap, name: str, sample: list[Any]) -> None:
    operation, builtin = OPERATIONS[name], copy.deepcopy(sample)
    if name in OWN_WORDS and outcome(operation, copy.deepcopy(sample))[0] == "TypeError":
        mine = heap.list(sample)
        assert outcome(operation, mine)[0] == "TypeError"
        assert mine == builtin
    else:
        assert_same(operation, heap.list(sample), builtin)


def test_sorting_is_stable_and_exact(heap: Heap, rng: random.Random) -> None:
    builtin = [(rng.randrange(20), i) for i in range(2_000)]
    mine = heap.list(builtin)
    for reverse in (False, True):
        mine.sort(key=operator.itemgetter(0), reverse=reverse)
        builtin.sort(key=operator.itemgetter(0), reverse=reverse)
        assert mine == builtin


def test_sorting_compares_containers(heap: Heap) -> None:
    builtin: list[Any] = [[2, 1], [1, [3]], [1, [2, 5]], [], [2]]
    mine = heap.list(builtin)
    mine.sort()
    assert mine == sorted(builtin)
    with pytest.raises(TypeError, match="not supported between instances of 'Dict' and 'Dict'"):
        heap.list([{}, {}]).sort()


def test_a_list_that_changes_while_it_is_sorted(heap: Heap) -> None:
    mine = heap.list([3, 1, 2])

    def key(value: int) -> int:
        mine.append(9)
        return value

    with pytest.raises(ValueError, match="list modified during sort"):
        mine.sort(key=key)
    assert mine == [3, 1, 2, 9, 9, 9]


@pytest.mark.parametrize(
    "change",
    [
        lambda s: (s.append(9), s.pop()),
        lambda s: (s.insert(0, 9), s.pop(0)),
        lambda s: operator.setitem(s, 0, s[0]),
        lambda s: operator.setitem(s, slice(0, 1), [s[0]]),
        lambda s: (s.reverse(), s.reverse()),
        lambda s: (s.extend([1]), operator.delitem(s, -1)),
    ],
    ids=range(6),
)
@pytest.mark.parametrize("length", [3, 300])
def test_a_change_during_a_sort_is_noticed_if_nothing_is_left_of_it(heap: Heap, change: Operation, length: int) -> None:
    mine = heap.list(range(length))

    def key(value: int) -> int:
        if value == 1:
            change(mine)
        return -value

    with pytest.raises(ValueError, match="list modified during sort"):
        mine.sort(key=key)
    assert mine == [*range(length)]


def test_a_key_that_changes_the_list_when_it_dies_is_noticed(heap: Heap) -> None:
    class Key:
        def __init__(self, value: int) -> None:
            self.value = value

        def __lt__(self, other: "Key") -> bool:
            return self.value < other.value

        def __del__(self) -> None:
            mine[:] = [7]

    mine = heap.list(range(10))
    with pytest.raises(ValueError, match="list modified during sort"):
        mine.sort(key=Key)
    assert mine == [7]


def test_reading_during_a_sort_is_no_change(heap: Heap) -> None:
    mine = heap.list([3, 1, 2])
    mine.sort(key=lambda value: (len(mine), mine.index(value), mine[:], mine.copy(), [*mine], 3 in mine, value)[-1])
    assert mine == [1, 2, 3]


def test_a_failing_key_changes_nothing(heap: Heap) -> None:
    mine = heap.list([3, 1, 2])
    with pytest.raises(ZeroDivisionError):
        mine.sort(key=lambda value: 1 / (value - 2))
    assert mine == [3, 1, 2]
