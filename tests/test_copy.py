"""Copying in and out: sharing and cycles are kept, depth is no problem, and what fails leaves no trace."""

import collections
import gc
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from harness.graph import difference, has_cycle
from harness.heaps import HeapMaker
from harness.outcome import Operation, outcome
from subduct import Dict, Heap, HeapClosed, HeapFull, List

DEPTH = 100_000


def shared_pair() -> Any:
    inner = [1]
    return [inner, inner, {"x": inner, "y": (inner, inner)}]


def shared_leaf_dict() -> Any:
    record = {"name": "shared", "n": 1}
    return {"a": record, "b": [record, record], "c": {"d": record}}


def shared_tuple() -> Any:
    pair: Any = ([], [])
    return [pair, pair, pair[0]]


def shared_large() -> Any:
    large = [[i] for i in range(500)]
    return {"one": large, "two": large, "items": large[::7]}


def self_list() -> Any:
    value: list[Any] = [1]
    value.append(value)
    return value


def self_dict() -> Any:
    value: dict[str, Any] = {"n": 1}
    value["self"] = value
    return value


def tuple_in_cycle() -> Any:
    inner: list[Any] = []
    value = (inner, 1)
    inner.append(value)
    return value


def tuples_in_cycle() -> Any:
    inner: dict[str, Any] = {}
    first = (1, (2, inner))
    inner["back"] = (first, inner)
    return [first, inner]


def doubly_linked() -> Any:
    nodes: list[dict[str, Any]] = [{"n": i} for i in range(300)]
    for i, node in enumerate(nodes):
        node["next"], node["previous"] = nodes[(i + 1) % 300], nodes[i - 1]
    return nodes[0]


def tree_with_parents() -> Any:
    root: dict[str, Any] = {"parent": None, "children": []}
    level = [root]
    for _ in range(5):
        level = [{"parent": parent, "children": []} for parent in level for _ in range(3)]
        for child in level:
            child["parent"]["children"].append(child)
    return root


def diamond_chain() -> Any:
    value: list[Any] = []
    for _ in range(200):
        value = [value, value]
    return value


def wide() -> Any:
    return {i: {"list": [i, str(i)], "tuple": (i, {"deep": [[i]]})} for i in range(2_000)}


GRAPHS = [
    *(shared_pair, shared_leaf_dict, shared_tuple, shared_large, self_list, self_dict, tuple_in_cycle),
    *(tuples_in_cycle, doubly_linked, tree_with_parents, diamond_chain, wide),
]


@pytest.mark.parametrize("stress", [None, "64KiB"])
@pytest.mark.parametrize("make", GRAPHS)
def test_graphs_come_out_as_they_went_in(make_heap: HeapMaker, make: Callable[[], Any], stress: str | None) -> None:
    heap = make_heap(stress=stress)
    heap.root["graph"] = make()
    assert difference(heap.root["graph"].to_python(), make()) is None
    heap.collect()
    assert difference(heap.root["graph"].to_python(), make()) is None
    assert difference(heap.root.to_python(), {"graph": make()}) is None


@pytest.mark.parametrize("make", [graph for graph in GRAPHS if graph is not diamond_chain])
def test_graphs_equal_their_copies(make_heap: HeapMaker, make: Callable[[], Any]) -> None:
    heap, other = make_heap(), make_heap()
    heap.root["graph"] = other.root["graph"] = make()
    heap.root["again"] = make()
    mine = heap.root["graph"]
    others = [heap.root["again"], other.root["graph"], make()]
    assert mine == mine
    comparisons: list[Operation] = [lambda other: mine == other, lambda other: other == mine]
    for other_graph in others:
        for compare in comparisons:
            found = outcome(compare, other_graph)
            if has_cycle(make()):
                assert found == ("RecursionError", ("maximum recursion depth exceeded in comparison",))
            else:
                assert found == ("returned", True)


def test_differences_deep_in_a_graph_are_found(heap: Heap) -> None:
    left, right = tree_with_parents(), tree_with_parents()
    node = right
    while node["children"]:
        node = node["children"][-1]
    node["parent"] = right
    assert heap.dict(left) != right
    assert heap.dict(left) != heap.dict(right)
    left["children"][0]["name"] = "changed"
    assert heap.dict(left) != tree_with_parents()


def nested(kind: str, depth: int) -> Any:
    value: Any = "bottom"
    for _ in range(depth):
        value = {"list": [value], "tuple": (value,), "dict": {"d": value}}[kind]
    return value


def depth_of(value: Any) -> int:
    depth = 0
    while not isinstance(value, str):
        value = value["d"] if isinstance(value, dict | Dict) else value[0]
        depth += 1
    return depth


@pytest.mark.parametrize("kind", ["list", "tuple", "dict"])
def test_depth(heap: Heap, kind: str) -> None:
    value = nested(kind, DEPTH)
    heap.root["deep"] = value
    heap.root["also"] = value
    heap.collect()
    deep = heap.root["deep"]
    assert depth_of(deep) == DEPTH
    assert deep == heap.root["also"]
    assert deep == value
    assert depth_of(deep.to_python()) == DEPTH
    assert deep != nested(kind, DEPTH - 1)
    assert repr(deep).count("(") <= 3
    del deep
    heap.root.clear()
    before = heap.collect().live_bytes
    assert before < 2**20


def test_a_proxy_in_a_value_is_shared(heap: Heap) -> None:
    inner = heap.list([1])
    heap.root["a"] = {"inner": inner, "deep": [[inner], (inner,)]}
    inner.append(heap.root["a"])
    assert heap.root["a"]["inner"][1]["deep"][0][0][0] == 1
    found = heap.root["a"].to_python()
    assert found["inner"] is found["deep"][0][0]
    assert found["inner"][1] is found


def test_a_copy_is_independent(heap: Heap) -> None:
    source: dict[str, Any] = {"list": [1], "n": {"x": []}}
    heap.root["copy"] = source
    out = heap.root["copy"].to_python()
    source["list"].append(2)
    out["n"]["x"].append(3)
    assert heap.root["copy"] == {"list": [1], "n": {"x": []}}


def test_a_copy_of_a_call_argument_is_no_shared_object(heap: Heap) -> None:
    rows = [[0] * 3] * 2 + [[0] * 3]
    mine = heap.list(rows)
    mine[0][0] = 1
    assert mine == [[1, 0, 0], [1, 0, 0], [0, 0, 0]]


class Record(dict[str, Any]):
    pass


UNSTORABLE: list[tuple[Any, str]] = [
    (object(), r"^cannot store object: a heap holds None, bool"),
    (set(), r"^cannot store set: "),
    ([1, {"a": [0, 0, 0, collections.OrderedDict()]}], r"^cannot store collections.OrderedDict at \[1\]\['a'\]\[3\]: "),
    ({"a": {"b": Record()}}, r"^cannot store .*Record at \['a'\]\['b'\]: "),
    ({"a": [1, (2, [bytearray()])]}, r"^cannot store bytearray at \['a'\]\[1\]\[1\]\[0\]: "),
    ({"x": 1, 2: {(3, "k"): 1j}}, r"^cannot store complex at \[2\]\[\(3, 'k'\)\]: "),
    ({"a": [{frozenset(): 1}]}, r"^cannot store a key of type frozenset in \['a'\]\[0\]: keys are None"),
    ({Ellipsis: 1}, r"^cannot store a key of type ellipsis: keys are "),
    ({"k" * 90: object}, r"^cannot store type at \['k{39}\.\.\.\]: "),
    (
        nested("list", 50) and [[[[[[[[[[[[object()]]]]]]]]]]]],
        r"^cannot store object at (\[0\]){4} \.\.\.4 more\.\.\. (\[0\]){4}: ",
    ),
    ([*range(5_000), [*range(5_000), object()]], r"^cannot store object at \[5000\]\[5000\]: "),
]


@pytest.mark.parametrize(("value", "message"), UNSTORABLE, ids=range(len(UNSTORABLE)))
def test_what_cannot_be_stored_is_named_and_changes_nothing(heap: Heap, value: Any, message: str) -> None:
    d, s = heap.dict({"old": [1]}), heap.list([[1], 2, 3])
    heap.collect()
    handles = heap.stats().handles
    stores: list[Callable[[], Any]] = [
        lambda: d.__setitem__("old", value),
        lambda: d.__setitem__("new", value),
        lambda: d.setdefault("new", value),
        lambda: s.__setitem__(0, value),
        lambda: s.append(value),
        lambda: s.insert(0, value),
    ]
    for store in stores:
        with pytest.raises(TypeError, match=message):
            store()
    for store in (
        lambda: d.update({"good": 1, "bad": value}),
        lambda: d | {"good": 1, "bad": value},
        lambda: s.extend([1, value]),
        lambda: s.extend((1, value)),
        lambda: s.__setitem__(slice(0, 2), [1, value]),
        lambda: s.__setitem__(slice(None, None, 2), [1, value]),
        lambda: s + [value],
        lambda: heap.tuple([value]),
        lambda: heap.list([value]),
        lambda: heap.dict({"x": value}),
    ):
        with pytest.raises(TypeError, match=r"^cannot store"):
            store()
    assert d == {"old": [1]}
    assert s == [[1], 2, 3]
    assert heap.stats().handles == handles


def test_values_of_another_heap_are_refused(make_heap: HeapMaker) -> None:
    heap, other = make_heap(), make_heap("16MiB")
    foreign = other.list([1])
    with pytest.raises(
        TypeError, match=r"^cannot store subduct\.List of another heap: copy it out with to_python\(\) first"
    ):
        heap.root["x"] = foreign
    with pytest.raises(TypeError, match=r"^cannot store subduct\.List of another heap at \['a'\]\[1\]: "):
        heap.root["x"] = {"a": [0, foreign]}
    nested = other.dict({"x": [foreign.to_python()]})
    other.close()
    # Copying out is no advice any more.
    for value, place in ((foreign, ""), ({"a": [foreign]}, " at ['a'][0]"), ((0, nested), " at [1]")):
        with pytest.raises(HeapClosed) as raised:
            heap.root["x"] = value
        assert f'of another heap{place}: heap "' in str(raised.value)
        assert '" is closed; its content can be copied out' in str(raised.value)
    assert "x" not in heap.root


def test_copies_of_what_another_heap_has_are_taken(make_heap: HeapMaker) -> None:
    heap, other = make_heap(), make_heap("16MiB")
    heap.root["x"] = other.list([1]).to_python()
    heap.root["y"] = {"a": (1, [2])}
    heap.root["y"].update(x=heap.root["x"])
    other.root.update(heap.root.to_python())
    assert other.root == heap.root == {"x": [1], "y": {"a": (1, [2]), "x": [1]}}


@pytest.mark.parametrize("grow", ["nested", "long list", "large dict", "bytes", "strings"])
def test_a_full_heap_keeps_what_it_had(make_heap: HeapMaker, grow: str) -> None:
    heap = make_heap("8MiB")
    values: dict[str, Callable[[], Any]] = {
        "nested": lambda: [[[i, {"x": i}]] for i in range(200_000)],
        "long list": lambda: [*range(2_000_000)],
        "large dict": lambda: {i: i for i in range(500_000)},
        "bytes": lambda: b"x" * 2**24,
        "strings": lambda: [f"a string that is not short: {i}" for i in range(200_000)],
    }
    value = values[grow]()
    heap.root["keep"] = {"list": [1, 2], "text": "x" * 100}
    handles = heap.stats().handles
    with pytest.raises(HeapFull) as raised:
        heap.root["value"] = value
    with pytest.raises(HeapFull):
        heap.root["keep"]["list"].extend([value])
    error = raised.value
    assert error.budget_bytes == 2**23
    assert error.requested_bytes > 0
    assert 0 < error.live_bytes <= error.resident_bytes <= error.budget_bytes
    assert heap.root == {"keep": {"list": [1, 2], "text": "x" * 100}}
    assert heap.stats().handles == handles
    assert heap.collect().live_bytes < 2**20
    heap.root["after"] = [*range(100_000)]
    assert len(heap.root["after"]) == 100_000


def test_a_source_that_changes_is_noticed(heap: Heap) -> None:
    class Changing:
        """Iterates over a dict that grows meanwhile."""

        def __iter__(self) -> Iterator[tuple[int, int]]:
            for i in range(3):
                yield i, i
                heap.root[f"during {i}"] = i

    heap.root.update(Changing())
    assert len(heap.root) == 6


def test_copies_while_others_change(make_heap: HeapMaker) -> None:
    heap = make_heap("64MiB", stress="256KiB")
    heap.root["d"] = {i: [i, {"i": i}] for i in range(500)}
    heap.root["l"] = [[i] for i in range(500)]
    stop = threading.Event()
    failures: list[BaseException] = []

    def change() -> None:
        try:
            d, s, i = heap.root["d"], heap.root["l"], 0
            while not stop.is_set():
                i += 1
                d[i % 700] = [i, {"i": i}]
                d.pop((i * 7) % 700, None)
                s.append([i])
                s.pop(0)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(100):
            found = heap.tuple((heap.root["d"], heap.root["l"])).to_python()
            assert all(value[0] == value[1]["i"] for value in found[0].values())
            assert all(len(each) == 1 for each in found[1])
            heap.root["copy"] = found
            assert heap.root["copy"] == found
            repr(heap.root["d"])
    finally:
        stop.set()
        thread.join()
    assert not failures


def test_a_copy_ends_while_the_dict_is_laid_out_anew_all_the_time(make_heap: HeapMaker) -> None:
    heap = make_heap("64MiB", stress="64KiB")
    heap.root["d"] = {i: [i, [i]] for i in range(30_000)}
    stop = threading.Event()

    def change() -> None:
        d, i = heap.root["d"], 30_000
        while not stop.is_set():
            # Each entry goes to the end, so that the table is full of gaps soon, and is made anew.
            for _ in range(1000):
                d[i] = [i, [i]]
                del d[i - 30_000]
                i += 1

    interval = sys.getswitchinterval()
    thread = threading.Thread(target=change)
    sys.setswitchinterval(1e-5)
    thread.start()
    try:
        for _ in range(3):
            found = heap.root["d"].to_python()
            assert all(value == [key, [key]] for key, value in found.items())
            assert heap.root["d"] != {**found, -1: None}
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        thread.join()


def test_a_copy_of_a_list_that_grows_all_the_time_ends(make_heap: HeapMaker) -> None:
    heap = make_heap("64MiB", stress="64KiB")
    heap.root["l"] = [[i] for i in range(1000)]
    stop = threading.Event()

    def grow() -> None:
        items = heap.root["l"]
        while not stop.is_set() and len(items) < 400_000:
            items.extend([[i] for i in range(1000)])

    interval = sys.getswitchinterval()
    thread = threading.Thread(target=grow)
    sys.setswitchinterval(1e-5)
    thread.start()
    try:
        found = heap.root["l"].to_python()
        assert found == [[i] for i in range(1000)] * (len(found) // 1000)
        assert len(found) < 400_000
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        thread.join()


def test_nothing_is_left_behind(heap: Heap) -> None:
    heap.collect()
    before = heap.stats()
    for make in GRAPHS:
        value = heap.list([make()])
        value.to_python()
        assert isinstance(value.copy(), List)
        if make is not diamond_chain:
            how, _ = outcome(lambda mine: mine == [make()], value)  # noqa: B023
            assert how == ("RecursionError" if has_cycle(make()) else "returned")
    del value
    gc.collect()
    heap.collect()
    after = heap.stats()
    assert after.handles == before.handles
    assert abs(after.live_bytes - before.live_bytes) < 2**16


@pytest.mark.usefixtures("no_collections")
def test_an_interrupt_ends_a_copy_and_leaves_nothing(heap: Heap) -> None:
    value = wide()
    heap.root["value"] = value

    def interrupt(_: int, frame: FrameType | None) -> None:
        # What is raised within a callback of a weak reference is lost to the caller and reported as unraisable: only the code
        # of this file is interrupted.
        if frame is not None and frame.f_code.co_filename == __file__:
            raise InterruptedError
        signal.setitimer(signal.ITIMER_REAL, 0.0002)

    def repeat(work: Callable[[], Any]) -> None:
        while True:
            signal.setitimer(signal.ITIMER_REAL, 0.001)
            work()
            heap.root.pop("new", None)

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for work in (lambda: heap.root.update(new=value), heap.root.to_python, lambda: heap.root["value"] == value):
            with pytest.raises(InterruptedError):
                repeat(work)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    heap.root.pop("new", None)
    assert heap.root == {"value": value}
    assert heap.stats().handles < 10


def test_fields_of_many_records_have_one_name(heap: Heap) -> None:
    records = [{"id": i, "a longer name": i, "é": i, 7: i, ("t", 1): i} for i in range(600)]
    out = heap.list(records).to_python()
    assert out == records
    names = [list(record) for record in out]
    for at in (0, 1):
        assert len({id(each[at]) for each in names}) == 1
    # A set of that many fields in one dict is no set of names, and comes out whole all the same.
    wide = {f"field {i}": i for i in range(5_000)}
    assert heap.dict(wide).to_python() == wide
