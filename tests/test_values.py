"""Every value comes out as it went in: type, bits, and all."""

import itertools
import math
import random
import struct
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.graph import difference
from harness.heaps import HeapMaker
from subduct import Heap

EDGES = [0, 60, 61, 62, 63, 64, 65, 71, 72, 127, 128, 4_000, 100_000]
INTS = sorted({sign * (2**edge + near) for edge in EDGES for near in (-1, 0, 1) for sign in (1, -1)})
FLOATS = [
    *(0.0, -0.0, 1.0, -1.5, 0.1, 1e-30, 1e300, -1e-300, math.pi, 2.0**60, 2.0**70),
    *(math.inf, -math.inf, math.nan, sys.float_info.max, sys.float_info.min, 5e-324, -5e-324),
]
TEXTS = [
    *("", "a", "\0", "1234567", "12345678", "x" * 39, "x" * 40, "x" * 41, "x" * 64, "x" * 65, "x" * 100_000),
    *("é", "ééé", "éééé", "日本語", "\U0001f600", "\U0001f600" * 1_000, "\uffff", "\u0080", "a\0b" * 9),
]
SURROGATES = ["\ud800", "\udfff", "a\udc80", "\ud83d\ude00", "\ude00\ud83d", "x" * 50 + "\udcff", "é\ud800\U0001f600"]
BYTES = [b"", b"a", b"\0", b"1234567", b"12345678", bytes(range(256)), b"\xff" * 100_000]
SCALARS: list[Any] = [None, True, False, *INTS, *FLOATS, *TEXTS, *SURROGATES, *BYTES]


def name_of(value: Any) -> str:
    """A short id for a test."""
    text = hex(value) if isinstance(value, int) else ascii(value)
    return f"{type(value).__name__} {text[:24]}"


def bits(value: float) -> bytes:
    return struct.pack("<d", value)


@pytest.mark.parametrize("value", SCALARS, ids=name_of)
def test_scalars(heap: Heap, value: Any) -> None:
    heap.root["value"] = value
    heap.root["list"] = [value, (value, {"x": value})]
    heap.collect()
    found = [heap.root["value"], heap.root["list"][0], heap.root["list"][1][0], heap.root["list"][1][1]["x"]]
    found += [heap.root.to_python()["value"], heap.list([value]).pop(), heap.dict({0: value}).pop(0)]
    for each in found:
        assert type(each) is type(value)
        if isinstance(value, float):
            assert bits(each) == bits(value)
        else:
            assert each == value


@pytest.mark.parametrize("value", [value for value in SCALARS if value == value], ids=name_of)
def test_keys(heap: Heap, value: Any) -> None:
    many = {f"other {i}": i for i in range(50)}
    for mine in (heap.dict({value: "v"}), heap.dict({**many, value: "v"}), heap.dict({(value, 1): "t", value: "v"})):
        heap.collect()
        assert mine[value] == "v"
        key = [*mine][-1]
        assert type(key) is type(value)
        assert key == value
        assert mine.pop(value) == "v"
        assert value not in mine


def test_equal_numbers_are_one_key(heap: Heap) -> None:
    for number in (0, 1, 2**53, 2**61, 2**70, 10**20, -(2**62), 2**1000):
        forms: list[Any] = [number, float(number), *([bool(number)] if number in (0, 1) else [])]
        forms += [-0.0] if number == 0 else []
        for first, second in itertools.product(forms, repeat=2):
            expected, mine = {first: 1}, heap.dict({first: 1})
            expected[second] = 2
            mine[second] = 2
            assert len(mine) == len(expected), (first, second)
            assert mine == expected
            assert repr(mine.to_python()) == repr(expected)


def test_numbers_that_are_nearly_equal_are_not(heap: Heap) -> None:
    near = [2**53, 2**53 + 1, float(2**53 + 2), 2**64, 2**64 + 1, float(2**65), 10**400, math.inf, "1", b"1", 1]
    mine = heap.dict({value: i for i, value in enumerate(near)})
    assert [mine[value] for value in near] == [*range(len(near))]


@pytest.mark.parametrize("text", SURROGATES, ids=ascii)
def test_lone_surrogates_survive(heap: Heap, text: str) -> None:
    mine = heap.dict({text: [text, {text: text}]})
    assert mine.to_python() == {text: [text, {text: text}]}
    assert text in mine
    assert mine[text].index(text) == 0
    assert repr(heap.list([text])) == f"List(1 item: [{text!r}])"


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(st.characters())
    | st.text(st.characters(categories=["Cs", "Ll"]))
    | st.binary()
)
keys = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=4)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=12)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(keys, inner, max_size=12)
    ),
    max_leaves=60,
)


@settings(max_examples=200, deadline=None)
@given(values)
def test_any_value(value: Any) -> None:
    with Heap("16MiB") as heap:
        heap.root["value"] = value
        assert difference(heap.root.to_python()["value"], value) is None
        assert heap.root == {"value": value}
        heap.collect()
        assert difference(heap.root.to_python()["value"], value) is None


def test_random_ints_and_floats(heap: Heap, rng: random.Random) -> None:
    ints = [rng.getrandbits(rng.randrange(1, 300)) * rng.choice([1, -1]) for _ in range(2_000)]
    floats = [struct.unpack("<d", rng.randbytes(8))[0] for _ in range(2_000)]
    mine = heap.list([ints, floats])
    heap.collect()
    assert mine[0].to_python() == ints
    assert [bits(each) for each in mine[1]] == [bits(each) for each in floats]


def test_ints_beyond_the_limit_of_text(heap: Heap) -> None:
    huge = 1 << 200_000
    mine = heap.list([huge, -huge])
    assert [*mine] == [huge, -huge]
    assert repr(mine) == "List(2 items: [<int of 25001 bytes>, <int of 25001 bytes>])"


@pytest.mark.parametrize(
    ("size", "budget"),
    [
        ("8MiB", 2**23),
        ("16 MiB", 2**24),
        ("1.5GB", 1_500_000_000),
        ("0.5GiB", 2**29),
        ("20000kB", 20_000_000),
        (2**24, 2**24),
    ],
)
def test_sizes(size: str | int, budget: int) -> None:
    with Heap(size) as heap:
        assert heap.stats().budget_bytes == budget


@pytest.mark.parametrize("size", ["", "8", "8GB!", "GiB", "-8GiB", "8XB", "1,5GB", "1e3MB", "nan", 0, -5, 2**70, "1kB"])
def test_wrong_sizes(size: str | int) -> None:
    with pytest.raises(ValueError, match="budget"):
        Heap(size)


@pytest.mark.parametrize("size", [None, 1.5, True, b"8GiB", [1]])
def test_sizes_of_a_wrong_type(size: Any) -> None:
    with pytest.raises(TypeError, match="budget must be an int or a str, not"):
        Heap(size)


@pytest.mark.parametrize(
    ("options", "accepted"),
    [
        ({"delivery": "teleport"}, "'sigbus'"),
        ({"delivery": ""}, "'pause'"),
        ({"recycle": "always"}, "'keep', 'pool' or 'release'"),
        ({"stress": "often"}, "'64kB'"),
        ({"stress": 0}, "more than 0"),
    ],
)
def test_wrong_options(options: dict[str, Any], accepted: str) -> None:
    with pytest.raises(ValueError, match=accepted):
        Heap("16MiB", **options)


def test_a_heap_says_what_it_is(make_heap: HeapMaker) -> None:
    heap = make_heap("16MiB", name="shop")
    assert repr(heap).startswith("Heap(")
    assert "of 16.0 MiB resident, 0 cycles" in repr(heap)
    heap.close()
    heap.close()
    assert repr(heap) == "Heap(closed)"
    assert heap.closed
    with pytest.raises(RuntimeError, match="shop"):
        heap.root["x"] = 1
