"""Compare two graphs of Python containers: values, order, and who is shared with whom."""

import math
from collections.abc import Iterator
from typing import Any


def difference(actual: object, expected: object) -> str | None:
    """Say where two graphs differ, or None if they are the same up to the identity of their objects.

    Objects must correspond one to one: what is one object in one graph must be one object in the other (the empty
    tuple apart, which Python itself shares). Cycles and depth are no problem. Types are compared exactly, floats by
    value and sign, NaN equals NaN, dicts in order.
    """
    partners: dict[int, int] = {}
    taken: set[int] = set()
    todo: list[tuple[Any, Any, str]] = [(actual, expected, "value")]
    while todo:
        left, right, path = todo.pop()
        wrong = differing_node(left, right)
        if wrong is not None:
            return f"{path}: {wrong}"
        if not isinstance(right, dict | list | tuple) or right == ():
            continue
        if id(right) in partners or id(left) in taken:
            if partners.get(id(right)) != id(left):
                return f"{path}: shared on one side only: {clip(left)}"
            continue
        partners[id(right)] = id(left)
        taken.add(id(left))
        todo.extend(children(left, right, path))
    return None


def differing_node(left: Any, right: Any) -> str | None:
    """Compare two objects without what is inside them; of dicts, the keys."""
    if type(left) is not type(right):
        return f"{type(left).__name__} {clip(left)} instead of {type(right).__name__} {clip(right)}"
    if isinstance(right, dict):
        if len(left) != len(right) or any(map(keys_differ, left, right)):
            return f"keys {clip(list(left))} instead of {clip(list(right))}"
    elif isinstance(right, list | tuple):
        if len(left) != len(right):
            return f"length {len(left)} instead of {len(right)}"
    elif scalars_differ(left, right):
        return f"{clip(left)} instead of {clip(right)}"
    return None


def children(left: Any, right: Any, path: str) -> Iterator[tuple[Any, Any, str]]:
    """Pair up what two containers of the same shape hold."""
    if isinstance(right, dict):
        for key, mine, theirs in zip(right, left.values(), right.values(), strict=True):
            yield mine, theirs, f"{path}[{clip(key)}]"
    else:
        for index, (mine, theirs) in enumerate(zip(left, right, strict=True)):
            yield mine, theirs, f"{path}[{index}]"


def keys_differ(left: Any, right: Any) -> bool:
    """Compare dict keys: scalars, and tuples of keys."""
    if isinstance(left, tuple) and isinstance(right, tuple):
        return len(left) != len(right) or any(map(keys_differ, left, right))
    return type(left) is not type(right) or scalars_differ(left, right)


def scalars_differ(left: Any, right: Any) -> bool:
    """Compare two scalars of one type."""
    if isinstance(left, float):
        if math.isnan(left) or math.isnan(right):
            return math.isnan(left) != math.isnan(right)
        return left != right or math.copysign(1, left) != math.copysign(1, right)
    return bool(left != right)


def clip(value: object) -> str:
    """A repr that fits in a message."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def has_nan(value: Any) -> bool:
    """Whether a NaN is anywhere in a graph of Python containers."""
    return any(isinstance(each, float) and math.isnan(each) for each in walk(value))


def has_cycle(value: Any) -> bool:
    """Whether a graph of Python containers leads back to itself."""
    open_now: set[int] = set()
    done: set[int] = set()
    todo: list[tuple[Any, bool]] = [(value, False)]
    while todo:
        node, leaving = todo.pop()
        if leaving:
            open_now.discard(id(node))
            done.add(id(node))
        elif id(node) in open_now:
            return True
        elif id(node) not in done:
            open_now.add(id(node))
            todo.append((node, True))
            todo.extend((each, False) for each in inside(node) if isinstance(each, dict | list | tuple))
    return False


def tree_size(value: Any) -> int:
    """How many values an acyclic graph comes to if what is shared is counted each time it is met."""
    sizes: dict[int, int] = {}
    todo = [value]
    while todo:
        node = todo[-1]
        parts = [each for each in inside(node) if isinstance(each, dict | list | tuple)]
        missing = [each for each in parts if id(each) not in sizes]
        if missing:
            todo.extend(missing)
            continue
        todo.pop()
        sizes[id(node)] = 1 + len(node) + sum(sizes[id(each)] for each in parts)
    return sizes[id(value)]


def walk(value: Any) -> Iterator[Any]:
    """Every object of a graph once, keys included."""
    seen: set[int] = set()
    todo = [value]
    while todo:
        node = todo.pop()
        if isinstance(node, dict | list | tuple):
            if id(node) in seen:
                continue
            seen.add(id(node))
            todo.extend(inside(node))
        yield node


def inside(node: Any) -> list[Any]:
    """What a container holds, keys included."""
    if isinstance(node, dict):
        return [*node.keys(), *node.values()]
    return list(node)
