"""mmap and munmap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from subduct.model.file import File
from subduct.model.mapping import Mapping, VmFlag
from subduct.model.uapi import PAGE, TASK_SIZE, MapFlag, Prot, Seal, page_up

if TYPE_CHECKING:
    from subduct.model.state import State


def mmap(state: State, address: int, length: int, prot: int, flags: int, fd: int, offset: int) -> int:
    """The address of the new mapping. Raises RefusedCall."""
    check = state.book.check
    check("mmap.offset-unaligned", offset % PAGE)
    file = None
    if not flags & MapFlag.ANONYMOUS:
        file = state.files.get(fd)
        check("mmap.descriptor", file is None)
    check("mmap.length-zero", length == 0)
    length = page_up(length)
    check("mmap.too-long", length == 0 or length > TASK_SIZE)
    placed_exactly = flags & (MapFlag.FIXED | MapFlag.FIXED_NOREPLACE)
    if placed_exactly:
        check("mmap.too-long", address > TASK_SIZE - length)
        check("mmap.fixed-unaligned", address % PAGE)
        check("mmap.below-minimum", address < state.limits.lowest_address)
    if flags & MapFlag.FIXED_NOREPLACE:
        check("mmap.occupied", state.layout.within(address, address + length))
    shared = bool(flags & MapFlag.SHARED)
    check("mmap.type", not shared and not flags & MapFlag.PRIVATE)
    early = state.book.holds("mmap.seal-checked-first")
    if early:
        _check_seals(state, file, prot, shared=shared)
    start = address if placed_exactly else state.choose(address, length)
    state.check_unmap(start, start + length)
    state.unmap(start, start + length)
    if not early:
        _check_seals(state, file, prot, shared=shared)
    index = offset // PAGE
    if file is None:
        index = 0 if shared else start // PAGE
        file = File("/dev/zero", length) if shared else None
    vm_flags = _vm_flags(file, Prot(prot), shared=shared)
    state.layout.add_merged(Mapping(start, start + length, Prot(prot), vm_flags, file, index))
    return start


def _check_seals(state: State, file: File | None, prot: int, *, shared: bool) -> None:
    if shared and file is not None and file.seals & Seal.WRITE:
        state.book.check("mmap.write-sealed", prot & Prot.WRITE)
        state.book.check("mmap.write-sealed-read-only", broken=True)


def _vm_flags(file: File | None, prot: Prot, *, shared: bool) -> VmFlag:
    if not shared:
        return VmFlag.MAYWRITE | (VmFlag.ACCOUNT if Prot.WRITE in prot else VmFlag.NONE)
    assert file is not None
    sealed = Seal.WRITE in file.seals
    return VmFlag.SHARED | (VmFlag.NONE if sealed else VmFlag.MAYWRITE)


def munmap(state: State, address: int, length: int) -> None:
    """Raises RefusedCall."""
    check = state.book.check
    check("munmap.address-unaligned", address % PAGE)
    check("munmap.beyond-end", length > TASK_SIZE or address > TASK_SIZE - length)
    check("munmap.length-zero", page_up(length) == 0)
    state.check_unmap(address, address + page_up(length))
    state.unmap(address, address + page_up(length))
