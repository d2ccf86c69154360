"""Dict does what dict does: the same results, the same exceptions, the same order."""

import collections
import copy
import enum
import gc
import json
import math
import operator
import weakref
from collections.abc import Callable, Hashable, Iterator, Mapping, MutableMapping
from typing import Any

import pytest

from harness.heaps import HeapMaker
from harness.outcome import Operation, assert_same, outcome
from subduct import Dict, Heap, HeapClosed

SMALL: dict[Any, Any] = {"a": 1, "b": [1, 2], 3: None, None: "none", (1, ("x",)): 2.5, b"a": b"bytes", True: "one"}
LARGE: dict[Any, Any] = {f"key {i}": i for i in range(600)} | {i: str(i) for i in range(600)}
SAMPLES = [{}, SMALL, LARGE]
NO_KEYWORDS: dict[Any, Any] = {1: 2}


class Colour(enum.IntEnum):
    RED = 3


class Text(str):
    __slots__ = ()


class WithKeys:
    """Not a mapping, but update() takes it."""

    def keys(self) -> list[str]:
        return ["a", "z"]

    def __getitem__(self, key: str) -> str:
        return key * 2


def failing(count: int) -> Iterator[tuple[int, int]]:
    """Pairs, and then an error."""
    yield from ((i, i) for i in range(count))
    raise LookupError("no more")


def ior(d: Any, other: Any) -> Any:
    d |= other
    return d


OPERATIONS: dict[str, Operation] = {
    "get item": lambda d: d["a"],
    "get container": lambda d: d["b"],
    "get by equal key": lambda d: (d[3.0], d[1], d[1.0], d[Colour.RED], d[Text("a")]),
    "get tuple key": lambda d: d[1.0, ("x",)],
    "get missing": lambda d: d["missing"],
    "get missing tuple": lambda d: d[1, 2],
    "get missing object": lambda d: d[Ellipsis],
    "get missing set": lambda d: d[frozenset()],
    "get unhashable": lambda d: d[[]],
    "get unhashable in tuple": lambda d: d[1, {}],
    "set new": lambda d: operator.setitem(d, "new", {"x": [1]}),
    "set equal key": lambda d: operator.setitem(d, 3.0, "other"),
    "set unhashable": lambda d: operator.setitem(d, [], 1),
    "delete": lambda d: operator.delitem(d, "a"),
    "delete missing": lambda d: operator.delitem(d, "missing"),
    "delete unhashable": lambda d: operator.delitem(d, {}),
    "delete object": lambda d: operator.delitem(d, Ellipsis),
    "contains": lambda d: ("a" in d, 3.0 in d, 1 in d, "x" in d, (1, ("x",)) in d, Ellipsis in d, b"a" in d),
    "contains unhashable": lambda d: [] in d,
    "len and truth": lambda d: (len(d), bool(d)),
    "iterate": list,
    "reversed": lambda d: list(reversed(d)),
    "get": lambda d: (d.get("a"), d.get("x"), d.get("x", 7), d.get(Ellipsis, 8)),
    "pop": lambda d: (d.pop("a"), d.pop("b")),
    "pop missing": lambda d: d.pop("x"),
    "pop default": lambda d: (d.pop("x", None), d.pop("x", 1)),
    "pop unhashable": lambda d: d.pop([]),
    "pop unhashable default": lambda d: d.pop([], 7),
    "pop too many": lambda d: d.pop("x", 1, 2),
    "popitem": lambda d: (d.popitem(), d.popitem()),
    "popitem until empty": lambda d: [d.popitem() for _ in range(2_000)],
    "setdefault there": lambda d: d.setdefault("a", 5),
    "setdefault new": lambda d: (d.setdefault("n", [1]), d.setdefault("m")),
    "setdefault unhashable": lambda d: d.setdefault([], 1),
    "update nothing": lambda d: d.update(),
    "update dict": lambda d: d.update({"a": 2, "new": {"x": 1}}),
    "update large": lambda d: d.update({i: [i] for i in range(700)}),
    "update pairs": lambda d: d.update([("a", 2), ["n", 3], "xy"]),
    "update keywords": lambda d: d.update({"a": 2}, a=3, b=4),
    "update keys": lambda d: d.update(WithKeys()),
    "update mapping": lambda d: d.update(collections.ChainMap({"c": 1}, {"d": 2})),
    "update ordered": lambda d: d.update(collections.OrderedDict(z=1, y=2)),
    "update itself": lambda d: d.update(d),
    "update failing": lambda d: d.update(failing(3)),
    "update int": lambda d: d.update(5),
    "update None": lambda d: d.update(None),
    "update two": lambda d: d.update({}, {}),
    "update no pair": lambda d: d.update([1]),
    "update short pair": lambda d: d.update([("a", 1), ("b",)]),
    "update unhashable": lambda d: d.update([([], 1)]),
    "update int keyword": lambda d: d.update(**NO_KEYWORDS),
    "init": lambda d: d.__init__({"a": 2}, b=3),
    "init nothing": lambda d: d.__init__(),
    "init pairs": lambda d: d.__init__([("n", [1])]),
    "init int": lambda d: d.__init__(5),
    "init two": lambda d: d.__init__({}, {}),
    "init int keyword": lambda d: d.__init__(**NO_KEYWORDS),
    "fromkeys": lambda d: (d.fromkeys("ab"), d.fromkeys(range(700), [1]), d.fromkeys([], 3)),
    "fromkeys dict": lambda d: d.fromkeys({"x": 1, "y": 2}, (1, {})),
    "fromkeys int": lambda d: d.fromkeys(5),
    "fromkeys unhashable": lambda d: d.fromkeys([[]]),
    "clear": lambda d: d.clear(),
    "clear and fill": lambda d: (d.clear(), d.update(x=1), d.setdefault("y", 2)),
    "copy": lambda d: d.copy(),
    "or": lambda d: d | {"a": 9, "q": 1},
    "ror": lambda d: {"a": 9, "q": 1} | d,
    "or itself": lambda d: d | d,
    "or list": lambda d: d | [("a", 1)],
    "ior": lambda d: ior(d, {"q": 1}),
    "ior pairs": lambda d: ior(d, [("q", 1)]),
    "ior int": lambda d: ior(d, 1),
    "order": lambda d: d < {},
}


@pytest.mark.parametrize("sample", SAMPLES, ids=["empty", "small", "large"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_operations(heap: Heap, name: str, sample: dict[Any, Any]) -> None:
    assert_same(OPERATIONS[name], heap.dict(sample), copy.deepcopy(sample))


CHANGES: dict[str, Operation] = {
    "grow": lambda d: operator.setitem(d, "new", 1),
    "shrink": lambda d: d.popitem(),
    "clear": lambda d: d.clear(),
    "replace": lambda d: operator.setitem(d, "a", [7]),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("start", [iter, reversed, lambda d: iter(d.values()), lambda d: iter(d.items())])
def test_iterators_notice_changes(heap: Heap, start: Operation, change: str) -> None:
    def walk(d: Any) -> Any:
        iterator = start(d)
        first = next(iterator)
        CHANGES[change](d)
        return outcome(list, iterator)[0], outcome(list, iterator)[0], first is not None

    sample = {"a": 1, "b": 2, "c": 3}
    assert outcome(walk, heap.dict(sample)) == outcome(walk, dict(sample))


@pytest.mark.parametrize("start", [iter, reversed, lambda d: iter(d.values()), lambda d: iter(d.items())])
def test_another_size_is_never_forgotten(heap: Heap, start: Operation) -> None:
    def walk(d: Any) -> Any:
        iterator = start(d)
        next(iterator)
        entry = d.popitem()
        found = [outcome(next, iterator)]
        operator.setitem(d, *entry)
        return [*found, outcome(next, iterator), operator.length_hint(iterator), outcome(copy.copy, iterator)]

    sample = {"a": 1, "b": 2, "c": 3}
    assert walk(heap.dict(sample)) == walk(dict(sample))


@pytest.mark.parametrize("name", ["update", "__init__"])
@pytest.mark.parametrize("make", [dict, "heap"])
def test_a_dict_and_keywords_are_set_both_or_neither(heap: Heap, name: str, make: Any) -> None:
    other = heap.dict({"n": 1}) if make == "heap" else {"n": 1}
    d = heap.dict({"a": 1})
    with pytest.raises(TypeError, match=r"^cannot store object at \['b'\]: "):
        getattr(d, name)(other, b=object())
    assert d == {"a": 1}
    getattr(d, name)(other, b=[2], a=3)
    assert ([*d.items()], other) == ([("a", 3), ("n", 1), ("b", [2])], {"n": 1})


def test_other_keys_in_the_same_number_end_an_iteration(heap: Heap) -> None:
    d = heap.dict({"a": 1, "b": 2, "c": 3})
    iterator = iter(d)
    assert next(iterator) == "a"
    del d["a"]
    d["other"] = 4
    with pytest.raises(RuntimeError, match="dictionary keys changed during iteration"):
        list(iterator)
    assert list(iterator) == []


def last(d: Any) -> Any:
    return [*d][-1]


STEPS: dict[str, Callable[[Any, Any], Any]] = {
    "the same again": lambda d, key: operator.setitem(d, key, d.pop(key)),
    "the same again, twice": lambda d, key: [operator.setitem(d, key, d.pop(key)) for _ in range(2)],
    "the last again": lambda d, _: operator.setitem(d, last(d), d.pop(last(d))),
    "the last again by popitem": lambda d, _: operator.setitem(d, *d.popitem()),
    "another for the last": lambda d, _: (d.popitem(), operator.setitem(d, f"new {len(d)}", 1)),
    "all again": lambda d, _: [operator.setitem(d, key, d.pop(key)) for key in [*d]],
    "nothing": lambda *_: None,
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("at", [0, 1, -1])
@pytest.mark.parametrize("length", [1, 2, 5, 40])
def test_keys_deleted_and_set_again_are_noticed_as_by_dict(heap: Heap, step: str, at: int, length: int) -> None:
    def walk(d: Any) -> Any:
        seen = []
        for key in d:
            seen.append(key)
            if key == range(length)[at % length]:
                STEPS[step](d, key)
        return seen

    # More room than entries, so that neither dict is laid out anew.
    builtin: dict[Any, Any] = dict.fromkeys(range(length + 60))
    mine = heap.dict(builtin)
    for d in (mine, builtin):
        [d.popitem() for _ in range(60)]
    expected = outcome(walk, builtin)
    if step == "all again" and length > 1:
        # How a dict lays itself out anew is its own affair; that keys changed is noticed.
        assert outcome(walk, mine)[0] in (expected[0], "RuntimeError")
    else:
        assert outcome(walk, mine) == expected


def test_exhaustion_is_permanent(heap: Heap) -> None:
    d = heap.dict({"a": 1, "b": 2})
    iterator = iter(d)
    assert operator.length_hint(iterator) == 2
    assert [*iterator] == ["a", "b"]
    d["c"] = 3
    assert list(iterator) == []
    assert operator.length_hint(iterator) == 0
    assert iter(iterator) is iterator


def test_values_set_during_iteration_are_seen(heap: Heap) -> None:
    d = heap.dict(dict.fromkeys(range(1_000), 0))
    seen = []
    for key, value in d.items():
        seen.append(value)
        d[999 - key] = 1
    assert seen == [0] * 500 + [1] * 500


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({}, {}),
        ({"a": 1}, {"a": True}),
        ({"a": 1.0, "b": 2}, {"b": 2, "a": 1}),
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"b": 1}),
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": {"b": [1, (2, {})]}}, {"a": {"b": [1, (2, {})]}}),
        ({"a": {"b": [1, (2, {})]}}, {"a": {"b": [1, [2, {}]]}}),
        ({"a": []}, {"a": ()}),
        ({"a": "1"}, {"a": 1}),
        ({"a": b"1"}, {"a": "1"}),
        ({"a": 2**70}, {"a": float(2**70)}),
        (LARGE, {**LARGE}),
        (LARGE, {**LARGE, "key 5": 6}),
        ({}, []),
        ({}, None),
        ({"a": 1}, "a"),
    ],
)
def test_equality(make_heap: HeapMaker, left: dict[str, Any], right: Any) -> None:
    heap, other = make_heap(), make_heap("16MiB")
    mine = heap.dict(left)
    sides = [right, *([heap.dict(right), other.dict(right)] if isinstance(right, dict) else [])]
    for side in sides:
        assert (mine == side) is (left == right)
        assert (side == mine) is (left == right)
        assert (mine != side) is (left != right)


def test_equality_asks_objects_that_know_better(heap: Heap) -> None:
    class Anything:
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

    mine = heap.dict({"a": 1, "b": [1], "c": {}})
    assert mine == {"a": Anything(), "b": Anything(), "c": collections.OrderedDict()}
    assert mine == Anything()


def test_not_a_number_equals_nothing(heap: Heap) -> None:
    d = heap.dict()
    d[math.nan] = 1
    assert len(d) == 1
    assert math.nan not in d
    assert math.isnan(next(iter(d)))
    assert heap.dict({"a": math.nan}) != heap.dict({"a": math.nan})
    assert d == d
    assert d.popitem()[1] == 1


def test_keys_come_out_as_they_went_in(heap: Heap) -> None:
    for key in SMALL:
        assert [type(each) for each in heap.dict({key: 1})] == [type(key)]
    d = heap.dict({1: "int"})
    d[True] = "bool"
    assert repr(d.to_python()) == "{1: 'bool'}"


@pytest.mark.parametrize("key", [Text("a"), Colour.RED, frozenset(), Ellipsis, (1, Text("a")), object])
def test_keys_that_cannot_be_stored(heap: Heap, key: Any) -> None:
    d = heap.dict({"a": 1})
    for store in (lambda: d.__setitem__(key, 1), lambda: d.setdefault(key, 1), lambda: d.update({key: 1})):
        if key in d:
            continue
        with pytest.raises(TypeError, match="cannot store a key of type"):
            store()
    assert d == {"a": 1}


def test_a_tuple_of_the_heap_is_a_key(heap: Heap) -> None:
    key = heap.tuple(("x", heap.tuple((1, 2))))
    d = heap.dict({key: 1})
    assert d["x", (1, 2)] == d[key] == 1
    assert [*d] == [("x", (1, 2))]
    with pytest.raises(TypeError, match="unhashable type: 'List'"):
        d[heap.tuple(([],))]


def test_keys_nest_up_to_a_limit(heap: Heap) -> None:
    def nested(depth: int) -> tuple[Any, ...]:
        key: tuple[Any, ...] = ()
        for _ in range(depth - 1):
            key = (key,)
        return key

    assert nested(100) in heap.dict({nested(100): 1})
    with pytest.raises(RecursionError):
        heap.dict({nested(101): 1})


def test_it_is_a_mapping(heap: Heap) -> None:
    d = heap.dict({"a": {"b": [1, 2, 3]}})
    assert isinstance(d, MutableMapping)
    assert isinstance(d, Mapping)
    assert not isinstance(d, Hashable)
    match d:
        case {"a": {"b": [first, *rest]}, **others}:
            assert (first, rest, others) == (1, [2, 3], {})
        case _:
            pytest.fail("a Dict is no mapping pattern's match")
    with pytest.raises(TypeError, match=r"^unhashable type: 'Dict'$"):
        hash(d)
    assert json.dumps(dict(d["a"].items()), default=list) == '{"b": [1, 2, 3]}'
    assert {**d["a"]} == d["a"]
    assert Dict[str, int].__origin__ is Dict


def test_copies(heap: Heap) -> None:
    d = heap.dict({"a": [1]})
    shallow, also, deep = d.copy(), copy.copy(d), copy.deepcopy(d)
    d["a"].append(2)
    assert shallow == also == {"a": [1, 2]}
    assert deep == {"a": [1]}


def test_the_value_of_fromkeys_is_one(heap: Heap) -> None:
    made = heap.dict().fromkeys("ab", [])
    assert type(made) is Dict
    made["a"].append(1)
    assert made == {"a": [1], "b": [1]}
    with pytest.raises(TypeError):
        Dict.fromkeys("ab")  # type: ignore[arg-type,call-arg]


def test_proxies_share_what_they_stand_for(heap: Heap) -> None:
    d = heap.dict({"inner": {}})
    d["same"] = d["inner"]
    d["same"]["x"] = 1
    assert d["inner"] == {"x": 1}
    d["self"] = d
    assert d["self"]["self"]["inner"]["x"] == 1
    assert repr(d).startswith("Dict(3 items: {'inner': Dict(1 item), ")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({}, "Dict(0 items)"),
        ({"a": 1}, "Dict(1 item: {'a': 1})"),
        ({"a": [1, 2], (1, "x"): {}}, "Dict(2 items: {'a': List(2 items), (1, 'x'): Dict(0 items)})"),
        (dict.fromkeys("abcdef"), "Dict(6 items: {'a': None, 'b': None, 'c': None, 'd': None, ...})"),
        ({"s": "x" * 1000}, f"Dict(1 item: {{'s': '{'x' * 40}'...}})"),
        ({"i": 1 << 10_000}, "Dict(1 item: {'i': <int of 1251 bytes>})"),
    ],
)
def test_repr(heap: Heap, content: dict[Any, Any], text: str) -> None:
    assert repr(heap.dict(content)) == str(heap.dict(content)) == text


def test_a_closed_heap(heap: Heap) -> None:
    d = heap.dict({"a": 1})
    iterator = iter(d)
    heap.close()
    for use in (lambda: d["a"], lambda: len(d), lambda: d.update(a=2), lambda: next(iterator), d.to_python, d.copy):
        with pytest.raises(HeapClosed):
            use()
    assert repr(d) == "Dict(in a closed heap)"


def test_a_proxy_keeps_its_heap_open() -> None:
    d = Heap("16MiB").dict({"a": 1})
    gc.collect()
    assert d["a"] == 1


def test_weak_references(heap: Heap) -> None:
    d = heap.dict()
    seen = weakref.ref(d)
    assert seen() is d
    del d
    gc.collect()
    assert seen() is None


def test_dropped_proxies_give_their_handles_back(heap: Heap) -> None:
    heap.root["a"] = {"b": {}}
    before = heap.stats().handles
    held = [heap.root["a"] for _ in range(1_000)]
    assert heap.stats().handles == before + 1_000
    del held
    for _ in range(1_000):
        heap.root["a"]["b"].update({"x": [1, {"y": (1, [2])}]})
        heap.root["a"].to_python()
        assert heap.root["a"] == {"b": {"x": [1, {"y": (1, [2])}]}}
    assert heap.stats().handles == before


@pytest.mark.parametrize(
    "make", [dict, lambda pairs: pairs, collections.OrderedDict, iter, lambda pairs: collections.ChainMap(dict(pairs))]
)
def test_made_from(heap: Heap, make: Operation) -> None:
    assert heap.dict(make([("a", 1)])) == {"a": 1}


@pytest.mark.parametrize("kind", ["dict", "list", "tuple"])
def test_one_is_made_of_what_the_builtin_takes(kind: str, heap: Heap) -> None:
    make, builtin = getattr(heap, kind), {"dict": dict, "list": list, "tuple": tuple}[kind]
    assert make().to_python() == builtin()
    for wrong in (None, 5):
        with pytest.raises(TypeError) as raised:
            make(wrong)
        with pytest.raises(TypeError) as expected:
            builtin(wrong)
        assert str(raised.value) == str(expected.value)
