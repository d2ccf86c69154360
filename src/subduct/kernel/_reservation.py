"""Address ranges that hold a place for mappings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from subduct import _native
from subduct.kernel._checks import whole_pages
from subduct.kernel._place import Place, checked

if TYPE_CHECKING:
    from types import TracebackType


class Reservation(_native.Reserved):
    """A range of addresses that no other mapping of the process can land in, inaccessible and free of charge.

    Made as `Reservation(length, hint=..., address=..., align=...)`, with at most one of the three; `length` is whole pages. It is a
    private anonymous PROT_NONE mapping with NORESERVE: it counts against `ulimit -v` and `vm.max_map_count`, not against memory.

    Pass it as `within=` (and an offset as `at=`) to put mappings into it. A mapping that is closed or moved away leaves its part
    reserved and free again; in between, the part is never unmapped.

    Raises ValueError for numbers that are no multiples of the page size, `KernelError` where the kernel refuses: EEXIST for an
    address in use, ENOMEM by `ulimit -v`. `close()` raises BufferError while mappings lie in it; what is not closed is unmapped
    when it and all mappings in it are gone. O(1).
    """

    __slots__ = ()

    def __new__(cls, length: int, *, hint: int = 0, address: int | None = None, align: int = 0) -> Self:
        """Reserves the range."""
        place = Place(hint=hint, align=align)
        if address is not None:
            place["address"] = address
        checked(place)
        return super().__new__(cls, whole_pages(length), hint=hint, address=address, align=align)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return self.length

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{self.address:#x}, {self.length} bytes"
        return f"<subduct.kernel.Reservation {state}>"
