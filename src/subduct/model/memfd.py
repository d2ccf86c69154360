"""memfd_create, ftruncate, fallocate and seals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from subduct.model.file import File, Page
from subduct.model.mapping import VmFlag
from subduct.model.uapi import PAGE, Seal

if TYPE_CHECKING:
    from subduct.model.state import State


def memfd_create(state: State, fd: int, name: str, *, sealable: bool) -> int:
    """Makes an empty memfd with the descriptor that the caller chose."""
    state.check_free(fd)
    state.files[fd] = File(f"/memfd:{name}", seals=Seal(0) if sealable else Seal.SEAL)
    return fd


def ftruncate(state: State, fd: int, size: int) -> None:
    """Raises RefusedCall. The size is a whole number of pages."""
    state.book.check("memfd.size-negative", size < 0)
    file = _file(state, fd)
    state.book.check("memfd.shrink-sealed", size < file.size and file.seals & Seal.SHRINK)
    state.book.check("memfd.grow-sealed", size > file.size and file.seals & Seal.GROW)
    if size < file.size:
        _zap(state, file, size // PAGE, file.page_count, copies=True)
        file.discard(size // PAGE, file.page_count)
    file.size = size


def punch(state: State, fd: int, offset: int, length: int) -> None:
    """fallocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE) of whole pages. Raises RefusedCall."""
    file = _file(state, fd)
    state.book.check("memfd.range", offset < 0 or length <= 0)
    state.book.check("memfd.punch-sealed", file.seals & Seal.WRITE)
    punch_file(state, file, offset // PAGE, (offset + length) // PAGE)


def punch_file(state: State, file: File, first: int, end: int) -> None:
    """Makes the pages of a file with indexes from `first` up to `end` holes; private copies of them stay."""
    state.book.check("memfd.punch-sealed", file.seals & Seal.WRITE)
    _zap(state, file, first, end, copies=False)
    file.discard(first, end)


def fallocate(state: State, fd: int, offset: int, length: int) -> None:
    """fallocate() without flags: gives every page of the range a place, and the file at least that size. Raises RefusedCall."""
    file = _file(state, fd)
    state.book.check("memfd.range", offset < 0 or length <= 0)
    end = offset + length
    state.book.check("memfd.grow-sealed", end > file.size and file.seals & Seal.GROW)
    for index in range(offset // PAGE, -(-end // PAGE)):
        # What is there already is filled now, if it was not before.
        file.pages[index] = file.page(index) if index in file.pages else Page(filled=False)
    file.size = max(file.size, end)


def add_seals(state: State, fd: int, seals: int) -> None:
    """Raises RefusedCall."""
    file = _file(state, fd)
    state.book.check("memfd.seals-sealed", file.seals & Seal.SEAL)
    if seals & Seal.WRITE and not file.seals & Seal.WRITE:
        writable = VmFlag.SHARED | VmFlag.MAYWRITE
        mapped = any(each.file is file and each.flags & writable == writable for each in state.layout)
        state.book.check("memfd.seal-write-mapped", mapped)
    file.seals |= Seal(seals)


def _file(state: State, fd: int) -> File:
    file = state.files.get(fd)
    if file is None:
        raise state.book.refuse("memfd.descriptor")
    return file


def _zap(state: State, file: File, first: int, end: int, *, copies: bool) -> None:
    """Takes the pages of a file out of all mappings, private copies of them too if so asked."""
    for mapping in state.layout:
        if mapping.file is not file:
            continue
        start = mapping.start + max(0, first - mapping.index) * PAGE
        stop = min(mapping.end, mapping.start + (end - mapping.index) * PAGE)
        for address, entry in list(state.table.entries(start, stop)):
            if copies or entry.cached:
                state.table.clear(address, address + PAGE)
