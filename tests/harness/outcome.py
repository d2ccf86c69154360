"""What an operation came to, on a proxy or on the builtin it stands for, so that both can be compared."""

import sys
from collections.abc import Callable, Iterator, KeysView, ValuesView
from typing import Any

from subduct import Dict, List, Tuple

Operation = Callable[[Any], Any]

# CPython rewords its messages now and then. The heap's are those of the versions before this one; a KeyError has none.
REWORDED = sys.version_info >= (3, 14)


def plain(value: Any) -> Any:
    """The value without what a proxy and a builtin may differ in."""
    if isinstance(value, Dict | List | Tuple):
        return value.to_python()
    if isinstance(value, KeysView | ValuesView | Iterator):
        return [plain(each) for each in value]
    if type(value) in (list, tuple, set):
        return type(value)(plain(each) for each in value)
    return value


def outcome(operation: Operation, subject: Any) -> tuple[str, Any]:
    """The result, or the exception with its arguments."""
    try:
        return "returned", plain(operation(subject))
    except KeyError as error:
        return "KeyError", error.args
    except Exception as error:
        return type(error).__name__, () if REWORDED else tuple(map(without_proxies, error.args))


def without_proxies(argument: Any) -> Any:
    """An argument of an exception, with the builtin's name for a proxy's type."""
    if not isinstance(argument, str):
        return plain(argument)
    for proxy in (Dict, List, Tuple):
        argument = argument.replace(proxy.__name__, proxy.__name__.lower())
    return argument


def assert_same(operation: Operation, proxy: Any, builtin: Any) -> None:
    """Check that an operation does the same to a proxy and to a builtin: result or exception, and what is left."""
    mine, theirs = outcome(operation, proxy), outcome(operation, builtin)
    assert mine == theirs, f"{mine} instead of {theirs}"
    left = proxy.to_python()
    assert left == builtin, f"left {left} instead of {builtin}"
    assert repr(left) == repr(builtin), f"left {left} instead of {builtin}: another order or form"
