"""What is said to differ from the builtins does differ, and the document says all of it."""

import copy
import decimal
import gc
import json
import pickle
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.differences import DIFFERENCES, excluded_table, table
from harness.outcome import outcome
from harness.process import run_program
from subduct import Heap

DOCUMENT = Path(__file__).parents[1] / "docs" / "differences.md"
NAN = float("nan")
KEY = ("a", 1)

# Gives a builtin container back, or a proxy of its copy.
Make = Callable[[Any], Any]


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def cyclic(number: int) -> list[Any]:
    value: list[Any] = []
    value += [value, number]
    return value


def changed_while_sorted(s: Any) -> Any:
    found = outcome(lambda s: s.sort(key=lambda value: (s.append(9), value)[1]), s)
    return found[0], [*s]


def cleared_while_iterated(d: Any) -> Any:
    seen = []
    for key in d:
        seen.append(key)
        if len(seen) == 1:
            d.clear()
            d.update(x=1, y=2)
    return seen


def grown_in_a_deep_copy(s: Any) -> Any:
    whole, part = copy.deepcopy([s, s[0]])
    part.append(2)
    return whole


class Clearing:
    """Equal to whatever it is compared with, of which nothing is left."""

    def __init__(self, items: Any) -> None:
        self.items = items

    def __eq__(self, _: object) -> bool:
        self.items.clear()
        return True

    __hash__ = None  # type: ignore[assignment]


# What comes of the same program with a builtin and with a proxy.
PROBES: dict[str, Callable[[Make], Any]] = {
    "identity": lambda make: (lambda d: d["a"] is d["a"])(make({"a": []})),
    "types": lambda make: len(make([object()])),
    "keys": lambda make: len(make({frozenset(): 1})),
    "equal keys": lambda make: make({1: "x"}).get(decimal.Decimal(1)),
    "key objects": lambda make: next(iter(make({KEY: 1}))) is KEY,
    "nan": lambda make: NAN in make([NAN]),
    "repr": lambda make: repr(make([1, [2]])),
    "kind": lambda make: isinstance(make({}), dict),
    "construction": lambda make: type("Sub", (type(make({})),), {}).__name__,
    "list plus List": lambda make: [1] + make([2]),
    "sums": lambda make: type((1,) + make((2,))) is tuple,
    "cycles": lambda make: make(cyclic(1)) == cyclic(2),
    "depth": lambda make: make(nested(100_000)) == nested(100_000),
    "hostile comparisons": lambda make: (lambda s: s.remove(Clearing(s)))(make([1])),
    "sorting": lambda make: changed_while_sorted(make([3, 1, 2])),
    "layout": lambda make: cleared_while_iterated(make({"a": 1, "b": 2})),
    "pickle": lambda make: type(pickle.loads(pickle.dumps(make([1])))) is type(make([])),
    "deepcopy": lambda make: grown_in_a_deep_copy(make([[1]])),
    "json": lambda make: json.dumps(make({"a": 1})),
    "size": lambda make: sys.getsizeof(make([1])),
    "cpython": lambda make: len(gc.get_referents(make([[], []]))),
    "words": lambda make: make([1]).sort(str),
}


def test_what_pickle_asks_of_tuples_is_not_there(heap: Heap) -> None:
    assert hasattr((1,), "__getnewargs__")
    assert not hasattr(heap.tuple((1,)), "__getnewargs__")
    assert "`__getnewargs__`" in DIFFERENCES["pickle"].proxy


@pytest.mark.parametrize("name", PROBES)
def test_a_difference_is_one(heap: Heap, name: str) -> None:
    proxies: dict[type, Make] = {dict: heap.dict, list: heap.list, tuple: heap.tuple}
    on_builtins = outcome(PROBES[name], lambda content: content)
    on_proxies = outcome(PROBES[name], lambda content: proxies[type(content)](content))
    assert on_builtins != on_proxies


def test_each_difference_is_shown() -> None:
    assert PROBES.keys() == DIFFERENCES.keys()


def test_the_ways_out_work() -> None:
    examples = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert len(examples) == 1
    done = run_program(examples[0])
    assert (done.stdout.count("\n"), done.stderr) == (1, "")


@pytest.mark.parametrize("make", [table, excluded_table])
def test_the_document_has_the_tables(make: Callable[[], str]) -> None:
    assert make() in DOCUMENT.read_text(), f"docs/differences.md should have:\n{make()}"
