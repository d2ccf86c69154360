"""Mapped memory as objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self, Unpack

from subduct import _native
from subduct.kernel import calls
from subduct.kernel._checks import HasFileno, descriptor, file_offset, known, part, whole_pages
from subduct.kernel._enums import Advice, MapFlag, Prot
from subduct.kernel._pagemap import Page, pagemap
from subduct.kernel._place import checked
from subduct.kernel._proc import SmapsEntry, smaps

if TYPE_CHECKING:
    from types import TracebackType

    from subduct.kernel._place import Place

_READ_WRITE = Prot.READ | Prot.WRITE
_KIND = MapFlag.SHARED | MapFlag.PRIVATE | MapFlag.ANONYMOUS
_WITHHELD = "this process does not have the mapping: it was forked after MADV_DONTFORK, which serve() sets while it fills the pages"


class Mapping(_native.Span):
    """Mapped memory that is unmapped when it is closed, when its `with` block ends, or when it is garbage.

    Made by `Mapping.anonymous`, `Mapping.file` and `Memfd.map`. It has the buffer protocol: `memoryview(mapping)` shows the memory
    itself, read-only without `Prot.WRITE`. While buffers are exported, the mapping can be neither closed, moved nor resized, nor
    lose an access that they need: BufferError, as for `mmap.mmap`. Use after `close()` is a ValueError; `address` and `length` are
    then the last that it had.

    A thread that touches a memoryview holds the GIL, also while it waits in a page fault; `read()` and `write()` release it. So
    memory that another *thread* of the process serves through a userfaultfd may be touched only by these two.

    Offsets and lengths are bytes; what is not a multiple of the page size where the kernel wants one is a ValueError before the
    call. A call that the kernel refuses is a `KernelError`.

    A forked child has the mapping too, except after `advise(Advice.DONTFORK)`, and while `serve()` fills its pages: then its use
    there is a ValueError. An access through a memoryview that such a child inherited raises SIGSEGV.
    """

    # Whether `serve()` fills its pages, at the addresses that it has.
    _is_served = False

    if TYPE_CHECKING:
        # Before Python 3.12 a class shows its buffer to C only.
        def __buffer__(self, flags: int, /) -> memoryview: ...

    @classmethod
    def anonymous(
        cls,
        length: int,
        *,
        shared: bool = False,
        prot: Prot = _READ_WRITE,
        flags: MapFlag = MapFlag(0),  # noqa: B008
        **place: Unpack[Place],
    ) -> Self:
        """Maps `length` bytes of zeros, private or shared with forked children.

        `flags` are further flags (NORESERVE, POPULATE, HUGETLB ...). mmap(2). O(1), with POPULATE O(length).
        """
        kind = MapFlag.SHARED if shared else MapFlag.PRIVATE
        access = known(Prot, "prot", prot)
        return cls(whole_pages(length), access, cls._checked(flags) | kind | MapFlag.ANONYMOUS, **checked(place))

    @classmethod
    def file(
        cls,
        file: int | HasFileno,
        length: int,
        *,
        offset: int = 0,
        shared: bool = True,
        prot: Prot = _READ_WRITE,
        flags: MapFlag = MapFlag(0),  # noqa: B008
        **place: Unpack[Place],
    ) -> Self:
        """Maps `length` bytes of a file from `offset`; a private mapping keeps what is written to it for itself.

        The file may be closed afterwards. An access behind its end raises SIGBUS, which ends the process: see `Memfd` for files
        that cannot shrink. mmap(2). O(1), with POPULATE O(length).
        """
        kind = MapFlag.SHARED if shared else MapFlag.PRIVATE
        number, start = descriptor(file), file_offset(offset)
        access = known(Prot, "prot", prot)
        return cls(whole_pages(length), access, cls._checked(flags) | kind, number, start, **checked(place))

    @staticmethod
    def _checked(flags: MapFlag) -> MapFlag:
        flags = known(MapFlag, "flags", flags)
        if flags & _KIND:
            raise ValueError("pass shared=True or False instead of SHARED, PRIVATE and ANONYMOUS")
        return flags

    @property
    def prot(self) -> Prot:
        """How the memory may be accessed."""
        return Prot(self._prot)

    @property
    def flags(self) -> MapFlag:
        """The flags it was mapped with, those that choose a place apart."""
        return MapFlag(self._flags)

    @property
    def shared(self) -> bool:
        """Whether writes reach the file, or forked children."""
        return bool(self._flags & MapFlag.SHARED)

    @property
    def is_anonymous(self) -> bool:
        """Whether there is no file behind it."""
        return bool(self._flags & MapFlag.ANONYMOUS)

    def read(self, offset: int, length: int) -> bytes:
        """A copy of a part. Waits for a userfaultfd with the GIL released. O(length)."""
        try:
            return super().read(offset, length)
        except OverflowError:
            raise self._outside(offset, length) from None

    def write(self, offset: int, data: bytes) -> None:
        """Puts bytes at an offset. Waits for a userfaultfd with the GIL released. O(length)."""
        try:
            super().write(offset, data)
        except OverflowError:
            raise self._outside(offset, len(data)) from None

    def _outside(self, offset: int, length: int) -> ValueError:
        return ValueError(f"offset {offset} and length {length} leave the mapping of {self.length} bytes")

    def move(self, *, keep_source: bool = False, **place: Unpack[Place]) -> Self:
        """Moves the page tables to another place, without copying memory; returns the mapping that is there.

        Without `keep_source` that is this object, at its new address. With it (MREMAP_DONTUNMAP) it is a new object, and this one
        stays mapped: private anonymous memory reads as zeros from now on, shared and file-backed memory shows the same pages,
        and what was written to a private file mapping has gone to the new one. Registrations with a userfaultfd stay here: while
        `serve()` fills this mapping, a page of shared memory that is touched at the new address first is filled with zeros, for both.

        Linux 5.7 for private anonymous memory, 5.13 (commit a4609387859f) for everything but mappings that the kernel marks
        VM_DONTEXPAND or VM_PFNMAP: EINVAL. EFAULT where a call on a part has split the mapping. mremap(2) says that the source
        reads as zeros; that holds for private anonymous memory only.

        Moved from one multiple of 1 GiB (2 MiB) to another, the kernel swings one pointer for each GiB (2 MiB); else it moves 4 KiB
        at a time. A mapping that moves out of a reservation needs MREMAP_DONTUNMAP in either case.

        ValueError without `keep_source` while `serve()` fills its pages: nobody would fill them at the new address.
        """
        checked(place)
        if keep_source:
            return type(self)(self.length, self._prot, self._flags, source=self, **place)
        self._check_unserved()
        self._move(
            place.get("hint", 0), place.get("address"), place.get("align", 0), place.get("within"), place.get("at", 0)
        )
        return self

    def resize(self, length: int, *, may_move: bool = True) -> None:
        """Makes it longer or shorter, at another address if it must and may.

        ENOMEM where there is no room behind it and it may not move. What is new is zeros, or the file's next bytes. In a
        reservation it can only shrink. mremap(2). O(1), or as `move`. ValueError while `serve()` fills its pages.
        """
        self._check_unserved()
        self._resize(whole_pages(length), may_move)

    def _check_unserved(self) -> None:
        if self._is_served:
            raise ValueError(
                "serve() fills the pages of this mapping where it is, and nobody would fill them elsewhere: close the server first"
            )

    def protect(self, prot: Prot) -> None:
        """Changes how the whole mapping may be accessed. mprotect(2). An access that is not allowed raises SIGSEGV."""
        self._protect(known(Prot, "prot", prot))

    def advise(self, advice: Advice, offset: int = 0, length: int | None = None) -> None:
        """Tells the kernel what to do with a part, in whole pages. madvise(2).

        DONTNEED, FREE and REMOVE throw content away. Advice on a part splits the mapping, so that it cannot be moved before
        Linux 6.17; advice about content (DONTNEED, POPULATE_READ ...) does not.
        """
        self._advise(Advice(advice), *part(self.length, offset, length))

    def punch(self, offset: int = 0, length: int | None = None) -> None:
        """Gives the memory of a part back, in whole pages; it reads as zeros afterwards. About 1 us a page.

        Shared memory: a hole in the file (MADV_REMOVE). Private anonymous memory: MADV_DONTNEED. A private file mapping has no
        zeros to go back to: ValueError.
        """
        if self.shared:
            self.advise(Advice.REMOVE, offset, length)
        elif self.is_anonymous:
            self.advise(Advice.DONTNEED, offset, length)
        else:
            raise ValueError("a private file mapping cannot be punched: punch the file, or advise DONTNEED")

    def populate(self, offset: int = 0, length: int | None = None, *, write: bool = True) -> None:
        """Makes a part resident and mapped, as if each page were written, or read. Linux 5.14. O(length)."""
        self.advise(Advice.POPULATE_WRITE if write else Advice.POPULATE_READ, offset, length)

    def lock(self) -> None:
        """Makes all of it resident and keeps it so. mlock(2); ENOMEM or EPERM by `ulimit -l`."""
        calls.mlock(*self._whole())

    def unlock(self) -> None:
        """Takes `lock()` back. munlock(2)."""
        calls.munlock(*self._whole())

    def pages(self, offset: int = 0, length: int | None = None) -> list[Page]:
        """What the page table says of each page of a part: /proc/self/pagemap. O(pages)."""
        address, whole = self._whole()
        offset, length = part(whole, offset, length)
        return pagemap(address + offset, length)

    def smaps(self) -> list[SmapsEntry]:
        """What the kernel says of the mapping, an entry for each piece that it was split into: /proc/self/smaps. O(mappings)."""
        address, length = self._whole()
        return smaps(address=address, length=length)

    def _whole(self) -> tuple[int, int]:
        if self.closed:
            raise ValueError("the mapping is closed")
        if not self._here:
            raise ValueError(_WITHHELD)
        return self.address, self.length

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        if self.closed:
            return "<subduct.kernel.Mapping closed>"
        kind = "shared" if self.shared else "private"
        what = "anonymous" if self.is_anonymous else "file"
        return f"<subduct.kernel.Mapping {self.address:#x}, {self.length} bytes, {kind} {what}, {self.prot!r}>"
