"""Recipes for values: built twice, once to be stored in a heap and once for the naive twin.

A recipe instead of a value, because storing copies: the twin must get objects of its own, and a recipe can name
containers that are in the heap already.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

Pair = tuple[Any, Any]


def fresh(value: Any) -> Any:
    """The value with every NaN made anew, so that identity helps nobody to find it: a heap keeps none."""
    if isinstance(value, tuple):
        return tuple([fresh(each) for each in value])
    return float("nan") if isinstance(value, float) and value != value else value


@dataclass(frozen=True)
class Scalar:
    """A value without parts."""

    value: Any

    def build(self, pool: Sequence[Pair]) -> Pair:  # noqa: ARG002
        return fresh(self.value), fresh(self.value)


@dataclass(frozen=True)
class Existing:
    """A container that is in the heap already: its proxy for the heap, its twin for the twin."""

    index: int

    def build(self, pool: Sequence[Pair]) -> Pair:
        return pool[self.index % len(pool)] if pool else (None, None)


@dataclass(frozen=True)
class NewList:
    """A list of other recipes' values."""

    items: tuple["Spec", ...]

    def build(self, pool: Sequence[Pair]) -> Pair:
        pairs = [item.build(pool) for item in self.items]
        return [mine for mine, _ in pairs], [twin for _, twin in pairs]


@dataclass(frozen=True)
class NewTuple:
    """A tuple of other recipes' values."""

    items: tuple["Spec", ...]

    def build(self, pool: Sequence[Pair]) -> Pair:
        pairs = [item.build(pool) for item in self.items]
        return tuple([mine for mine, _ in pairs]), tuple([twin for _, twin in pairs])


@dataclass(frozen=True)
class NewDict:
    """A dict with other recipes' values."""

    items: tuple[tuple[Any, "Spec"], ...]

    def build(self, pool: Sequence[Pair]) -> Pair:
        pairs = [(key, item.build(pool)) for key, item in self.items]
        return {fresh(key): mine for key, (mine, _) in pairs}, {fresh(key): twin for key, (_, twin) in pairs}


@dataclass(frozen=True)
class Twice:
    """A list that holds one value twice, and a tuple around it."""

    item: "Spec"

    def build(self, pool: Sequence[Pair]) -> Pair:
        mine, twin = self.item.build(pool)
        return [mine, mine, (mine,)], [twin, twin, (twin,)]


@dataclass(frozen=True)
class Knot:
    """A list and a dict that hold each other, and a value."""

    item: "Spec"

    def build(self, pool: Sequence[Pair]) -> Pair:
        built = self.item.build(pool)
        ends: list[Any] = []
        for value in built:
            knot: list[Any] = [value]
            knot.append({"knot": knot, "value": value})
            ends.append(knot)
        return ends[0], ends[1]


Spec = Scalar | Existing | NewList | NewTuple | NewDict | Twice | Knot

edge_integers = st.sampled_from(
    [sign * (1 << bits) + step for bits in (59, 60, 61, 63, 64, 200) for sign in (1, -1) for step in (-1, 0, 1)]
)
edge_text = st.sampled_from(["", "seven b", "eight by", "\0", "é" * 4, "\ud800", "a\udfff" * 5, "x" * 41, "y" * 300])
scalar_values = (
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.integers()
    | edge_integers
    | st.floats()
    | st.text(max_size=50)
    | edge_text
    | st.binary(max_size=50)
)
# Few enough that operations meet, equal across types where Python's are.
common_keys = st.sampled_from(
    [
        0,
        1,
        True,
        False,
        1.0,
        -0.0,
        None,
        "",
        "a",
        "b",
        b"a",
        "a longer key",
        2**70,
        float(2**70),
        (),
        ("a", 1),
        ("a", 1.0),
        (("a",), None),
        (2**70,),
    ]
)
any_key = common_keys | scalar_values | st.tuples(scalar_values, scalar_values)
scalars = st.builds(Scalar, scalar_values)


def few(items: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    """A tuple of up to four, or now and then enough to leave the small layouts."""
    return st.lists(items, max_size=4).map(tuple) | st.lists(items, min_size=9, max_size=20).map(tuple)


leaves: st.SearchStrategy[Spec] = scalars | st.builds(Existing, st.integers(0, 63))


# Hypothesis prints a strategy by what it is made of, for these at great length; a composite one by its name.
@st.composite
def keys(draw: st.DrawFn) -> Any:
    """A dict key."""
    return draw(any_key)


def around(inner: st.SearchStrategy[Spec]) -> st.SearchStrategy[Spec]:
    """Containers of the given values."""
    return st.one_of(
        st.builds(NewList, few(inner)),
        st.builds(NewTuple, few(inner)),
        st.builds(NewDict, few(st.tuples(keys(), inner))),
        st.builds(Twice, inner),
        st.builds(Knot, inner),
    )


any_spec: st.SearchStrategy[Spec] = st.recursive(leaves, around, max_leaves=12)


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    """Any value; every second time one without parts."""
    return draw(leaves if draw(st.booleans()) else any_spec)


new_dicts = st.builds(NewDict, few(st.tuples(keys(), specs())))
new_lists = st.builds(NewList, few(specs()))
new_tuples = st.builds(NewTuple, few(specs()))
