"""Random operations on a heap and on a naive twin, with collections at any step: results and errors must agree.

The twin is the same graph as plain dicts, lists and tuples. After every step both graphs are compared whole: values,
order, and which containers are shared. The seed is printed at the top of the run; see CONTRIBUTING.md to repeat one.
"""

import copy
import gc
import os
from collections.abc import Callable
from types import UnionType
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from harness.evidence import EVIDENCE
from harness.graph import clip, difference, has_cycle, has_nan, tree_size
from harness.seed import SEED
from harness.specs import Pair, Spec, fresh, keys, new_dicts, new_lists, new_tuples, scalars, specs
from subduct import Dict, Heap, List, Tuple

POOL_LIMIT = 16
PROXIES = (Dict, List, Tuple)
TWIN_OF: dict[type, type] = {Dict: dict, List: list, Tuple: tuple}

which = st.integers(0, 63)
positions = st.integers(-6, 24)
bounds = st.none() | st.integers(-8, 24)
slices = st.builds(slice, bounds, bounds, st.none() | st.sampled_from([1, 2, -1, -2, 3, 0]))


def easy(*graphs: Any) -> bool:
    """Whether graphs can be compared by value: Python itself gives up on cycles, and NaN is found by identity."""
    return not any(has_cycle(each) or has_nan(each) or tree_size(each) > 5_000 for each in graphs)


def outcome(operation: Callable[[], Any]) -> tuple[str, Any]:
    """What an operation returned or raised; of a KeyError, which key."""
    try:
        return "returned", operation()
    except KeyError as error:
        return "KeyError", list(error.args)
    except (IndexError, ValueError, TypeError, AttributeError) as error:
        return type(error).__name__, None


class HeapMachine(RuleBasedStateMachine):
    """One heap, its twin, and up to POOL_LIMIT proxies that are held at a time."""

    options: ClassVar[dict[str, Any]] = {}

    def __init__(self) -> None:
        super().__init__()
        self.heap = Heap("64MiB", verify=True, **self.options)
        self.root_twin: dict[Any, Any] = {}
        self.pool: list[Pair] = [(self.heap.root, self.root_twin)]

    def teardown(self) -> None:
        with self.heap:
            self.heap.collect()
            self.graphs_are_equal()
            self.heap.verify()
            EVIDENCE.record(self.heap.stats())

    def build(self, spec: Spec) -> Pair:
        """The value for the heap and the value for the twin."""
        return spec.build(self.pool)

    def pick(self, kind: type | UnionType, index: int) -> Pair:
        """One of the held proxies of a kind, with its twin."""
        found = [pair for pair in self.pool if isinstance(pair[0], kind)]
        return found[index % len(found)]

    def holds(self, kind: type | UnionType) -> bool:
        """Whether a proxy of that kind is held."""
        return any(isinstance(mine, kind) for mine, _ in self.pool)

    def hold(self, mine: Any, twin: Any) -> None:
        """Keep a proxy; the oldest one but the root makes room."""
        assert type(twin) is TWIN_OF[type(mine)]
        self.pool.append((mine, twin))
        if len(self.pool) > POOL_LIMIT:
            del self.pool[1]

    def plain(self, value: Any) -> Any:
        """A result of the heap as plain Python; sharing between the parts of a list or tuple shows."""
        if isinstance(value, list):
            return self.heap.list(value).to_python()
        if isinstance(value, tuple):
            return self.heap.tuple(value).to_python()
        return value.to_python() if isinstance(value, PROXIES) else value

    def both(self, name: str, mine: Callable[[], Any], twin: Callable[[], Any]) -> None:
        """Do it to both and compare what comes back."""
        actual, expected = outcome(lambda: self.plain(mine())), outcome(twin)
        assert actual[0] == expected[0], f"{name}: {clip(actual)} instead of {clip(expected)}"
        wrong = difference(actual[1], expected[1])
        assert wrong is None, f"{name}: {wrong}"

    @invariant()
    def graphs_are_equal(self) -> None:
        everything = self.heap.list([mine for mine, _ in self.pool]).to_python()
        wrong = difference(everything, [twin for _, twin in self.pool])
        assert wrong is None, wrong

    # Containers come, go and are linked.

    @rule(spec=new_dicts)
    def new_dict(self, spec: Spec) -> None:
        mine, twin = self.build(spec)
        self.hold(self.heap.dict(mine), twin)

    @rule(spec=new_lists)
    def new_list(self, spec: Spec) -> None:
        mine, twin = self.build(spec)
        self.hold(self.heap.list(mine), twin)

    @rule(spec=new_tuples)
    def new_tuple(self, spec: Spec) -> None:
        mine, twin = self.build(spec)
        self.hold(self.heap.tuple(mine), twin)

    @rule(index=which, step=which)
    def descend(self, index: int, step: int) -> None:
        mine, twin = self.pool[index % len(self.pool)]
        places = twin.items() if isinstance(twin, dict) else enumerate(twin)
        inner = [place for place, value in places if isinstance(value, dict | list | tuple) and not has_nan(place)]
        if inner:
            place = inner[step % len(inner)]
            self.hold(mine[place], twin[place])

    @rule(index=which)
    def drop(self, index: int) -> None:
        if len(self.pool) > 1:
            del self.pool[1 + index % (len(self.pool) - 1)]

    @rule()
    def drop_all(self) -> None:
        del self.pool[1:]
        gc.collect(0)
        assert self.heap.collect().verified

    @rule()
    def collect(self) -> None:
        report = self.heap.collect()
        assert report.verified

    @rule(index=which)
    def represent(self, index: int) -> None:
        assert len(repr(self.pool[index % len(self.pool)][0])) < 10_000

    @rule(left=which, right=which)
    def compare(self, left: int, right: int) -> None:
        (mine, twin), (other, other_twin) = (self.pool[each % len(self.pool)] for each in (left, right))
        if easy(twin, other_twin):
            assert (mine == other) is (twin == other_twin)
            assert (mine == other_twin) is (twin == other_twin)
            assert (mine != other) is (twin != other_twin)
            assert mine == twin

    # Dicts.

    @rule(index=which, key=keys(), spec=specs())
    def dict_set(self, index: int, key: Any, spec: Spec) -> None:
        key = fresh(key)
        mine, twin = self.pick(Dict, index)
        value, value_twin = self.build(spec)
        mine[key] = value
        twin[key] = value_twin

    @rule(index=which, key=keys())
    def dict_get(self, index: int, key: Any) -> None:
        key = fresh(key)
        mine, twin = self.pick(Dict, index)
        self.both("[key]", lambda: mine[key], lambda: twin[key])
        self.both("get", lambda: mine.get(key, "default"), lambda: twin.get(key, "default"))
        self.both("in", lambda: key in mine, lambda: key in twin)

    @rule(index=which, key=keys())
    def dict_delete(self, index: int, key: Any) -> None:
        key = fresh(key)
        mine, twin = self.pick(Dict, index)
        self.both("del", lambda: mine.__delitem__(key), lambda: twin.__delitem__(key))

    @rule(index=which, key=keys(), default=st.booleans())
    def dict_pop(self, index: int, key: Any, default: bool) -> None:
        key = fresh(key)
        mine, twin = self.pick(Dict, index)
        rest = ("default",) if default else ()
        self.both("pop", lambda: mine.pop(key, *rest), lambda: twin.pop(key, *rest))

    @rule(index=which)
    def dict_popitem(self, index: int) -> None:
        mine, twin = self.pick(Dict, index)
        actual, expected = outcome(lambda: self.plain(mine.popitem())), outcome(twin.popitem)
        assert actual[0] == expected[0]
        assert actual[0] == "KeyError" or difference(actual[1], expected[1]) is None

    @rule(index=which, key=keys(), spec=specs())
    def dict_setdefault(self, index: int, key: Any, spec: Spec) -> None:
        key = fresh(key)
        mine, twin = self.pick(Dict, index)
        value, value_twin = self.build(spec)
        self.both("setdefault", lambda: mine.setdefault(key, value), lambda: twin.setdefault(key, value_twin))

    @rule(index=which, spec=new_dicts, as_pairs=st.booleans())
    def dict_update(self, index: int, spec: Spec, as_pairs: bool) -> None:
        mine, twin = self.pick(Dict, index)
        items, items_twin = self.build(spec)
        mine.update(list(items.items()) if as_pairs else items)
        twin.update(items_twin)

    @rule(index=which, other=which)
    def dict_update_from_dict(self, index: int, other: int) -> None:
        mine, twin = self.pick(Dict, index)
        source, source_twin = self.pick(Dict, other)
        if not has_nan(list(source_twin)):
            mine.update(source)
            twin.update(source_twin)

    @rule(index=which)
    def dict_clear(self, index: int) -> None:
        mine, twin = self.pick(Dict, index)
        mine.clear()
        twin.clear()

    @rule(index=which)
    def dict_iterate(self, index: int) -> None:
        mine, twin = self.pick(Dict, index)
        assert len(mine) == len(twin)
        self.both("list", lambda: list(mine), lambda: list(twin))
        self.both("reversed", lambda: list(reversed(mine)), lambda: list(reversed(twin)))
        self.both("values", lambda: list(mine.values()), lambda: list(twin.values()))
        self.both("items", lambda: list(mine.items()), lambda: list(twin.items()))

    # Lists.

    @precondition(lambda self: self.holds(List))
    @rule(index=which, spec=specs())
    def list_append(self, index: int, spec: Spec) -> None:
        mine, twin = self.pick(List, index)
        value, value_twin = self.build(spec)
        mine.append(value)
        twin.append(value_twin)

    @precondition(lambda self: self.holds(List))
    @rule(index=which, spec=new_lists, operator=st.booleans())
    def list_extend(self, index: int, spec: Spec, operator: bool) -> None:
        mine, twin = self.pick(List, index)
        values, values_twin = self.build(spec)
        if operator:
            mine += values
        else:
            mine.extend(iter(values))
        twin.extend(values_twin)

    @precondition(lambda self: self.holds(List))
    @rule(index=which, other=which)
    def list_extend_from_list(self, index: int, other: int) -> None:
        mine, twin = self.pick(List, index)
        source, source_twin = self.pick(List, other)
        if len(twin) < 200:
            mine.extend(source)
            twin.extend(source_twin)

    @precondition(lambda self: self.holds(List))
    @rule(index=which, at=positions, spec=specs())
    def list_insert(self, index: int, at: int, spec: Spec) -> None:
        mine, twin = self.pick(List, index)
        value, value_twin = self.build(spec)
        mine.insert(at, value)
        twin.insert(at, value_twin)

    @precondition(lambda self: self.holds(List))
    @rule(index=which, at=positions, spec=specs())
    def list_set(self, index: int, at: int, spec: Spec) -> None:
        mine, twin = self.pick(List, index)
        value, value_twin = self.build(spec)
        self.both("[i] =", lambda: mine.__setitem__(at, value), lambda: twin.__setitem__(at, value_twin))

    @precondition(lambda self: self.holds(List))
    @rule(index=which, at=positions)
    def list_delete(self, index: int, at: int) -> None:
        mine, twin = self.pick(List, index)
        self.both("del [i]", lambda: mine.__delitem__(at), lambda: twin.__delitem__(at))

    @precondition(lambda self: self.holds(List))
    @rule(index=which, at=st.none() | positions)
    def list_pop(self, index: int, at: int | None) -> None:
        mine, twin = self.pick(List, index)
        rest = () if at is None else (at,)
        self.both("pop", lambda: mine.pop(*rest), lambda: twin.pop(*rest))

    @precondition(lambda self: self.holds(List))
    @rule(index=which, spec=scalars)
    def list_remove(self, index: int, spec: Spec) -> None:
        mine, twin = self.pick(List, index)
        value, value_twin = self.build(spec)
        self.both("remove", lambda: mine.remove(value), lambda: twin.remove(value_twin))

    @precondition(lambda self: self.holds(List))
    @rule(index=which, where=slices)
    def list_get_slice(self, index: int, where: slice) -> None:
        mine, twin = self.pick(List, index)
        self.both("[slice]", lambda: mine[where], lambda: twin[where])

    @precondition(lambda self: self.holds(List))
    @rule(index=which, where=slices, spec=new_lists)
    def list_set_slice(self, index: int, where: slice, spec: Spec) -> None:
        mine, twin = self.pick(List, index)
        values, values_twin = self.build(spec)
        self.both("[slice] =", lambda: mine.__setitem__(where, values), lambda: twin.__setitem__(where, values_twin))

    @precondition(lambda self: self.holds(List))
    @rule(index=which, where=slices)
    def list_delete_slice(self, index: int, where: slice) -> None:
        mine, twin = self.pick(List, index)
        self.both("del [slice]", lambda: mine.__delitem__(where), lambda: twin.__delitem__(where))

    @precondition(lambda self: self.holds(List))
    @rule(index=which, backwards=st.booleans())
    def list_sort(self, index: int, backwards: bool) -> None:
        mine, twin = self.pick(List, index)
        if not easy(twin):
            return
        try:
            twin.sort(reverse=backwards)
        except TypeError:
            # What order is left behind is not promised; nothing may be lost.
            with pytest.raises(TypeError):
                mine.sort(reverse=backwards)
            assert len(mine) == len(twin)
            mine.clear()
            twin.clear()
        else:
            mine.sort(reverse=backwards)

    @precondition(lambda self: self.holds(List))
    @rule(index=which)
    def list_sort_by_name(self, index: int) -> None:
        mine, twin = self.pick(List, index)
        mine.sort(key=lambda each: TWIN_OF.get(type(each), type(each)).__name__)
        twin.sort(key=lambda each: type(each).__name__)

    @precondition(lambda self: self.holds(List))
    @rule(index=which)
    def list_reverse(self, index: int) -> None:
        mine, twin = self.pick(List, index)
        mine.reverse()
        twin.reverse()

    @precondition(lambda self: self.holds(List))
    @rule(index=which)
    def list_clear(self, index: int) -> None:
        mine, twin = self.pick(List, index)
        mine.clear()
        twin.clear()

    # What lists and tuples share.

    @precondition(lambda self: self.holds(List | Tuple))
    @rule(index=which, at=positions, spec=scalars)
    def sequence_read(self, index: int, at: int, spec: Spec) -> None:
        mine, twin = self.pick(List | Tuple, index)
        value, value_twin = self.build(spec)
        assert len(mine) == len(twin)
        self.both("[i]", lambda: mine[at], lambda: twin[at])
        self.both("list", lambda: list(mine), lambda: list(twin))
        self.both("reversed", lambda: list(reversed(mine)), lambda: list(reversed(twin)))
        self.both("in", lambda: value in mine, lambda: value_twin in twin)
        self.both("count", lambda: mine.count(value), lambda: twin.count(value_twin))
        self.both("index", lambda: mine.index(value), lambda: twin.index(value_twin))


def run(machine: type[HeapMachine], options: dict[str, Any], **changes: Any) -> None:
    """Run one kind of machine on heaps with these options, from the seed of the run."""
    configured = type(machine.__name__, (machine,), {"options": options})
    defaults: dict[str, Any] = {
        "max_examples": int(os.environ.get("SUBDUCT_EXAMPLES", "25")),
        "stateful_step_count": 40,
        "deadline": None,
        "suppress_health_check": list(HealthCheck),
        "print_blob": True,
    }
    run_state_machine_as_test(seed(SEED)(configured), settings=settings(**{**defaults, **changes}))


@pytest.mark.parametrize("stress", [None, 4096])
def test_heap_agrees_with_its_twin(delivery: str, stress: int | None) -> None:
    cycles = EVIDENCE.cycles_moved(delivery)
    run(HeapMachine, {"delivery": delivery, "stress": stress})
    assert EVIDENCE.cycles_moved(delivery) > cycles or stress is None


class LosesSharing(HeapMachine):
    """A canary: its twin gets copies of what is shared in the heap."""

    def build(self, spec: Spec) -> Pair:
        mine, twin = super().build(spec)
        return mine, copy.deepcopy(twin)


class SwallowsErrors(HeapMachine):
    """A canary: its twin returns what it should raise."""

    def both(self, name: str, mine: Callable[[], Any], twin: Callable[[], Any]) -> None:
        super().both(name, mine, lambda: outcome(twin)[1])


class TurnsLists(HeapMachine):
    """A canary: its twin stores lists the other way round."""

    def build(self, spec: Spec) -> Pair:
        mine, twin = super().build(spec)
        return mine, twin[::-1] if type(twin) is list else twin


@pytest.mark.parametrize("canary", [LosesSharing, SwallowsErrors, TurnsLists])
def test_a_wrong_twin_is_found(canary: type[HeapMachine]) -> None:
    with pytest.raises(AssertionError):
        run(
            canary,
            {"delivery": "pause"},
            max_examples=500,
            phases=[Phase.generate],
            report_multiple_bugs=False,
            database=None,
        )
