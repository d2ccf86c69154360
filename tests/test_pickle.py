"""A proxy is pickled as a plain copy of what it stands for, which can be loaded without a heap; so are iterators."""

import copy
import copyreg
import io
import itertools
import pickle
import pickletools
from collections.abc import Callable
from typing import Any

import pytest

from harness.graph import difference
from harness.outcome import Operation
from harness.process import run_program
from subduct import Dict, Heap, HeapClosed, List

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
CONTENT: dict[Any, Any] = {"a": [1, 2.5, None, b"b"], ("k", 1): ({"deep": [()]}, "é\ud800", 2**80), 3: True}


@pytest.mark.parametrize("dumps", [pickle.dumps, pickle._dumps], ids=["C", "Python"])  # type: ignore[attr-defined]
def test_proxies_become_plain_copies(heap: Heap, dumps: Callable[..., bytes]) -> None:
    d, s, t = heap.dict(CONTENT), heap.list([CONTENT, 1]), heap.tuple((CONTENT, [2]))
    pairs = [(d, CONTENT), (s, [CONTENT, 1]), (t, (CONTENT, [2])), (heap.list(), []), (heap.tuple(), ())]
    together = {"d": d, "inner": [d["a"], s, (t,)]}
    for protocol in PROTOCOLS:
        for mine, expected in pairs:
            assert difference(pickle.loads(dumps(mine, protocol)), expected) is None
        loaded = pickle.loads(dumps(together, protocol))
        assert loaded == {"d": CONTENT, "inner": [CONTENT["a"], [CONTENT, 1], ((CONTENT, [2]),)]}
        assert {type(each) for each in (loaded["d"], *loaded["inner"], loaded["inner"][2][0])} == {dict, list, tuple}


def test_sharing_and_cycles_inside_one_proxy_are_kept(heap: Heap) -> None:
    value: list[Any] = [[1]]
    value += [value[0], value, {"self": value}]
    mine = heap.list(value)
    for protocol in PROTOCOLS:
        assert difference(pickle.loads(pickle.dumps(mine, protocol)), value) is None
        first, second = pickle.loads(pickle.dumps([mine, mine], protocol))
        assert first is second, "pickle knows what one proxy became"
        first, second = pickle.loads(pickle.dumps([mine[0], mine[1]], protocol))
        assert first == second == [1]
        assert first is not second, "but not that two proxies stand for one list"


def test_what_was_pickled_is_loaded_without_the_package(heap: Heap) -> None:
    for protocol in PROTOCOLS:
        pickled = pickle.dumps([heap.dict(CONTENT), heap.list([1]), iter(heap.tuple((1,)))], protocol)
        assert b"subduct" not in pickletools.optimize(pickled)
        done = run_program(
            f"""
            import pickle, sys
            d, s, i = pickle.loads({pickled!r})
            assert not [name for name in sys.modules if "subduct" in name]
            print(type(d).__name__, len(d), s, [*i])
            """
        )
        assert (done.stdout, done.stderr) == ("dict 3 [1] [1]\n", "")


def test_a_pickler_may_decide_otherwise(heap: Heap) -> None:
    mine = heap.list([1, 2])
    out = io.BytesIO()
    pickler = pickle.Pickler(out, 4)
    pickler.dispatch_table = copyreg.dispatch_table | {List: lambda proxy: (sum, ([*proxy],))}
    pickler.dump(mine)
    assert pickle.loads(out.getvalue()) == 3


def test_copies_stay_in_the_heap(heap: Heap) -> None:
    d, s, t = heap.dict({"a": [1]}), heap.list([[1]]), heap.tuple(([1],))
    for mine in (d, s, t):
        assert type(copy.copy(mine)) is type(copy.deepcopy(mine)) is type(mine)
        assert copy.deepcopy(mine) == mine
    deep = copy.deepcopy({"outside": [d]})
    assert isinstance(deep["outside"][0], Dict)
    deep["outside"][0]["a"].append(2)
    assert d == {"a": [1]}


@pytest.mark.parametrize("start", [iter, reversed], ids=["forward", "backward"])
def test_iterators_of_sequences_go_on_where_they_were(heap: Heap, start: Operation) -> None:
    makers: list[tuple[Operation, type]] = [(heap.list, list), (heap.tuple, tuple)]
    for protocol in PROTOCOLS:
        for (make, builtin), done in itertools.product(makers, range(5)):
            mine, theirs = start(make([1, [2], 3])), start(builtin([1, [2], 3]))
            for _ in range(done):
                assert next(mine, "end") == next(theirs, "end")
            loaded = pickle.loads(pickle.dumps(mine, protocol))
            assert [*loaded] == [*mine] == [*theirs]


@pytest.mark.parametrize(
    "start",
    [iter, reversed, lambda d: iter(d.values()), lambda d: iter(d.items()), lambda d: reversed(d.items())],
    ids=range(5),
)
def test_iterators_of_dicts_go_on_where_they_were(heap: Heap, start: Operation) -> None:
    content = {"a": 1, "b": [2], "c": {"x": 3}}
    for protocol, done in itertools.product(PROTOCOLS, range(5)):
        mine, theirs = start(heap.dict(content)), start(content)
        for _ in range(done):
            next(mine, None)
            next(theirs, None)
        loaded = pickle.loads(pickle.dumps(mine, protocol))
        assert [*loaded] == [*mine] == [*theirs]


def test_views_are_not_pickled(heap: Heap) -> None:
    d = heap.dict({"a": 1})
    for view in (d.keys(), d.values(), d.items()):
        for protocol in PROTOCOLS:
            with pytest.raises(TypeError, match=f"cannot pickle '{type(view).__name__}' object"):
                pickle.dumps(view, protocol)
        for refused in (copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="cannot pickle"):
                refused(view)


def test_a_closed_heap(heap: Heap) -> None:
    mine, iterator = heap.list([1]), iter(heap.list([1]))
    heap.close()
    for each in (mine, iterator):
        with pytest.raises(HeapClosed):
            pickle.dumps(each)
