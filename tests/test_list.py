"""List does what list does: the same results, the same exceptions, the same order."""

import copy
import gc
import math
import operator
import random
import weakref
from collections.abc import Callable, Hashable, Iterator, MutableSequence, Sequence
from typing import Any

import pytest

from harness.heaps import HeapMaker
from harness.indices import FailingIndex, Index
from harness.outcome import Operation, assert_same, outcome
from subduct import Heap, HeapClosed, HeapFull, List

MIXED: list[Any] = [3, "a", None, [1, 2], {"k": [3]}, (1, 2), True, 2.5, b"x", 3, "a" * 100, 2**80]
NUMBERS: list[Any] = [(7 * i) % 1_000 for i in range(1_000)]
SAMPLES: list[list[Any]] = [[], [1], MIXED, NUMBERS]


def failing(count: int) -> Iterator[int]:
    """Ints, and then an error."""
    yield from range(count)
    raise LookupError("no more")


def iadd(subject: Any, other: Any) -> Any:
    subject += other
    return subject


def imul(subject: Any, times: Any) -> Any:
    subject *= times
    return subject


OPERATIONS: dict[str, Operation] = {
    "first and last": lambda s: (s[0], s[-1]),
    "beyond": lambda s: s[len(s)],
    "far before": lambda s: s[-len(s) - 1],
    "index object": lambda s: s[Index(0)],
    "index bool": lambda s: s[False],
    "index str": lambda s: s["0"],
    "index float": lambda s: s[0.0],
    "index None": lambda s: s[None],
    "index huge": lambda s: s[2**70],
    "index fails": lambda s: s[FailingIndex()],
    "set": lambda s: operator.setitem(s, -1, {"new": []}),
    "set beyond": lambda s: operator.setitem(s, len(s), 1),
    "set str": lambda s: operator.setitem(s, "0", 1),
    "delete": lambda s: operator.delitem(s, 0),
    "delete beyond": lambda s: operator.delitem(s, -len(s) - 1),
    "delete str": lambda s: operator.delitem(s, "0"),
    "contains": lambda s: [x in s for x in (3, 3.0, "a", True, [1, 2], (1, 2), {"k": [3]}, b"x", "b", Ellipsis, 2**80)],
    "len and truth": lambda s: (len(s), bool(s)),
    "iterate": list,
    "reversed": lambda s: list(reversed(s)),
    "append": lambda s: s.append([1, {"x": ()}]),
    "extend list": lambda s: s.extend([1, [2], "x"]),
    "extend long": lambda s: s.extend([[i] for i in range(1_500)]),
    "extend tuple": lambda s: s.extend((1, 2)),
    "extend iterator": lambda s: s.extend(iter(range(600))),
    "extend str": lambda s: s.extend("abc"),
    "extend itself": lambda s: s.extend(s),
    "extend by lengths": lambda s: s.extend(len(s) for _ in range(3)),
    "iadd lengths": lambda s: iadd(s, (len(s) for _ in range(3))),
    "extend own iterator": lambda s: s.extend(x for x in s[:3]),
    "extend failing": lambda s: s.extend(failing(300)),
    "extend int": lambda s: s.extend(1),
    "insert front": lambda s: s.insert(0, "new"),
    "insert middle": lambda s: s.insert(len(s) // 2, ["new"]),
    "insert far": lambda s: (s.insert(100_000, 1), s.insert(-100_000, 2)),
    "insert object": lambda s: s.insert(Index(1), 1),
    "pop": lambda s: (s.pop(), s.pop()),
    "pop front": lambda s: s.pop(0),
    "pop beyond": lambda s: s.pop(5_000),
    "pop far before": lambda s: s.pop(-5_000),
    "pop all": lambda s: [s.pop() for _ in range(len(s) + 1)],
    "remove": lambda s: s.remove(3),
    "remove equal": lambda s: s.remove(3.0),
    "remove container": lambda s: s.remove([1, 2]),
    "remove missing": lambda s: s.remove("missing"),
    "index": lambda s: s.index(3),
    "index from": lambda s: s.index(3, 1),
    "index between": lambda s: s.index(3, -5, -1),
    "index in nothing": lambda s: s.index(3, 5, 2),
    "index huge bounds": lambda s: s.index(3, -(2**70), 2**70),
    "index container": lambda s: s.index({"k": [3]}),
    "index missing": lambda s: s.index("missing"),
    "index wrong bound": lambda s: s.index(3, "x"),
    "index from None": lambda s: s.index(3, None),
    "index until None": lambda s: s.index(3, 0, None),
    "index too many": lambda s: s.index(3, 0, 1, 2),
    "index nothing": lambda s: s.index(),
    "count": lambda s: [s.count(x) for x in (3, True, "a", (1, 2), [1, 2], "missing", Ellipsis)],
    "clear": lambda s: s.clear(),
    "clear and fill": lambda s: (s.clear(), s.append(1), s.extend([2, 3])),
    "copy": lambda s: s.copy(),
    "reverse": lambda s: s.reverse(),
    "add": lambda s: s + [1, [2]],
    "add itself": lambda s: s + s,
    "add tuple": lambda s: s + (1,),
    "radd tuple": lambda s: (1,) + s,
    "add int": lambda s: s + 1,
    "iadd": lambda s: iadd(s, [1, [2]]),
    "iadd str": lambda s: iadd(s, "ab"),
    "iadd itself": lambda s: iadd(s, s),
    "iadd int": lambda s: iadd(s, 1),
    "mul": lambda s: [s * n for n in (-1, 0, 1, 2, 3, 5)],
    "rmul": lambda s: 3 * s,
    "mul object": lambda s: s * Index(2),
    "mul float": lambda s: s * 1.5,
    "mul huge": lambda s: s * 2**63,
    "rmul huge": lambda s: 2**63 * s,
    "mul failing": lambda s: s * FailingIndex(),
    "mul list": lambda s: s * [2],
    "imul huge": lambda s: imul(s, 2**63),
    "imul failing": lambda s: imul(s, FailingIndex()),
    "insert failing": lambda s: s.insert(FailingIndex(), 1),
    "pop failing": lambda s: s.pop(FailingIndex()),
    "imul": lambda s: imul(s, 3),
    "imul one": lambda s: imul(s, 1),
    "imul nothing": lambda s: imul(s, 0),
    "imul less": lambda s: imul(s, -1),
    "imul float": lambda s: imul(s, 1.5),
    "init": lambda s: s.__init__([1, [2]]),
    "init nothing": lambda s: s.__init__(),
    "init itself": lambda s: s.__init__(s),
    "init iterator": lambda s: s.__init__(iter("ab")),
    "init int": lambda s: s.__init__(5),
    "order": lambda s: (s < [3, "b"], s <= [], s > [1], s >= [3]),
    "order itself": lambda s: (s < s, s <= s),
    "order tuple": lambda s: s < (),
}


# Refused alike, but in words of PyO3's.
OWN_WORDS = {"index nothing"}


@pytest.mark.parametrize("sample", SAMPLES, ids=["empty", "one", "mixed", "numbers"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_operations(heap: Heap, name: str, sample: list[Any]) -> None:
    operation = OPERATIONS[name]
    builtin = copy.deepcopy(sample)
    if name in OWN_WORDS and outcome(operation, copy.deepcopy(sample))[0] == "TypeError":
        mine = heap.list(sample)
        assert outcome(operation, mine)[0] == "TypeError"
        assert mine == builtin
    else:
        assert_same(operation, heap.list(sample), builtin)


def test_a_builtin_list_grows_in_place(heap: Heap) -> None:
    builtin: list[Any] = [7]
    grown = builtin
    grown += heap.list([1, [2]])
    assert grown is builtin
    assert builtin == [7, 1, [2]]
    assert type(builtin[2]) is List
    builtin[1:1] = heap.list("ab")
    assert builtin == [7, "a", "b", 1, [2]]


def test_only_a_proxy_adds_to_a_new_one(heap: Heap) -> None:
    mine = heap.list([1])
    assert isinstance(mine + [2], List)
    assert isinstance(mine + mine, List)
    with pytest.raises(TypeError, match=r'^can only concatenate list \(not "List"\) to list$'):
        [2] + mine  # type: ignore[operator]
    assert [2, *mine] == [2, 1]


BOUNDS = [None, 0, 1, 3, 7, 12, 100, -1, -3, -12, -100]
STEPS = [None, 1, 2, 5, 100, -1, -2, -5, -100]


def all_slices() -> Iterator[slice]:
    for start in BOUNDS:
        for stop in BOUNDS:
            for step in STEPS:
                yield slice(start, stop, step)


@pytest.mark.parametrize("length", [0, 1, 12])
def test_reading_slices(heap: Heap, length: int) -> None:
    builtin = [[i] for i in range(length)]
    mine = heap.list(builtin)
    for each in all_slices():
        part = mine[each]
        assert isinstance(part, List)
        assert part == builtin[each], each


@pytest.mark.parametrize("length", [0, 1, 12])
def test_deleting_slices(heap: Heap, length: int) -> None:
    for each in all_slices():
        builtin = list(range(length))
        mine = heap.list(builtin)
        del mine[each]
        del builtin[each]
        assert mine == builtin, each


@pytest.mark.parametrize("count", [0, 1, 3, 6])
def test_assigning_slices(heap: Heap, count: int) -> None:
    new = [["new", i] for i in range(count)]
    for each in all_slices():
        assert_same(put(each, new), heap.list(range(12)), [*range(12)])


def put(where: slice, new: Any) -> Operation:
    return lambda subject: operator.setitem(subject, where, new)


@pytest.mark.parametrize(
    "where", [slice(2, 4), slice(None), slice(3, 3), slice(9, None), slice(None, None, -1)], ids=str
)
@pytest.mark.parametrize("make", [list, tuple, iter, lambda x: (y for y in x), dict.fromkeys], ids=range(5))
def test_slices_take_any_iterable(heap: Heap, where: slice, make: Operation) -> None:
    for new in (range(10), range(1_000)):
        assert_same(lambda subject: operator.setitem(subject, where, make(new)), heap.list(range(10)), [*range(10)])  # noqa: B023


def test_slices_of_itself(heap: Heap) -> None:
    for where in (slice(2, 4), slice(None, None, -1), slice(None), slice(0, 0)):
        builtin: list[Any] = [[0], 1, 2, 3]
        assert_same(lambda s: operator.setitem(s, where, s), heap.list(builtin), builtin)  # noqa: B023


def test_slices_of_proxies_share(heap: Heap) -> None:
    source = heap.list([[0], {"a": 1}, "x" * 50])
    target = heap.list(range(6))
    target[1:3] = source
    target[::4] = heap.tuple(source[:2])
    target[0].append(9)
    assert target == [[0, 9], [0, 9], {"a": 1}, "x" * 50, {"a": 1}, 4, 5]
    assert source[0] == [0, 9]


@pytest.mark.parametrize("where", [slice(0, 1), slice(None, None, 2), slice("a", None), slice(0, 3, 0)], ids=str)
@pytest.mark.parametrize("make", [lambda: 5, lambda: None, lambda: failing(2)], ids=["int", "None", "failing"])
def test_slices_refuse(heap: Heap, where: slice, make: Callable[[], Any]) -> None:
    mine = heap.list(range(4))
    refused = outcome(lambda s: operator.setitem(s, where, make()), mine)
    assert refused[0] == outcome(lambda s: operator.setitem(s, where, make()), [*range(4)])[0]
    assert mine == [*range(4)]


def test_slices_with_a_step_of_nothing(heap: Heap) -> None:
    for use in (operator.getitem, operator.delitem, lambda s, where: operator.setitem(s, where, [])):
        assert_same(lambda s: use(s, slice(0, 3, 0)), heap.list(range(4)), [*range(4)])  # noqa: B023


def test_long_lists(heap: Heap, rng: random.Random) -> None:
    builtin: list[Any] = list(range(3_000))
    mine = heap.list(builtin)
    for _ in range(60):
        start, stop = sorted(rng.choices(range(len(builtin) + 1), k=2))
        new = [str(i) * 9 for i in range(rng.choice([0, 1, 700, 2_000]))]
        step = rng.choice([1, 1, 1, 2, -3])
        cut, part = slice(start, stop, step), slice(start, stop)
        changes: list[Operation] = [put(part, new), lambda s: operator.delitem(s, cut), lambda s: s.reverse()]  # noqa: B023
        change = rng.choice(changes)
        change(mine)
        change(builtin)
        assert len(mine) == len(builtin)
    assert mine.to_python() == builtin


@pytest.mark.parametrize("start", [iter, reversed])
@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.append(9),
        lambda s: s.clear(),
        lambda s: operator.delitem(s, slice(2, None)),
        lambda s: operator.setitem(s, slice(None), range(100, 104)),
        lambda s: s.insert(0, 7),
    ],
    ids=range(5),
)
def test_iterators_follow_changes(heap: Heap, start: Operation, change: Operation) -> None:
    def walk(s: Any) -> Any:
        iterator = start(s)
        seen = [next(iterator), operator.length_hint(iterator)]
        change(s)
        seen += [operator.length_hint(iterator), list(iterator)]
        s.extend([1, 2, 3, 4, 5])
        return [*seen, list(iterator), operator.length_hint(iterator)]

    assert_same(walk, heap.list(range(4)), [*range(4)])


@pytest.mark.parametrize(
    "right", [[], [1], [1, [2, (3,)]], [1, [2, [3]]], [1.0, [2, (3,)]], (1, [2, (3,)]), {}, None, "x"]
)
@pytest.mark.parametrize("left", [[], [1], [1, [2, (3,)]], [True, [2.0, (3,)]]])
def test_equality(make_heap: HeapMaker, left: list[Any], right: Any) -> None:
    heap, other = make_heap(), make_heap("16MiB")
    mine = heap.list(left)
    sides = [right, *([heap.list(right), other.list(right)] if isinstance(right, list) else [])]
    for side in sides:
        assert (mine == side) is (left == right)
        assert (side == mine) is (left == right)
        assert (mine != side) is (left != right)


def test_objects_that_equal_anything_are_found(heap: Heap) -> None:
    class Anything:
        def __eq__(self, other: object) -> bool:
            return other != 1

        __hash__ = None  # type: ignore[assignment]

    mine = heap.list([1, [2], 3])
    assert (mine.index(Anything()), mine.count(Anything()), Anything() in mine) == (1, 2, True)
    assert math.nan not in heap.list([math.nan])


def test_it_is_a_sequence(heap: Heap) -> None:
    mine = heap.list([1, [2, 3]])
    assert isinstance(mine, MutableSequence)
    assert isinstance(mine, Sequence)
    assert not isinstance(mine, Hashable)
    match mine:
        case [first, [second, *rest]]:
            assert (first, second, rest) == (1, 2, [3])
        case _:
            pytest.fail("a List is no sequence pattern's match")
    with pytest.raises(TypeError, match=r"^unhashable type: 'List'$"):
        hash(mine)
    first, (second, third) = mine
    assert [first, second, third] == [*mine[:1], *mine[1]]
    assert List[int].__origin__ is List


def test_copies(heap: Heap) -> None:
    mine = heap.list([[1]])
    shallow, also, sliced, deep = mine.copy(), copy.copy(mine), mine[:], copy.deepcopy(mine)
    mine[0].append(2)
    assert shallow == also == sliced == [[1, 2]]
    assert deep == [[1]]


def test_repeated_elements_are_shared(heap: Heap) -> None:
    mine = heap.list([[]]) * 3
    mine[0].append(1)
    assert mine == [[1], [1], [1]]
    mine += [mine]
    assert mine[3][3][0] == [1]
    assert repr(mine) == "List(4 items: [List(1 item), List(1 item), List(1 item), List(4 items)])"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([], "List(0 items)"),
        (["a"], "List(1 item: ['a'])"),
        ([1, 2.5, None, (1,), 5], "List(5 items: [1, 2.5, None, Tuple(1 item), ...])"),
        ([b"x" * 1000, "é" * 1000], f"List(2 items: [{b'x' * 40!r}..., {'é' * 20!r}...])"),
    ],
)
def test_repr(heap: Heap, content: list[Any], text: str) -> None:
    assert repr(heap.list(content)) == text


def test_a_list_too_long_for_any_heap(heap: Heap) -> None:
    mine = heap.list([1, 2])
    for times in (2**62, 10**14, 2**40, 2**32, 10**7):
        with pytest.raises(MemoryError):
            mine *= times
        with pytest.raises(MemoryError):
            mine * times
        with pytest.raises(MemoryError):
            times * mine
    assert mine == [1, 2]
    assert heap.stats().resident_bytes < 2**22
    assert heap.list() * 2**62 == []


@pytest.mark.parametrize("content", [[1], [1, [2]], [*range(1_500)]], ids=len)
@pytest.mark.parametrize("times", [7, 1_023, 1_025])
def test_long_repetitions(heap: Heap, content: list[Any], times: int) -> None:
    mine = heap.list(content)
    assert (mine * times).to_python() == content * times
    mine *= times
    assert mine.to_python() == content * times


def test_a_closed_heap(heap: Heap) -> None:
    mine = heap.list([1, [2]])
    iterator = iter(mine)
    heap.close()
    for use in (
        lambda: mine[0],
        lambda: mine.append(1),
        lambda: len(mine),
        lambda: next(iterator),
        mine.sort,
        mine.copy,
    ):
        with pytest.raises(HeapClosed):
            use()
    assert repr(mine) == "List(in a closed heap)"


def test_weak_references_and_handles(heap: Heap) -> None:
    before = heap.stats().handles
    mine = heap.list([[i] for i in range(1_000)])
    seen = weakref.ref(mine)
    assert heap.stats().handles == before + 1
    mine.sort(key=lambda each: -each[0])
    mine[::2] = mine[1::2]
    assert mine.index([0]) == 998
    assert mine.pop() == [0]
    assert seen() is mine
    assert heap.stats().handles == before + 1
    del mine
    gc.collect()
    assert seen() is None
    assert heap.stats().handles == before


@pytest.mark.parametrize("make", [list, tuple, "heap"])
def test_init_replaces_all_or_nothing(heap: Heap, make: Any) -> None:
    mine = heap.list([1, 2, 3])
    with pytest.raises(TypeError, match=r"^cannot store object at \[1\]: "):
        mine.__init__([4, object()])
    with pytest.raises(HeapFull):
        mine.__init__((5, b"x" * 100_000_000))
    assert mine == [1, 2, 3]
    mine.__init__(heap.list([4, [5]]) if make == "heap" else make([4, [5]]))
    assert mine == [4, [5]]


INITS: dict[str, Operation] = {
    "nothing": lambda s: s.__init__(),
    "itself": lambda s: s.__init__(s),
    "its slice": lambda s: s.__init__(s[1:]),
    "its iterator": lambda s: s.__init__(iter(s)),
    "reversed": lambda s: s.__init__(reversed(s)),
    "generated": lambda s: s.__init__(x for x in [1, [2]]),
    "int": lambda s: s.__init__(5),
    "None": lambda s: s.__init__(None),
    "two": lambda s: s.__init__([], []),
}


@pytest.mark.parametrize("name", INITS)
def test_init(heap: Heap, name: str) -> None:
    assert_same(INITS[name], heap.list([1, [2], 3]), [1, [2], 3])


def generated(values: Any) -> Iterator[Any]:
    yield from values


@pytest.mark.parametrize("make", [list, tuple, iter, set, generated], ids=range(5))
def test_made_from(heap: Heap, make: Operation) -> None:
    assert heap.list(make([5])) == [5]
    assert heap.list() == []


def test_an_iterator_is_taken_up_to_what_cannot_be_stored(heap: Heap) -> None:
    mine = heap.list()
    with pytest.raises(TypeError, match=r"^cannot store set at \['bad'\]: "):
        mine.extend(i if i < 700 else {"bad": set()} for i in range(800))
    assert mine == [*range(700)]
    with pytest.raises(TypeError, match=r"^cannot store set at \[700\]\['bad'\]: "):
        mine.extend([i if i < 700 else {"bad": set()} for i in range(800)])
    assert mine == [*range(700)]


class Hinting:
    """Says how many items it has."""

    def __init__(self, hint: Callable[[], Any]) -> None:
        self.hint = hint

    def __iter__(self) -> Iterator[int]:
        return iter([1, 2])

    def __length_hint__(self) -> Any:
        return self.hint()


@pytest.mark.parametrize(
    "hint",
    [lambda: 1, lambda: 5, lambda: NotImplemented, lambda: -1, lambda: "a", lambda: 2**70, lambda: 1 // 0],
    ids=["fewer", "more", "none", "negative", "text", "huge", "fails"],
)
def test_iterables_that_say_how_many_items_they_have(heap: Heap, hint: Callable[[], Any]) -> None:
    assert_same(lambda items: items.extend(Hinting(hint)), heap.list([0]), [0])
