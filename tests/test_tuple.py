"""Tuple does what tuple does: the same results, the same exceptions."""

import collections
import copy
import gc
import math
import operator
import weakref
from collections.abc import Hashable, MutableSequence, Sequence
from typing import Any, NamedTuple

import pytest

from harness.heaps import HeapMaker
from harness.indices import FailingIndex
from harness.outcome import Operation, assert_same, outcome
from subduct import Heap, HeapClosed, List, Tuple

MIXED: tuple[Any, ...] = (3, "a", None, [1, 2], {"k": [3]}, (1, (2,)), True, 2.5, b"x", 3, "a" * 100, 2**80)
SAMPLES: list[tuple[Any, ...]] = [(), (1,), MIXED, tuple(range(1_000))]


class Point(NamedTuple):
    x: int
    y: int


def added(t: Any, other: Any) -> Any:
    t += other
    return t


OPERATIONS: dict[str, Operation] = {
    "first and last": lambda t: (t[0], t[-1]),
    "beyond": lambda t: t[len(t)],
    "far before": lambda t: t[-len(t) - 1],
    "index str": lambda t: t["0"],
    "index huge": lambda t: t[2**70],
    "slices": lambda t: [t[1:3], t[::-1], t[::2], t[5:2], t[-3:], t[:], t[100:], t[8:1:-3]],
    "slice with step 0": lambda t: t[::0],
    "contains": lambda t: [x in t for x in (3, 3.0, "a", True, [1, 2], (1, (2,)), {"k": [3]}, "b", Ellipsis)],
    "len and truth": lambda t: (len(t), bool(t)),
    "iterate": list,
    "reversed": lambda t: list(reversed(t)),
    "index": lambda t: t.index(3),
    "index between": lambda t: t.index(3, 1, -2),
    "index missing": lambda t: t.index("missing"),
    "count": lambda t: [t.count(x) for x in (3, True, "a", (1, (2,)), [1, 2], "missing", Ellipsis)],
    "add": lambda t: t + (1, [2]),
    "radd": lambda t: (1, [2]) + t,
    "add itself": lambda t: t + t,
    "add named": lambda t: t + Point(1, 2),
    "add list": lambda t: t + [1],
    "add deque": lambda t: t + collections.deque([1]),
    "add what has radd": lambda t: t + collections.UserList([1]),
    "add to it what has radd": lambda t: added(t, collections.UserList([1])),
    "concat what has radd": lambda t: operator.concat(t, collections.UserList([1])),
    "mul": lambda t: [t * n for n in (-1, 0, 1, 3)],
    "mul float": lambda t: t * 1.5,
    "mul huge": lambda t: t * 2**63,
    "mul failing": lambda t: t * FailingIndex(),
    "index None": lambda t: t.index(3, None),
    "index too many": lambda t: t.index(3, 0, 1, 2),
    "init": lambda t: t.__init__(),
    "rmul": lambda t: 3 * t,
    "order": lambda t: (t < (3, "b"), t <= (), t > (1,), t >= (3,)),
    "order itself": lambda t: (t < t, t <= t),
    "order list": lambda t: t < [],
    "hash": hash,
}


@pytest.mark.parametrize("sample", SAMPLES, ids=["empty", "one", "mixed", "numbers"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_operations(heap: Heap, name: str, sample: tuple[Any, ...]) -> None:
    assert_same(OPERATIONS[name], heap.tuple(sample), copy.deepcopy(sample))


@pytest.mark.parametrize(
    "change",
    [
        lambda t: operator.setitem(t, 0, 1),
        lambda t: operator.delitem(t, 0),
        lambda t: t.append(1),
        lambda t: t.sort(),
        lambda t: t.__dict__,
    ],
    ids=range(5),
)
def test_it_does_not_change(heap: Heap, change: Operation) -> None:
    mine = heap.tuple((1, 2))
    assert outcome(change, mine)[0] == outcome(change, (1, 2))[0]
    assert mine == (1, 2)


def test_what_it_refers_to_may_change(heap: Heap) -> None:
    mine = heap.tuple(([], {}))
    mine[0].append(mine)
    mine[1]["x"] = 1
    assert mine[0][0] == mine
    assert repr(mine) == "Tuple(2 items: (List(1 item), Dict(1 item)))"
    inside = mine.to_python()
    assert inside[0][0] is inside
    assert inside[1] == {"x": 1}


@pytest.mark.parametrize(
    "content", [(), (1, "x", 2.5, None), ((), ((1,), b"y")), (2**100, -0.0, math.inf), tuple(range(500))]
)
def test_hash_is_that_of_the_equal_tuple(heap: Heap, content: tuple[Any, ...]) -> None:
    mine = heap.tuple(content)
    assert hash(mine) == hash(content)
    found: dict[Any, str] = {content: "found"}
    assert found[mine] == "found"
    assert content in {mine, 1}


@pytest.mark.parametrize(("content", "name"), [(([],), "List"), ((1, ({},)), "Dict")])
def test_unhashable(heap: Heap, content: tuple[Any, ...], name: str) -> None:
    with pytest.raises(TypeError, match=f"^unhashable type: '{name}'$"):
        hash(heap.tuple(content))


def test_what_nests_too_deep_is_not_hashed(heap: Heap) -> None:
    deep: tuple[Any, ...] = ()
    for _ in range(1_000):
        deep = (deep,)
    with pytest.raises(RecursionError):
        hash(heap.tuple(deep))


@pytest.mark.parametrize(
    "right", [(), (1,), (1, [2, (3,)]), (1.0, [2, (3,)]), (1, (2, (3,))), [1], None, "x"], ids=repr
)
@pytest.mark.parametrize("left", [(), (1,), (1, [2, (3,)])], ids=repr)
def test_equality(make_heap: HeapMaker, left: tuple[Any, ...], right: Any) -> None:
    heap, other = make_heap(), make_heap("16MiB")
    mine = heap.tuple(left)
    sides = [right, *([heap.tuple(right), other.tuple(right)] if isinstance(right, tuple) else [])]
    for side in sides:
        assert (mine == side) is (left == right)
        assert (side == mine) is (left == right)
        assert (mine != side) is (left != right)


def test_a_named_tuple_equals_but_is_not_stored(heap: Heap) -> None:
    assert heap.tuple((1, 2)) == Point(1, 2)
    assert heap.tuple(Point(1, 2)) == (1, 2)
    with pytest.raises(TypeError, match=r"cannot store .*Point at \[0\]"):
        heap.tuple([Point(1, 2)])


def test_it_is_a_sequence(heap: Heap) -> None:
    mine = heap.tuple((1, (2, 3)))
    assert isinstance(mine, Sequence)
    assert isinstance(mine, Hashable)
    assert not isinstance(mine, MutableSequence)
    match mine:
        case (first, (second, *rest)):
            assert (first, second, rest) == (1, 2, [3])
        case _:
            pytest.fail("a Tuple is no sequence pattern's match")
    assert Tuple[int].__origin__ is Tuple  # type: ignore[attr-defined]


def test_slices_and_sums_share_their_elements(heap: Heap) -> None:
    mine = heap.tuple(([], 1, "x" * 50))
    for part in (mine[:1], mine + mine, mine * 2, (0,) + mine):
        assert isinstance(part, Tuple)
        found = next(each for each in part if isinstance(each, List))
        found.append(len(part))
    assert mine[0] == [1, 6, 6, 4]


@pytest.mark.parametrize("times", [2**62, 10**14, 2**32, 10**7])
def test_a_tuple_too_long_for_any_heap(heap: Heap, times: int) -> None:
    contents: list[tuple[Any, ...]] = [(1,), (1, "a" * 40), ([],)]
    for content in contents:
        mine = heap.tuple(content)
        with pytest.raises(MemoryError):
            mine * times
        with pytest.raises(MemoryError):
            times * mine
        assert mine == content
    assert heap.stats().resident_bytes < 2**22
    assert heap.tuple() * times == ()


def test_long_repetitions(heap: Heap) -> None:
    content: tuple[Any, ...] = (1, [2], "x" * 50)
    for times in (1, 2, 100, 1_023):
        assert (heap.tuple(content) * times).to_python() == content * times


def test_copies(heap: Heap) -> None:
    mine = heap.tuple(([1],))
    same, deep = copy.copy(mine), copy.deepcopy(mine)
    mine[0].append(2)
    assert same == ([1, 2],)
    assert deep == ([1],)


def test_iterators(heap: Heap) -> None:
    iterator = iter(heap.tuple(range(3)))
    assert operator.length_hint(iterator) == 3
    assert [*iterator, *iterator] == [0, 1, 2]
    assert operator.length_hint(iterator) == 0


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ((), "Tuple(0 items)"),
        (("a",), "Tuple(1 item: ('a',))"),
        ((1, [2], (3,)), "Tuple(3 items: (1, List(1 item), Tuple(1 item)))"),
        (tuple(range(9)), "Tuple(9 items: (0, 1, 2, 3, ...))"),
    ],
)
def test_repr(heap: Heap, content: tuple[Any, ...], text: str) -> None:
    assert repr(heap.tuple(content)) == text


def test_a_closed_heap(heap: Heap) -> None:
    mine = heap.tuple((1, 2))
    heap.close()
    for use in (lambda: mine[0], lambda: hash(mine), lambda: len(mine), lambda: 1 in mine, mine.to_python):
        with pytest.raises(HeapClosed):
            use()
    assert repr(mine) == "Tuple(in a closed heap)"


def test_weak_references(heap: Heap) -> None:
    mine = heap.tuple((1,))
    seen = weakref.ref(mine)
    assert seen() is mine
    del mine
    gc.collect()
    assert seen() is None


@pytest.mark.parametrize("make", [list, tuple, iter, set, dict.fromkeys], ids=range(5))
def test_made_from(heap: Heap, make: Operation) -> None:
    assert heap.tuple(make([5])) == (5,)
    assert heap.tuple() == ()
    with pytest.raises(TypeError, match="not iterable"):
        heap.tuple(5)  # type: ignore[arg-type]
