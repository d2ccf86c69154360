"""Mappings: lifetime, buffers, moves, and what they refuse."""

import ctypes
import errno
import gc
import os
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from harness.process import run_program
from subduct import KernelError
from subduct.kernel import PAGE_SIZE, Advice, MapFlag, Mapping, Memfd, Prot, Reservation, calls, maps

MIB_2 = 1 << 21
GIB = 1 << 30


def linux() -> tuple[int, ...]:
    return tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])


def is_mapped(address: int) -> bool:
    return any(entry.start <= address < entry.end for entry in maps(address=address, length=1))


def test_a_buffer_shows_the_memory() -> None:
    with Mapping.anonymous(2 * PAGE_SIZE) as mapping:
        assert len(mapping) == mapping.length == 2 * PAGE_SIZE
        with memoryview(mapping) as view:
            view[:5] = b"hello"
            assert (view.nbytes, view.readonly, mapping.exports) == (2 * PAGE_SIZE, False, 1)
        assert mapping.exports == 0
        assert mapping.read(0, 6) == calls.load(mapping.address, 6) == b"hello\0"
        mapping.write(PAGE_SIZE - 2, b"across")
        assert bytes(mapping)[PAGE_SIZE - 2 : PAGE_SIZE + 4] == b"across"


def test_it_is_unmapped_when_closed_left_or_garbage() -> None:
    closed = Mapping.anonymous(PAGE_SIZE)
    address = closed.address
    assert is_mapped(address)
    closed.close()
    closed.close()
    assert closed.closed
    assert not is_mapped(address)
    with Mapping.anonymous(PAGE_SIZE) as left:
        address = left.address
    assert not is_mapped(address)
    garbage = Mapping.anonymous(PAGE_SIZE)
    address = garbage.address
    del garbage
    gc.collect()
    assert not is_mapped(address)


def test_a_buffer_keeps_its_mapping_alive() -> None:
    view = memoryview(Mapping.anonymous(PAGE_SIZE))
    gc.collect()
    view[0] = 7
    assert view[0] == 7


def test_what_would_pull_memory_from_under_a_buffer_is_refused() -> None:
    with Mapping.anonymous(2 * PAGE_SIZE) as mapping:
        with memoryview(mapping):
            for change in (
                mapping.close,
                mapping.move,
                lambda: mapping.resize(PAGE_SIZE),
                lambda: mapping.protect(Prot.READ),
                lambda: mapping.protect(Prot.NONE),
            ):
                with pytest.raises(BufferError):
                    change()
            assert not mapping.closed
            with mapping.move(keep_source=True) as moved:
                assert moved.length == mapping.length
        mapping.protect(Prot.READ)
        with memoryview(mapping) as readonly:
            assert readonly.readonly
            with pytest.raises(TypeError):
                readonly[0] = 1
            mapping.protect(Prot.READ | Prot.WRITE)
        mapping.protect(Prot.NONE)
        with pytest.raises(BufferError, match="no reading"):
            memoryview(mapping)
        with pytest.raises(ValueError, match="does not allow"):
            mapping.read(0, 1)


def test_use_after_close_is_refused() -> None:
    mapping = Mapping.anonymous(PAGE_SIZE)
    mapping.close()
    for use in (
        lambda: memoryview(mapping),
        lambda: mapping.read(0, 1),
        lambda: mapping.write(0, b"x"),
        mapping.move,
        lambda: mapping.move(keep_source=True),
        lambda: mapping.resize(PAGE_SIZE),
        lambda: mapping.protect(Prot.READ),
        lambda: mapping.advise(Advice.DONTNEED),
        mapping.lock,
        mapping.pages,
        mapping.smaps,
    ):
        with pytest.raises(ValueError, match="closed"):
            use()
    assert "closed" in repr(mapping)


def test_bad_numbers_are_refused_before_the_call() -> None:
    with Mapping.anonymous(2 * PAGE_SIZE) as mapping, Memfd(PAGE_SIZE) as file:
        for ask in (
            lambda: Mapping.anonymous(0),
            lambda: Mapping.anonymous(PAGE_SIZE + 1),
            lambda: Mapping.anonymous(-PAGE_SIZE),
            lambda: Mapping.anonymous(1 << 64),
            lambda: Mapping.anonymous(PAGE_SIZE, address=PAGE_SIZE + 1),
            lambda: Mapping.anonymous(PAGE_SIZE, hint=1),
            lambda: Mapping.anonymous(PAGE_SIZE, align=3 * PAGE_SIZE),
            lambda: Mapping.anonymous(PAGE_SIZE, align=MIB_2, hint=MIB_2),
            lambda: Mapping.anonymous(PAGE_SIZE, at=PAGE_SIZE),
            lambda: Mapping.anonymous(PAGE_SIZE, flags=MapFlag.FIXED, address=mapping.address),
            lambda: Mapping.anonymous(PAGE_SIZE, flags=MapFlag.SHARED),
            lambda: Mapping.file(file, PAGE_SIZE, offset=1),
            lambda: Mapping.file(-1, PAGE_SIZE),
            lambda: mapping.resize(1),
            lambda: mapping.advise(Advice.DONTNEED, 1),
            lambda: mapping.advise(Advice.DONTNEED, 0, 3 * PAGE_SIZE),
            lambda: mapping.pages(PAGE_SIZE, 2 * PAGE_SIZE),
            lambda: mapping.read(2 * PAGE_SIZE, 1),
            lambda: mapping.write(2 * PAGE_SIZE - 1, b"xx"),
        ):
            with pytest.raises(ValueError):
                ask()


# In a process of its own: threads of other tests' heaps have mappings, too.
ALIGNED = """
import sys
from subduct.kernel import PAGE_SIZE, MapFlag, Mapping, maps
align = int(sys.argv[1])
maps()  # It allocates, which may map memory.
before = len(maps())
with Mapping.anonymous(PAGE_SIZE, align=align, flags=MapFlag.NORESERVE) as mapping:
    assert mapping.address % align == 0
    with mapping.move(keep_source=True, align=align) as moved:
        assert moved.address % align == 0
assert len(maps()) == before, "the slack was not given back"
"""


@pytest.mark.parametrize("align", [MIB_2, GIB])
def test_alignment(align: int) -> None:
    done = run_program(ALIGNED, str(align))
    assert done.returncode == 0, done.stderr


def test_an_address_that_is_in_use_is_refused_and_stays_as_it_is() -> None:
    with Mapping.anonymous(PAGE_SIZE) as mapping, Mapping.anonymous(PAGE_SIZE) as other:
        mapping.write(0, b"mine")
        with pytest.raises(KernelError) as caught:
            Mapping.anonymous(PAGE_SIZE, address=mapping.address)
        assert caught.value.errno == errno.EEXIST
        assert "Reservation" in caught.value.remedy
        for keep_source in (False, True):
            with pytest.raises(KernelError) as caught:
                other.move(keep_source=keep_source, address=mapping.address)
            assert caught.value.errno == errno.EEXIST
        assert mapping.read(0, 4) == b"mine"


def test_a_free_address_and_a_hint_are_taken() -> None:
    with Mapping.anonymous(PAGE_SIZE) as mapping:
        free = mapping.address
    with Mapping.anonymous(PAGE_SIZE, address=free) as exact:
        assert exact.address == free
        with Mapping.anonymous(PAGE_SIZE, hint=free) as elsewhere:
            assert elsewhere.address != free
    with Mapping.anonymous(PAGE_SIZE, hint=free) as hinted:
        assert hinted.address == free


def test_a_move_without_the_source() -> None:
    with Mapping.anonymous(MIB_2) as mapping:
        mapping.write(5, b"five")
        old = mapping.address
        assert mapping.move() is mapping
        assert mapping.address != old
        assert not is_mapped(old)
        assert mapping.read(5, 4) == b"five"


@pytest.mark.parametrize("kind", ["anonymous", "shared anonymous", "memfd", "private memfd", "file"])
def test_what_the_source_shows_after_a_move(kind: str) -> None:
    with Memfd(PAGE_SIZE) as memfd, tempfile.TemporaryFile() as disk:
        disk.truncate(PAGE_SIZE)
        kinds: dict[str, Callable[[], Mapping]] = {
            "anonymous": lambda: Mapping.anonymous(PAGE_SIZE),
            "shared anonymous": lambda: Mapping.anonymous(PAGE_SIZE, shared=True),
            "memfd": memfd.map,
            "private memfd": lambda: memfd.map(shared=False),
            "file": lambda: Mapping.file(disk, PAGE_SIZE),
        }
        with kinds[kind]() as mapping:
            mapping.write(0, b"data")
            with mapping.move(keep_source=True) as moved:
                assert moved.read(0, 4) == b"data"
                assert (moved.shared, moved.prot) == (mapping.shared, mapping.prot)
                assert mapping.read(0, 4) == (b"data" if mapping.shared else bytes(4))


def test_resizing() -> None:
    with Mapping.anonymous(PAGE_SIZE) as mapping:
        mapping.write(0, b"kept")
        mapping.resize(64 * PAGE_SIZE)
        assert mapping.length == 64 * PAGE_SIZE
        assert mapping.read(0, 4) == b"kept"
        assert mapping.read(64 * PAGE_SIZE - 4, 4) == bytes(4)
        mapping.resize(PAGE_SIZE)
        assert not is_mapped(mapping.address + PAGE_SIZE) or mapping.smaps()[0].length == PAGE_SIZE
        with Mapping.anonymous(PAGE_SIZE, address=mapping.address + PAGE_SIZE), pytest.raises(KernelError) as caught:
            mapping.resize(2 * PAGE_SIZE, may_move=False)
        assert caught.value.errno == errno.ENOMEM
        assert "MAYMOVE" in caught.value.remedy
        assert mapping.read(0, 4) == b"kept"


def test_populate_punch_and_pages() -> None:
    with Mapping.anonymous(4 * PAGE_SIZE) as private, Memfd(4 * PAGE_SIZE) as file, file.map() as shared:
        for mapping in (private, shared):
            assert [page.present for page in mapping.pages()] == [False] * 4
            mapping.populate(PAGE_SIZE, 2 * PAGE_SIZE)
            assert [page.present for page in mapping.pages()] == [False, True, True, False]
            mapping.write(PAGE_SIZE, b"gone")
            mapping.punch(PAGE_SIZE, PAGE_SIZE)
            assert [page.present for page in mapping.pages()] == [False, False, True, False]
            assert mapping.read(PAGE_SIZE, 4) == bytes(4)
            assert mapping.pages()[2].file_or_shared is mapping.shared
        assert file.resident_bytes == 2 * PAGE_SIZE, "the page behind the hole, and the one that was read"
        with file.map(shared=False) as copy, pytest.raises(ValueError, match="private file"):
            copy.punch()


def test_smaps_of_a_mapping() -> None:
    with Mapping.anonymous(4 * PAGE_SIZE, align=MIB_2) as mapping:
        mapping.write(0, bytes(PAGE_SIZE * 2))
        mapping.advise(Advice.DONTFORK)
        mapping.lock()
        (entry,) = mapping.smaps()
        assert (entry.start, entry.length) == (mapping.address, mapping.length)
        assert entry.rss_bytes == entry.pss_bytes == 4 * PAGE_SIZE
        assert {"rd", "wr", "lo", "dc"} <= entry.vm_flags
        mapping.unlock()
        assert "lo" not in mapping.smaps()[0].vm_flags


def test_a_mapping_that_is_sealed_stays() -> None:
    mapping = Mapping.anonymous(PAGE_SIZE)
    if linux() < (6, 10):
        with pytest.raises(KernelError) as caught:
            calls.mseal(mapping.address, mapping.length)
        assert caught.value.errno == errno.ENOSYS
        return
    calls.mseal(mapping.address, mapping.length)
    for change in (mapping.move, lambda: mapping.protect(Prot.READ), mapping.close):
        with pytest.raises(KernelError) as caught:
            change()
        assert caught.value.errno == errno.EPERM
        assert "mseal" in caught.value.remedy
    assert is_mapped(mapping.address)


def in_a_child(run: Callable[[], int]) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = run()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_forked_child_has_it_too_unless_told_otherwise() -> None:
    with Mapping.anonymous(PAGE_SIZE) as kept, Mapping.anonymous(PAGE_SIZE) as withheld:
        kept.write(0, b"kept")
        withheld.advise(Advice.DONTFORK)

        def child() -> int:
            if kept.read(0, 4) != b"kept":
                return 2
            kept.close()
            try:
                withheld.read(0, 1)
            except ValueError:
                withheld.close()
                return 0
            return 3

        assert in_a_child(child) == 0
        assert kept.read(0, 4) == b"kept"


def test_a_reservation_hands_out_its_parts_once() -> None:
    with Reservation(4 * PAGE_SIZE) as reservation, Memfd(PAGE_SIZE) as file:
        with Mapping.anonymous(PAGE_SIZE, within=reservation, at=PAGE_SIZE) as part:
            assert part.address == reservation.address + PAGE_SIZE
            part.write(0, b"part")
            for at, length in (
                (PAGE_SIZE, PAGE_SIZE),
                (0, 2 * PAGE_SIZE),
                (0, 5 * PAGE_SIZE),
                (4 * PAGE_SIZE, PAGE_SIZE),
            ):
                with pytest.raises(ValueError, match="reservation"):
                    Mapping.anonymous(length, within=reservation, at=at)
            with file.map(within=reservation, at=2 * PAGE_SIZE) as view:
                view.write(0, b"view")
                assert part.read(0, 4) == b"part"
            with pytest.raises(BufferError, match="open mappings"):
                reservation.close()
            with Path(os.devnull).open("rb") as unreadable, pytest.raises(KernelError) as caught:
                Mapping.file(unreadable, PAGE_SIZE, within=reservation, at=0)
            assert caught.value.errno in (errno.EACCES, errno.ENODEV)
            with file.map(within=reservation, at=0):
                pass
        assert maps(address=part.address, length=PAGE_SIZE)[0].prot == Prot.NONE, "reserved again"
    assert reservation.closed
    assert not is_mapped(reservation.address)
    with pytest.raises(ValueError, match="closed"):
        Mapping.anonymous(PAGE_SIZE, within=reservation)


def test_moves_into_and_out_of_a_reservation() -> None:
    with Reservation(4 * MIB_2, align=MIB_2) as reservation, Memfd(MIB_2) as file, file.map() as view:
        view.write(0, b"page")
        with view.move(keep_source=True, within=reservation, at=MIB_2) as shadow:
            assert shadow.address == reservation.address + MIB_2
            assert shadow.read(0, 4) == view.read(0, 4) == b"page"
            with pytest.raises(ValueError, match="cannot grow"):
                shadow.resize(2 * MIB_2)
            shadow.move(within=reservation, at=2 * MIB_2)
            assert shadow.address == reservation.address + 2 * MIB_2
            shadow.resize(MIB_2 // 2)
            assert maps(address=shadow.address + MIB_2 // 2, length=1)[0].prot == Prot.NONE
            shadow.move()
            assert shadow.read(0, 4) == b"page"
            assert maps(address=reservation.address, length=1)[0].length >= 4 * MIB_2, "all of it reserved again"
    garbage = Mapping.anonymous(PAGE_SIZE, within=Reservation(PAGE_SIZE))
    address = garbage.address
    assert is_mapped(address)
    del garbage
    gc.collect()
    assert not is_mapped(address)


def test_a_pointer_into_it_is_good_for_c() -> None:
    with Mapping.anonymous(PAGE_SIZE) as mapping:
        integers = (ctypes.c_int * 4).from_buffer(mapping)
        integers[3] = 9
        assert mapping.read(12, 4) == (9).to_bytes(4, "little")
        with pytest.raises(BufferError):
            mapping.close()
        del integers
        gc.collect()


@pytest.mark.parametrize("use", ["write", "read"])
def test_no_access_is_taken_away_from_under_another_thread(use: str) -> None:
    done = run_program(
        f"""
        import os, threading
        from subduct.kernel import Mapping, Prot
        memory, data = Mapping.anonymous(16 << 20), b"x" * (16 << 20)
        refused = threading.Event()
        def work():
            while not refused.is_set():
                try:
                    memory.write(0, data) if {use!r} == "write" else memory.read(0, len(data))
                except (BufferError, ValueError):
                    pass
        thread = threading.Thread(target=work)
        thread.start()
        while not refused.is_set():
            for prot in (Prot.READ if {use!r} == "write" else Prot.NONE, Prot.READ | Prot.WRITE):
                try:
                    memory.protect(prot)
                except BufferError as error:
                    assert "another thread uses right now" in str(error), error
                    refused.set()
        thread.join()
        memory.protect(Prot.READ | Prot.WRITE)
        memory.write(0, b"y")
        print(memory.read(0, 2))
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "b'yx'\n" if use == "write" else "b'y\\x00'\n", "")


def test_what_is_said_of_the_protection_is_what_it_is() -> None:
    with Mapping.anonymous(PAGE_SIZE) as mapping:

        def protect(prot: Prot) -> None:
            with suppress(BufferError):  # another one is at it
                mapping.protect(prot)

        for _ in range(200):
            wanted = (Prot.NONE, Prot.READ | Prot.WRITE, Prot.READ)
            threads = [threading.Thread(target=protect, args=(prot,)) for prot in wanted]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert mapping.smaps()[0].prot == mapping.prot


def test_a_child_has_a_mapping_only_if_it_has_all_of_it() -> None:
    done = run_program(
        """
        import os
        from subduct.kernel import PAGE_SIZE, Advice, Mapping
        memory = Mapping.anonymous(16 * PAGE_SIZE)
        memory.advise(Advice.DONTFORK)
        memory.advise(Advice.DOFORK, 5 * PAGE_SIZE, PAGE_SIZE)
        child = os.fork()
        if child == 0:
            theirs = Mapping.anonymous(8 * PAGE_SIZE, address=memory.address + 6 * PAGE_SIZE)
            theirs.write(0, b"theirs")
            try:
                memory.read(0, 1)
            except ValueError as error:
                print(str(error)[:43])
            memory.close()
            print(theirs.read(0, 6), flush=True)
            os._exit(0)
        print(os.waitpid(child, 0)[1], flush=True)
        memory.advise(Advice.DOFORK)
        memory.write(0, b"all")
        child = os.fork()
        if child == 0:
            print(memory.read(0, 3), flush=True)
            os._exit(0)
        print(os.waitpid(child, 0)[1])
        """
    )
    said = "this process does not have the mapping: it \nb'theirs'\n0\nb'all'\n0\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")
