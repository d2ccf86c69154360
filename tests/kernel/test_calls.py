"""The bare calls: what the kernel answers, right and wrong, and what an error says."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress

import pytest

from subduct import KernelError
from subduct.kernel import PAGE_SIZE, Advice, MapFlag, MemfdFlag, Prot, RegisterMode, RemapFlag, Seal, UffdFlag, calls

READ_WRITE = Prot.READ | Prot.WRITE
PRIVATE = MapFlag.PRIVATE | MapFlag.ANONYMOUS
END = 1 << 64


@pytest.fixture
def pages() -> object:
    """The address of four anonymous pages."""
    address = calls.mmap(0, 4 * PAGE_SIZE, READ_WRITE, PRIVATE)
    yield address
    with suppress(KernelError):
        calls.munmap(address, 4 * PAGE_SIZE)


def test_memory_is_what_was_stored(pages: int) -> None:
    calls.store(pages + 10, b"hello")
    assert calls.load(pages + 8, 9) == b"\0\0hello\0\0"
    calls.poke(pages + 10, b"J")
    assert calls.peek(pages + 10, 5) == b"Jello"
    assert calls.load(pages, 0) == b""


def test_unmapped_memory_is_an_error_and_not_a_signal(pages: int) -> None:
    calls.munmap(pages + PAGE_SIZE, PAGE_SIZE)
    with pytest.raises(KernelError) as caught:
        calls.peek(pages + PAGE_SIZE - 1, 2)
    assert caught.value.errno == errno.EFAULT
    assert (caught.value.address, caught.value.length) == (pages + PAGE_SIZE - 1, 2)
    with pytest.raises(KernelError) as caught:
        calls.poke(pages + PAGE_SIZE, b"x")
    assert caught.value.errno == errno.EFAULT


def test_a_load_of_unmapped_memory_is_a_signal() -> None:
    done = subprocess.run([sys.executable, "-c", "from subduct.kernel import calls; calls.load(4096, 1)"], check=False)
    assert done.returncode == -11


def test_mremap_leaves_the_source_mapped_and_takes_the_hint(pages: int) -> None:
    calls.store(pages, b"moved")
    room = calls.mmap(0, 4 * PAGE_SIZE, Prot.NONE, PRIVATE)
    calls.munmap(room, 4 * PAGE_SIZE)
    flags = RemapFlag.MAYMOVE | RemapFlag.DONTUNMAP
    moved = calls.mremap(pages, 4 * PAGE_SIZE, 4 * PAGE_SIZE, flags, room)
    try:
        assert moved == room
        assert calls.load(moved, 5) == b"moved"
        assert calls.load(pages, 5) == bytes(5)
    finally:
        calls.munmap(moved, 4 * PAGE_SIZE)


def test_mincore_protect_advise_and_lock(pages: int) -> None:
    calls.store(pages + PAGE_SIZE, b"x")
    assert [byte & 1 for byte in calls.mincore(pages, 4 * PAGE_SIZE)] == [0, 1, 0, 0]
    calls.mlock(pages, 2 * PAGE_SIZE)
    assert [byte & 1 for byte in calls.mincore(pages, 4 * PAGE_SIZE)] == [1, 1, 0, 0]
    calls.munlock(pages, 2 * PAGE_SIZE)
    calls.madvise(pages, 4 * PAGE_SIZE, Advice.DONTNEED)
    assert calls.load(pages + PAGE_SIZE, 1) == b"\0"
    calls.mprotect(pages, PAGE_SIZE, Prot.NONE)
    with pytest.raises(KernelError):
        calls.peek(pages, 1)


def test_files_and_seals() -> None:
    fd = calls.memfd_create("calls", MemfdFlag.CLOEXEC | MemfdFlag.ALLOW_SEALING)
    try:
        calls.ftruncate(fd, PAGE_SIZE)
        calls.fallocate(fd, 0, 0, PAGE_SIZE)
        assert os.fstat(fd).st_blocks * 512 == PAGE_SIZE
        calls.add_seals(fd, Seal.GROW)
        assert calls.get_seals(fd) == Seal.GROW
        with pytest.raises(KernelError) as caught:
            calls.ftruncate(fd, 2 * PAGE_SIZE)
        assert caught.value.errno == errno.EPERM
        assert "F_SEAL_GROW" in caught.value.remedy
    finally:
        os.close(fd)


REFUSED: dict[str, tuple[Callable[[], object], int]] = {
    "mmap of nothing": (lambda: calls.mmap(0, 0, 0, PRIVATE), errno.EINVAL),
    "mmap of everything": (lambda: calls.mmap(0, END - PAGE_SIZE, 0, PRIVATE), errno.ENOMEM),
    "munmap, unaligned": (lambda: calls.munmap(1, PAGE_SIZE), errno.EINVAL),
    "mremap of nothing mapped": (lambda: calls.mremap(PAGE_SIZE, PAGE_SIZE, PAGE_SIZE, 0), errno.EFAULT),
    "mremap, unknown flag": (lambda: calls.mremap(0, PAGE_SIZE, PAGE_SIZE, 8), errno.EINVAL),
    "madvise, unknown": (lambda: calls.madvise(0, PAGE_SIZE, 9999), errno.EINVAL),
    "mprotect of nothing mapped": (lambda: calls.mprotect(PAGE_SIZE, PAGE_SIZE, 0), errno.ENOMEM),
    "mlock of nothing mapped": (lambda: calls.mlock(PAGE_SIZE, PAGE_SIZE), errno.ENOMEM),
    "mincore, unaligned": (lambda: calls.mincore(1, PAGE_SIZE), errno.EINVAL),
    "memfd_create, long name": (lambda: calls.memfd_create("x" * 250, 0), errno.EINVAL),
    "ftruncate of nothing": (lambda: calls.ftruncate(-1, 0), errno.EBADF),
    "fallocate of nothing": (lambda: calls.fallocate(-1, 0, 0, PAGE_SIZE), errno.EBADF),
    "seals of a pipe": (lambda: calls.get_seals(os.pipe2(os.O_CLOEXEC)[0]), errno.EINVAL),
    "userfaultfd, unknown flag": (lambda: calls.userfaultfd(1 << 20), errno.EINVAL),
    "an ioctl on no userfaultfd": (lambda: calls.uffd_register(-1, 0, PAGE_SIZE, 1), errno.EBADF),
}


@pytest.mark.parametrize("wrong", REFUSED)
def test_wrong_questions_get_the_kernels_answer(wrong: str) -> None:
    ask, expected = REFUSED[wrong]
    with pytest.raises(KernelError) as caught:
        ask()
    error = caught.value
    assert error.errno == expected
    assert error.call
    assert error.arguments
    assert error.remedy
    assert error.remedy == calls.remedy(error.call, expected)
    assert os.strerror(expected) in str(error)
    assert str(error).endswith(error.remedy)


@pytest.mark.parametrize("call", ["memfd_create", "fallocate", "ftruncate", "mremap", "madvise", "userfaultfd"])
def test_a_call_that_a_filter_may_have_refused_says_so(call: str) -> None:
    assert "seccomp" in calls.remedy(call, errno.EPERM)
    assert "ulimit -n" not in calls.remedy(call, errno.EPERM)


def test_an_error_names_the_call_and_its_arguments_in_order() -> None:
    with pytest.raises(KernelError) as caught:
        calls.mremap(PAGE_SIZE + 1, 2, 3, RemapFlag.MAYMOVE, 5)
    error = caught.value
    assert error.call == "mremap"
    assert list(error.arguments.items()) == [
        ("old_address", PAGE_SIZE + 1),
        ("old_length", 2),
        ("new_length", 3),
        ("flags", 1),
        ("new_address", 5),
    ]
    assert f"mremap(old_address={PAGE_SIZE + 1:#x}, old_length=2, new_length=3, flags=0x1, new_address=0x5)" in str(
        error
    )
    assert isinstance(error, OSError)


def test_numbers_that_no_register_holds_are_refused_by_python() -> None:
    for ask in (lambda: calls.munmap(END, 1), lambda: calls.munmap(-1, 1), lambda: calls.load(0, END)):
        with pytest.raises(OverflowError):
            ask()
    with pytest.raises(MemoryError):
        calls.peek(0, END >> 2)
    with pytest.raises(ValueError, match="null byte"):
        calls.memfd_create("a\0b", 0)


def test_partial_results_are_results(pages: int) -> None:
    fd = calls.userfaultfd(UffdFlag.USER_MODE_ONLY | UffdFlag.NONBLOCK | UffdFlag.CLOEXEC)
    try:
        calls.uffd_api(fd, 0)
        assert calls.uffd_read(fd) == b""
        calls.uffd_register(fd, pages, 4 * PAGE_SIZE, RegisterMode.MISSING)
        assert calls.uffd_zeropage(fd, pages + 2 * PAGE_SIZE, PAGE_SIZE) == PAGE_SIZE
        assert calls.uffd_zeropage(fd, pages, 4 * PAGE_SIZE) == 2 * PAGE_SIZE
        with pytest.raises(KernelError) as caught:
            calls.uffd_zeropage(fd, pages, 4 * PAGE_SIZE)
        assert caught.value.errno == errno.EEXIST
        assert caught.value.call == "ioctl(UFFDIO_ZEROPAGE)"
        with pytest.raises(KernelError) as caught:
            calls.uffd_api(fd, 0)
        assert caught.value.errno == errno.EINVAL
        assert "once" in caught.value.remedy
    finally:
        os.close(fd)
