"""The views of Dict are what the views of dict are: sets of keys and of items, and a collection of values."""

import copy
import operator
from collections.abc import Callable, Hashable
from typing import Any

import pytest

from harness.outcome import Operation, assert_same, outcome
from subduct import Heap

SAMPLE: dict[Any, Any] = {"a": 1, "b": [1, 2], 3: None, None: "none", (1, ("x",)): 2.5, b"a": b"bytes", True: "one"}

VIEW_OPERATIONS: dict[str, Operation] = {
    "list": list,
    "reversed": lambda v: list(reversed(v)),
    "len": len,
    "contains": lambda v: [x in v for x in ("a", 1, ("a", 1), ("a", 2), ("x", 1), "ab", 5, [1, 2], ("b", [1, 2]))],
    "mapping": lambda v: dict(v.mapping) == dict(v.mapping) and v.mapping["a"],
}
SET_OPERATIONS: dict[str, Operation] = {
    "and": lambda v: set(v & {"a", ("a", 1), 3}),
    "rand": lambda v: set({"a", ("a", 1), 3} & v),
    "or": lambda v: set(v | ["q"]),
    "sub": lambda v: set(v - {"a", ("a", 1)}),
    "rsub": lambda v: set({"a", ("a", 1), "q"} - v),
    "xor": lambda v: set(v ^ {"a", ("a", 1), "q"}),
    "compare": lambda v: (v == set(v), v != set(v), v <= set(v), v < set(v) | {"q"}, v >= {"q"}, v > set()),
    "equals list": lambda v: v == list(v),
    "disjoint": lambda v: (v.isdisjoint({"q"}), v.isdisjoint(set(v))),
    "reduce": lambda v: v.__reduce__(),
    "and int": lambda v: v & 1,
    "less than list": lambda v: v < [],
    "hash": hash,
}


@pytest.mark.parametrize("view", ["keys", "values", "items"])
@pytest.mark.parametrize("name", VIEW_OPERATIONS)
def test_views(heap: Heap, view: str, name: str) -> None:
    def look(d: Any) -> Any:
        return VIEW_OPERATIONS[name](getattr(d, view)())

    assert_same(look, heap.dict(SAMPLE), copy.deepcopy(SAMPLE))


@pytest.mark.parametrize("view", ["keys", "items"])
@pytest.mark.parametrize("name", SET_OPERATIONS)
def test_views_are_sets(heap: Heap, view: str, name: str) -> None:
    flat = {key: value for key, value in SAMPLE.items() if isinstance(value, Hashable)}
    mine = outcome(SET_OPERATIONS[name], getattr(heap.dict(flat), view)())
    theirs = outcome(SET_OPERATIONS[name], getattr(flat, view)())
    assert mine[0] == theirs[0]
    assert mine[0] != "returned" or mine == theirs


class OldSequence:
    """Has only `__getitem__`, as classes had once; `iter()` takes it."""

    def __getitem__(self, i: int) -> Any:
        return ["a", ("a", 1), "q"][i]


class Unlike:
    """Says that it has whatever it is asked for, but its class has nothing."""

    def __getattr__(self, name: str) -> Any:
        raise ZeroDivisionError(name)


def swapped(operate: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda left, right: operate(right, left)


OPERATORS: list[Callable[[Any, Any], Any]] = [operator.and_, operator.or_, operator.sub, operator.xor]
# Made for each use: an iterator yields once.
OPERANDS: dict[str, Callable[[], Any]] = {
    "old sequence": OldSequence,
    "text": lambda: "abq",
    "dict": lambda: {"a": 5, "q": 6},
    "iterator": lambda: iter(["a", "q"]),
    "int": lambda: 1,
    "None": lambda: None,
    "unlike": Unlike,
    "unhashable": lambda: [[]],
    "class": lambda: object,
}


@pytest.mark.parametrize("operand", OPERANDS)
@pytest.mark.parametrize("view", ["keys", "items"])
def test_operands_are_what_iter_takes(heap: Heap, view: str, operand: str) -> None:
    make, flat = OPERANDS[operand], {"a": 1, 3: None, (1, ("x",)): 2.5}
    mine, theirs = getattr(heap.dict(flat), view)(), getattr(flat, view)()

    def same(operate: Callable[[Any, Any], Any]) -> None:
        assert outcome(lambda v: operate(v, make()), mine) == outcome(lambda v: operate(v, make()), theirs)

    for operate in OPERATORS:
        same(operate)
        same(swapped(operate))
    same(lambda v, other: v.isdisjoint(other))


DIFFERENT: dict[str, tuple[dict[Any, Any], dict[Any, Any]]] = {
    "equal containers": ({"cfg": {"x": 1}, "n": 1}, {"cfg": {"x": 1}, "n": 2}),
    "nothing": ({"cfg": {"x": 1}}, {"cfg": {"x": 1}}),
    "other containers": ({"cfg": {"x": 1}}, {"cfg": {"x": 2}}),
    "one side": ({"a": 1}, {}),
    "tuples": ({"a": (1, 2), "b": (1,)}, {"a": (1, 2), "b": (2,)}),
    "shorter": ({"q": 1}, {"a": [], "b": 2}),
    "longer": ({"a": [], "b": 2}, {"q": 1}),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_views_of_two_dicts(heap: Heap, name: str) -> None:
    left, right = DIFFERENT[name]
    mine, theirs = heap.dict(left), heap.dict(right)
    operations: dict[str, Operation] = {
        "items ^ items": lambda pair: pair[0].items() ^ pair[1].items(),
        "disjoint keys": lambda pair: pair[0].keys().isdisjoint(pair[1].keys()),
        "disjoint items": lambda pair: pair[0].items().isdisjoint(pair[1].items()),
        "disjoint keys and items": lambda pair: pair[0].keys().isdisjoint(pair[1].items()),
        "disjoint items and keys": lambda pair: pair[0].items().isdisjoint(pair[1].keys()),
        "disjoint set": lambda pair: pair[0].keys().isdisjoint(set(pair[1])),
    }
    for about, operation in operations.items():
        expected = outcome(operation, (left, right))
        assert outcome(operation, (mine, theirs)) == expected, about
        assert outcome(operation, (mine, right)) == expected, about


def test_a_longer_view_is_not_walked_through(heap: Heap) -> None:
    short, long = heap.dict({"q": 1}), heap.dict({i: i for i in range(10_000)})
    assert short.keys().isdisjoint(long.keys())
    # An item that cannot be hashed is met by whoever walks through all of them.
    long["bad"] = []
    assert short.keys().isdisjoint(long.items())


@pytest.mark.parametrize("theirs", [{False: 1}, {False: 1, 5: 1}, {False: 1, 5: 1, 6: 1}])
@pytest.mark.parametrize("mine", [{0.0: 1}, {0.0: 1, 5: 1}])
def test_of_two_equal_keys_a_view_takes_the_one_that_a_builtin_takes(
    heap: Heap, mine: dict[Any, int], theirs: dict[Any, int]
) -> None:
    stored = heap.dict(mine)
    for other in (theirs.keys(), set(theirs), list(theirs), frozenset(theirs)):
        # By their representation: equal keys of different types differ in nothing else.
        assert repr(stored.keys() & other) == repr(mine.keys() & other)
    assert repr(stored.keys() & heap.dict(theirs).keys()) == repr(mine.keys() & theirs.keys())
    items = set(theirs.items())
    assert repr(stored.items() & items) == repr(mine.items() & items)


def test_tuples_of_the_heap_are_found_in_views(heap: Heap) -> None:
    d = heap.dict({"a": 1, ("b", 2): [3]})
    items, keys = d.items(), d.keys()
    entry, nested, key = heap.tuple(("a", 1)), heap.tuple((("b", 2), [3])), heap.tuple(("b", 2))
    assert entry in items
    assert nested in items
    assert key in keys
    assert heap.tuple(("a", 2)) not in items
    assert heap.tuple(("a",)) not in items
    with pytest.raises(TypeError, match="unhashable"):
        assert heap.tuple(([], 1)) not in items
    assert not items.isdisjoint(heap.list([entry]))
    assert not keys.isdisjoint([key])
    flat = heap.dict({"a": 1, "b": 2})
    for made in (flat.items() & heap.list([entry]), flat.items() - [heap.tuple(("b", 2))]):
        assert made == {("a", 1)}
        assert [type(each) for each in made] == [tuple]
    assert keys & heap.list([key]) == {("b", 2)}
    assert flat.items() | heap.list([("c", 3)]) == {("a", 1), ("b", 2), ("c", 3)}
    assert flat.items() ^ heap.list([("a", 1)]) == {("b", 2)}


def test_views_follow_the_dict(heap: Heap) -> None:
    d = heap.dict({"a": 1})
    keys, values, items = d.keys(), d.values(), d.items()
    d["b"] = [2]
    assert (list(keys), values.mapping["b"], len(items)) == (["a", "b"], [2], 2)
    assert repr(keys).startswith("DictKeys(Dict(2 items")
