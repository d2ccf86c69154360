"""Views of a Dict: what `keys()`, `values()` and `items()` return. They show what the Dict holds at any time."""

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Set, ValuesView
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from subduct import _native
from subduct._native import Tuple

if TYPE_CHECKING:
    from subduct._native import Dict

_K = TypeVar("_K")
_E = TypeVar("_E", covariant=True)
_V = TypeVar("_V")
_T = TypeVar("_T")

_BUILTIN_KEYS: Final[type] = type({}.keys())
_BUILTIN_ITEMS: Final[type] = type({}.items())


def _plain(items: Iterable[_T]) -> Iterator[_T]:
    """Yield the elements of what `&`, `|`, `-` and `^` return: tuples for Tuples, which are equal but need the heap."""
    return (item.to_python() if isinstance(item, Tuple) else item for item in items)  # type: ignore[misc]


def _intersection(view: Set[Any], other: Iterable[Any]) -> set[Any]:
    """Make what `&` returns. Of two equal elements it takes the one that a builtin's view takes."""
    is_larger = (type(other) is set and len(view) <= len(other)) or (
        isinstance(other, KeysView | ItemsView) and len(view) < len(other)
    )
    if is_larger:
        return set(_plain(item for item in view if item in other))
    return set(_plain(item for item in other if item in view))


def _as_set(other: object) -> Set[Any] | None:
    """The object, if it is a set or a view: for others, looking whether they hold something may take long."""
    if type(other) in (set, frozenset) or isinstance(other, (_SetView, _BUILTIN_KEYS, _BUILTIN_ITEMS)):
        return other  # type: ignore[return-value]
    return None


class _DictView:
    """What all views refuse."""

    __slots__ = ()

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied, as the builtins' views do."""
        raise TypeError(f"cannot pickle {type(self).__name__!r} object")


class _SetView(_DictView, Set[_E]):
    """What the views do that are sets. As with the builtins, operands are whatever `iter()` takes."""

    __slots__ = ()

    def __and__(self, other: Iterable[Any]) -> set[Any]:
        """Make a set of what is in both. O(len of the smaller, or of what is no set)."""
        return _intersection(self, other)

    def __rand__(self, other: Iterable[Any]) -> set[Any]:
        """As `&` the other way round, as with the builtins."""
        return _intersection(self, other)

    def __or__(self, other: Iterable[Any]) -> set[Any]:
        """Make a set of what is in either. O(len of both)."""
        return set(_plain(self)).union(_plain(other))

    def __ror__(self, other: Iterable[Any]) -> set[Any]:
        """As `|` the other way round."""
        return set(_plain(other)).union(_plain(self))

    def __sub__(self, other: Iterable[Any]) -> set[Any]:
        """Make a set of what is here and not in `other`. O(len of both)."""
        return set(_plain(self)).difference(_plain(other))

    def __rsub__(self, other: Iterable[Any]) -> set[Any]:
        """Make a set of what is in `other` and not here. O(len of both)."""
        return set(_plain(other)).difference(_plain(self))

    def __xor__(self, other: Iterable[Any]) -> set[Any]:
        """Make a set of what is in one of both. O(len of both)."""
        return set(_plain(self)).symmetric_difference(_plain(other))

    def __rxor__(self, other: Iterable[Any]) -> set[Any]:
        """As `^` the other way round."""
        return set(_plain(other)).symmetric_difference(_plain(self))

    def isdisjoint(self, other: Iterable[Any]) -> bool:
        """Whether nothing is in both. O(len of the shorter, or of what is no set)."""
        others = _as_set(other)
        if others is not None and len(others) > len(self):
            return not any(item in others for item in self)
        return not any(item in self for item in other)


class DictKeys(_SetView[_K], KeysView[_K]):
    """The keys of a Dict, as a set."""

    __slots__ = ("_dict",)

    def __init__(self, dict_: "Dict[_K, Any]") -> None:
        """Show the keys of this Dict."""
        super().__init__(dict_)
        self._dict = dict_

    @property
    def mapping(self) -> "MappingProxyType[_K, Any]":
        """The Dict, read-only."""
        return MappingProxyType(self._dict)

    def __contains__(self, key: object) -> bool:
        """Whether the Dict has the key. O(1)."""
        return key in self._dict

    __len__ = _native.view_len
    __iter__ = _native.view_keys

    def __reversed__(self) -> Iterator[_K]:
        """Iterate against the order of insertion."""
        return reversed(self._dict)

    def __repr__(self) -> str:
        """Name the view and the Dict."""
        return f"DictKeys({self._dict!r})"


class DictValues(_DictView, ValuesView[_V]):
    """The values of a Dict."""

    __slots__ = ("_dict",)

    def __init__(self, dict_: "Dict[Any, _V]") -> None:
        """Show the values of this Dict."""
        super().__init__(dict_)
        self._dict = dict_

    @property
    def mapping(self) -> "MappingProxyType[Any, _V]":
        """The Dict, read-only."""
        return MappingProxyType(self._dict)

    def __contains__(self, value: object) -> bool:
        """Whether a value is equal. O(len)."""
        return any(mine is value or mine == value for mine in self)

    __len__ = _native.view_len
    __iter__ = _native.view_values

    def __reversed__(self) -> Iterator[_V]:
        """Iterate against the order of insertion."""
        return self._dict._reversed_values()

    def __repr__(self) -> str:
        """Name the view and the Dict."""
        return f"DictValues({self._dict!r})"


class DictItems(_SetView[tuple[_K, _V]], ItemsView[_K, _V]):
    """The entries of a Dict as tuples of key and value, as a set."""

    __slots__ = ("_dict",)

    def __init__(self, dict_: "Dict[_K, _V]") -> None:
        """Show the entries of this Dict."""
        super().__init__(dict_)
        self._dict = dict_

    @property
    def mapping(self) -> "MappingProxyType[_K, _V]":
        """The Dict, read-only."""
        return MappingProxyType(self._dict)

    def __contains__(self, item: object) -> bool:
        """Whether the Dict has the key with an equal value. O(1)."""
        if not isinstance(item, tuple | Tuple) or len(item) != 2:
            return False
        key, value = item
        try:
            mine = self._dict[key]
        except KeyError:
            return False
        return mine is value or bool(mine == value)

    def __xor__(self, other: Iterable[Any]) -> set[Any]:
        """Make a set of the entries that differ: of two views of items values need not be hashable where they are equal. O(len of both)."""
        if not isinstance(other, (DictItems, _BUILTIN_ITEMS)):
            return super().__xor__(other)
        rest, made = dict(self), set()
        for key, value in other:
            if key in rest and (rest[key] is value or rest[key] == value):
                del rest[key]
            else:
                made.add((key, value))
        return set(_plain((*made, *rest.items())))

    __len__ = _native.view_len
    __iter__ = _native.view_items

    def __reversed__(self) -> Iterator[tuple[_K, _V]]:
        """Iterate against the order of insertion."""
        return self._dict._reversed_items()

    def __repr__(self) -> str:
        """Name the view and the Dict."""
        return f"DictItems({self._dict!r})"
