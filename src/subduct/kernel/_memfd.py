"""Files without a name."""

from __future__ import annotations

import errno
import os
import weakref
from typing import TYPE_CHECKING, Self, Unpack

from subduct._native import KernelError
from subduct.kernel import calls
from subduct.kernel._checks import PAGE_SIZE, aligned, file_length, known, part, resident_bytes
from subduct.kernel._enums import FallocFlag, MapFlag, MemfdFlag, Prot, Seal
from subduct.kernel._mapping import Mapping

if TYPE_CHECKING:
    from types import TracebackType

    from subduct.kernel._place import Place

_BASE = MemfdFlag.CLOEXEC | MemfdFlag.ALLOW_SEALING


class Memfd:
    """A file in memory that goes when its descriptor and its mappings are gone: memfd_create(2).

    - `length`: bytes, any number; the file is sparse, so only what is touched takes memory.
    - `name`: shown in /proc/PID/maps as `/memfd:NAME`, at most 249 bytes.
    - `flags`: CLOEXEC and ALLOW_SEALING if not given, and NOEXEC_SEAL where the kernel knows it (6.3).
    - `seals`: set once the file has its length. GROW and SHRINK keep it from changing; a file that cannot shrink can never turn an
      access to a mapping into SIGBUS.

    Raises ValueError for a length that no file has, `KernelError` where the kernel refuses.
    """

    _fd = -1

    def __init__(
        self,
        length: int = 0,
        *,
        name: str = "subduct",
        flags: MemfdFlag | None = None,
        seals: Seal = Seal(0),  # noqa: B008
    ) -> None:
        file_length(length)
        wanted = known(Seal, "seals", seals)
        self._mappings: weakref.WeakSet[Mapping] = weakref.WeakSet()
        self._fd = self._create(name, flags)
        try:
            if length:
                calls.ftruncate(self._fd, length)
            if wanted:
                calls.add_seals(self._fd, wanted)
        except BaseException:
            self.close()
            raise

    @staticmethod
    def _create(name: str, flags: MemfdFlag | None) -> int:
        if flags is not None:
            return calls.memfd_create(name, known(MemfdFlag, "flags", flags))
        try:
            return calls.memfd_create(name, _BASE | MemfdFlag.NOEXEC_SEAL)
        except KernelError as error:
            if error.errno != errno.EINVAL:
                raise
            return calls.memfd_create(name, _BASE)

    def fileno(self) -> int:
        """The descriptor; ValueError where it is closed."""
        if self._fd < 0:
            raise ValueError("the memfd is closed")
        return self._fd

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._fd < 0

    def close(self) -> None:
        """Closes the descriptor. Mappings of the file stay as they are."""
        number, self._fd = self._fd, -1
        if number >= 0:
            os.close(number)

    @property
    def length(self) -> int:
        """Length of the file in bytes, holes included."""
        return os.fstat(self.fileno()).st_size

    @property
    def resident_bytes(self) -> int:
        """Bytes of memory that the file holds right now, however many views show them: fstat(2), st_blocks."""
        return resident_bytes(self.fileno())

    @property
    def seals(self) -> Seal:
        """Its seals: fcntl(2), F_GET_SEALS."""
        return Seal(calls.get_seals(self.fileno()))

    def seal(self, seals: Seal) -> None:
        """Adds seals, for ever: fcntl(2), F_ADD_SEALS. WRITE is EBUSY while shared writable mappings exist."""
        calls.add_seals(self.fileno(), known(Seal, "seals", seals))

    def map(
        self,
        length: int | None = None,
        *,
        offset: int = 0,
        shared: bool = True,
        prot: Prot = Prot.READ | Prot.WRITE,
        flags: MapFlag = MapFlag(0),  # noqa: B008
        **place: Unpack[Place],
    ) -> Mapping:
        """A view of the file from `offset` on, up to the end of its last page if `length` is not given. There may be many views of one
        file. Behind its end the last page holds zeros, which are not part of the file."""
        if length is None:
            length = self._rest(offset)
        mapping = Mapping.file(self, length, offset=offset, shared=shared, prot=prot, flags=flags, **place)
        self._mappings.add(mapping)
        return mapping

    def resize(self, length: int) -> None:
        """Gives the file another length: ftruncate(2). EPERM by its seals.

        BufferError where exported buffers show bytes of it and it shrinks: an access behind the end raises SIGBUS.
        """
        if file_length(length) < self.length and any(mapping.exports for mapping in self._mappings):
            raise BufferError("cannot shrink a memfd whose mappings have exported buffers")
        calls.ftruncate(self.fileno(), length)

    def allocate(self, offset: int = 0, length: int | None = None) -> None:
        """Makes whole pages resident: zeros where there was nothing, else unchanged. fallocate(2); ENOSPC, ENOMEM. O(length)."""
        if length is None:
            # Exactly to the end: a whole page would make the file longer.
            self._rest(offset)
            length = self.length - offset
        else:
            offset, length = part(self.length, offset, length)
        calls.fallocate(self.fileno(), 0, offset, length)

    def punch(self, offset: int = 0, length: int | None = None) -> None:
        """Gives the memory of whole pages back; they read as zeros in every view. FALLOC_FL_PUNCH_HOLE; EPERM by its seals."""
        offset, length = (offset, self._rest(offset)) if length is None else part(self.length, offset, length)
        calls.fallocate(self.fileno(), FallocFlag.PUNCH_HOLE | FallocFlag.KEEP_SIZE, offset, length)

    def _rest(self, offset: int) -> int:
        """Bytes from an offset to the end of the last page."""
        whole = self.length
        if aligned("offset", offset) >= whole:
            raise ValueError(f"offset {offset} leaves the {whole} bytes there are")
        return -(-(whole - offset) // PAGE_SIZE) * PAGE_SIZE

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{self._fd}, {self.length} bytes"
        return f"<subduct.kernel.Memfd {state}>"
