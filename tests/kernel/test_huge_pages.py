"""Mappings of huge pages: the kernel rounds their lengths up, and must not take what lies behind."""

from collections.abc import Callable
from contextlib import suppress

import pytest

from subduct import KernelError
from subduct.kernel import MapFlag, Mapping, Memfd, MemfdFlag, Reservation

HUGE = 1 << 21


def anonymous(length: int, reservation: Reservation) -> Mapping:
    return Mapping.anonymous(length, flags=MapFlag.HUGETLB | MapFlag.HUGE_2MB, within=reservation, at=0)


def unreserved(length: int, reservation: Reservation) -> Mapping:
    flags = MapFlag.HUGETLB | MapFlag.HUGE_2MB | MapFlag.NORESERVE
    return Mapping.anonymous(length, flags=flags, within=reservation, at=0)


def of_a_file(length: int, reservation: Reservation) -> Mapping:
    with Memfd(HUGE, flags=MemfdFlag.CLOEXEC | MemfdFlag.HUGETLB | MemfdFlag.HUGE_2MB) as file:
        return file.map(length, within=reservation, at=0)


@pytest.mark.parametrize("kind", [anonymous, unreserved, of_a_file])
def test_what_lies_behind_is_never_replaced(kind: Callable[[int, Reservation], Mapping]) -> None:
    with Reservation(2 * HUGE, align=HUGE) as reservation:
        with Mapping.anonymous(HUGE // 2, within=reservation, at=HUGE // 2) as neighbour:
            neighbour.write(0, b"precious")
            with pytest.raises(ValueError, match="a multiple of the page size"):
                kind(4096, reservation)
            assert neighbour.read(0, 8) == b"precious"
        # As many as the machine has: often none.
        with suppress(KernelError), kind(HUGE, reservation) as mapping:
            assert mapping.length == HUGE
            with pytest.raises(ValueError, match="a multiple of the page size"):
                mapping.resize(4096)
