"""Memfds: length, seals, views, holes."""

import errno
import os

import pytest

from harness.process import open_descriptors
from subduct import KernelError
from subduct.kernel import PAGE_SIZE, Memfd, MemfdFlag, Prot, Seal


def test_two_views_show_one_file() -> None:
    with Memfd(2 * PAGE_SIZE, name="two views") as file, file.map() as first, file.map(offset=PAGE_SIZE) as second:
        first.write(PAGE_SIZE, b"seen")
        assert second.read(0, 4) == b"seen"
        assert os.pread(file.fileno(), 4, PAGE_SIZE) == b"seen"
        assert first.smaps()[0].path == "/memfd:two views (deleted)"
        assert (file.length, file.resident_bytes) == (2 * PAGE_SIZE, PAGE_SIZE)
        assert first.smaps()[0].pss_bytes == PAGE_SIZE // 2 or first.pages()[1].exclusive


def test_a_private_view_keeps_its_writes() -> None:
    with Memfd(PAGE_SIZE) as file, file.map() as shared, file.map(shared=False) as private:
        private.write(0, b"mine")
        assert shared.read(0, 4) == bytes(4)


def test_views_outlive_the_descriptor() -> None:
    with Memfd(PAGE_SIZE) as file:
        view = file.map()
    with view:
        view.write(0, b"x")
        assert view.read(0, 1) == b"x"
    assert file.closed
    for use in (file.fileno, file.map, lambda: file.resize(0), file.punch, file.allocate, lambda: file.seals):
        with pytest.raises(ValueError, match="closed"):
            use()


def test_seals() -> None:
    with Memfd(PAGE_SIZE, seals=Seal.SHRINK | Seal.GROW) as file:
        assert file.seals >= Seal.SHRINK | Seal.GROW
        for length in (0, 2 * PAGE_SIZE):
            with pytest.raises(KernelError) as caught:
                file.resize(length)
            assert caught.value.errno == errno.EPERM
            assert caught.value.call == "ftruncate"
        with file.map(), pytest.raises(KernelError) as caught:
            file.seal(Seal.WRITE)
        assert caught.value.errno == errno.EBUSY
        assert "F_SEAL_FUTURE_WRITE" in caught.value.remedy
        file.seal(Seal.WRITE)
        with pytest.raises(KernelError) as caught:
            file.map()
        assert caught.value.errno == errno.EPERM
        with file.map(prot=Prot.READ) as readable, memoryview(readable) as view:
            assert view.readonly
    with Memfd(flags=MemfdFlag.CLOEXEC) as unsealable:
        assert unsealable.seals == Seal.SEAL
        with pytest.raises(KernelError):
            unsealable.seal(Seal.GROW)


def test_growing_and_shrinking() -> None:
    with Memfd(PAGE_SIZE) as file:
        file.resize(3 * PAGE_SIZE)
        with file.map() as mapping:
            mapping.write(2 * PAGE_SIZE, b"x")
            with memoryview(mapping), pytest.raises(BufferError, match="shrink"):
                file.resize(PAGE_SIZE)
            file.resize(PAGE_SIZE)
        assert file.length == PAGE_SIZE
        for wrong in (lambda: file.resize(-1), lambda: Memfd(-1), lambda: file.punch(1), lambda: file.allocate(0, 1)):
            with pytest.raises(ValueError):
                wrong()


def test_allocate_and_punch() -> None:
    with Memfd(4 * PAGE_SIZE) as file, file.map() as mapping:
        file.allocate(PAGE_SIZE, 2 * PAGE_SIZE)
        assert file.resident_bytes == 2 * PAGE_SIZE
        mapping.write(PAGE_SIZE, b"x")
        file.punch(PAGE_SIZE, PAGE_SIZE)
        assert file.resident_bytes == PAGE_SIZE
        assert mapping.read(PAGE_SIZE, 1) == b"\0"


def test_a_descriptor_is_closed_with_its_object() -> None:
    file = Memfd(PAGE_SIZE)
    number = file.fileno()
    del file
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


def test_a_kernel_that_refuses_leaves_no_descriptor() -> None:
    before = len(open_descriptors())
    with pytest.raises(KernelError):
        Memfd(PAGE_SIZE, flags=MemfdFlag.CLOEXEC, seals=Seal.GROW)
    with pytest.raises(KernelError):
        Memfd(name="x" * 250)
    assert len(open_descriptors()) == before


def test_a_file_that_ends_inside_a_page() -> None:
    with Memfd(5000) as file, file.map() as view, file.map(offset=PAGE_SIZE) as rest:
        assert (view.length, rest.length) == (2 * PAGE_SIZE, PAGE_SIZE)
        view.write(4990, b"0123456789")
        assert os.pread(file.fileno(), 100, 4990) == b"0123456789"
        assert rest.read(5000 - PAGE_SIZE, 100) == bytes(100)
        file.punch()
        assert file.resident_bytes == 0
        file.allocate()
        assert (file.resident_bytes, file.length) == (2 * PAGE_SIZE, 5000)
