"""Where a mapping goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from subduct import _native
from subduct.kernel._checks import aligned

if TYPE_CHECKING:
    from subduct.kernel._reservation import Reservation


class Place(TypedDict, total=False):
    """Where a mapping goes: at most one of `hint`, `address`, `align` and `within`. With none the kernel chooses.

    There is no way to map over memory that is in use: `MAP_FIXED` replaces whatever is there, so it is used only inside a
    `Reservation`, which knows its free parts. Numbers are multiples of the page size; anything else is a ValueError.
    """

    hint: int
    """An address to be used if it is free; elsewhere if not."""
    address: int
    """Exactly there: `KernelError(EEXIST)` if anything is mapped in the range (MAP_FIXED_NOREPLACE, Linux 4.17)."""
    align: int
    """A power of two: 2 MiB and 1 GiB are the steps in which page tables can be moved."""
    within: Reservation
    """A reservation, at offset `at`: ValueError if that part is taken."""
    at: int
    """Offset in the reservation; 0 if not given."""


def checked(place: Place) -> Place:
    """The place, if it can be one: ValueError for numbers that cannot, TypeError for what is no number and for other names."""
    for name, value in place.items():
        if name not in Place.__optional_keys__:
            raise TypeError(f"got an unexpected keyword argument {name!r}")
        if name == "within":
            if value is not None and not isinstance(value, _native.Reserved):
                raise TypeError(f"within must be a Reservation, not {type(value).__name__}")
        elif value is not None:
            aligned(name, value)  # type: ignore[arg-type]
    if place.get("address") == 0:
        raise ValueError("nothing is mapped at address 0, which everybody takes for no address at all")
    return place
