"""Pages filled by a Python function in another process, and what happens when it cannot."""

import ctypes
import os
import signal
import subprocess
import sys
import textwrap
import threading
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.process import Footprint
from harness.source import ROOT
from harness.unprivileged import as_nobody
from subduct import KernelError, Unsupported
from subduct.kernel import PAGE_SIZE, Fault, Feature, Mapping, Memfd, RegisterMode, ServeError, Userfaultfd, serve
from subduct.kernel._answer import _Notices, answer

BAD = 5 * PAGE_SIZE


def numbered(fault: Fault) -> bytes:
    """Each page is full of its number, but for one that cannot be had."""
    if fault.offset == BAD:
        raise LookupError("no page five")
    return bytes([fault.offset // PAGE_SIZE]) * PAGE_SIZE


def test_a_memoryview_is_filled_on_demand() -> None:
    with Mapping.anonymous(16 * PAGE_SIZE) as memory, serve(memory, numbered) as server:
        assert server.process.pid != os.getpid()
        with memoryview(memory) as view:
            assert view[3 * PAGE_SIZE] == 3
            assert view[4 * PAGE_SIZE - 1 : 4 * PAGE_SIZE + 1].tobytes() == b"\3\4"
            view[2 * PAGE_SIZE] = 77
            assert view[2 * PAGE_SIZE : 2 * PAGE_SIZE + 2].tobytes() == b"\x4d\2"
        assert [page.present for page in memory.pages()[:6]] == [False, False, True, True, True, False]
        assert memory.read(PAGE_SIZE, 1) == b"\1"
        assert not server.failures


def test_memory_that_is_served_keeps_its_place() -> None:
    with Mapping.anonymous(8 * PAGE_SIZE) as memory:
        with serve(memory, numbered):
            assert memory.read(PAGE_SIZE, 1) == b"\1"
            for elsewhere in (memory.move, lambda: memory.resize(32 * PAGE_SIZE), lambda: memory.resize(PAGE_SIZE)):
                with pytest.raises(ValueError, match="nobody would fill them elsewhere: close the server first"):
                    elsewhere()
            with memory.move(keep_source=True) as moved:
                assert moved.read(PAGE_SIZE, 1) == b"\1"
                assert memory.read(2 * PAGE_SIZE, 1) == b"\2", "the source is served as before"
        memory.move()
        memory.resize(16 * PAGE_SIZE)
        assert memory.read(2 * PAGE_SIZE, 1) == b"\2"


def test_shared_memory_and_arrays() -> None:
    def floats(fault: Fault) -> "array[float]":
        return array("d", [fault.offset / PAGE_SIZE] * (PAGE_SIZE // 8))

    with Memfd(8 * PAGE_SIZE) as file, file.map() as view, file.map() as other:
        with serve(view, floats), memoryview(view).cast("d") as numbers:
            assert numbers[7 * PAGE_SIZE // 8] == 7.0
        assert other.read(7 * PAGE_SIZE, PAGE_SIZE) == array("d", [7.0] * (PAGE_SIZE // 8)).tobytes()


def test_a_handler_may_fill_more_than_asked_for() -> None:
    def rest(fault: Fault) -> bytes:
        return b"r" * fault.length

    with Mapping.anonymous(4 * PAGE_SIZE) as memory, serve(memory, rest) as server:
        server.userfaultfd.zeropage(memory.address + 2 * PAGE_SIZE, PAGE_SIZE)
        assert memory.read(PAGE_SIZE, 1) == b"r"
        assert [page.present for page in memory.pages()] == [False, True, True, True]
        assert memory.read(2 * PAGE_SIZE, 1) + memory.read(3 * PAGE_SIZE, 1) == b"\0r"


@pytest.mark.skipif(Feature.MINOR_SHMEM not in Userfaultfd.available(), reason="no minor faults on shared memory")
def test_a_handler_may_answer_itself() -> None:
    with Memfd(3 * PAGE_SIZE) as file, file.map() as view, file.map() as back:

        def through_the_file(fault: Fault) -> None:
            if fault.offset == 2 * PAGE_SIZE:
                fault.zero()
            else:
                back.write(fault.offset, b"minor" if fault.event.minor else b"hole!")
                fault.resume()

        back.write(PAGE_SIZE, b"old")
        with serve(view, through_the_file, mode=RegisterMode.MISSING | RegisterMode.MINOR):
            assert view.read(PAGE_SIZE, 5) == b"minor"
            assert view.read(0, 5) == b"hole!"
            assert view.read(2 * PAGE_SIZE, 5) == bytes(5)


def test_a_handler_that_raises() -> None:
    with Mapping.anonymous(16 * PAGE_SIZE) as memory, serve(memory, numbered) as server:
        view = memoryview(memory)
        for _ in range(3):
            with pytest.raises(ServeError, match="LookupError: no page five") as caught:
                memory.read(BAD, 1)
            assert caught.value.address == memory.address + BAD
            assert caught.value.thread_id == threading.get_native_id()
            assert "in numbered" in str(caught.value), "the handler's traceback"
            with pytest.raises(ServeError, match="no page five"):
                bytes(view[BAD : BAD + 1])
        assert len(server.failures) == 6
        assert view[6 * PAGE_SIZE] == 6, "the server goes on"
        view.release()
        assert not memory.pages()[5].present


WRONG: dict[str, Callable[[Fault], Any]] = {
    "raises": lambda _fault: 1 // 0,
    "too short": lambda _fault: b"short",
    "empty": lambda _fault: b"",
    "too long": lambda fault: bytes(fault.length + PAGE_SIZE),
    "no bytes": lambda _fault: "text",
    "nothing": lambda _fault: None,
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_handler_that_returns_nonsense(wrong: str) -> None:
    with Mapping.anonymous(2 * PAGE_SIZE) as memory, serve(memory, WRONG[wrong]):
        with pytest.raises(ServeError, match="could not be filled"):
            memory.read(PAGE_SIZE, 1)


def test_a_server_that_is_killed() -> None:
    with Mapping.anonymous(16 * PAGE_SIZE) as memory, serve(memory, numbered) as server:
        assert memory.read(PAGE_SIZE, 1) == b"\1"
        pid = server.process.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        view = memoryview(memory)
        for page in (2, 3, 2):
            with pytest.raises(ServeError, match="killed by signal 9"):
                bytes(view[page * PAGE_SIZE : page * PAGE_SIZE + 1])
        assert view[PAGE_SIZE] == 1
        view.release()


def test_a_server_that_dies_of_its_handler() -> None:
    def leave(_fault: Fault) -> None:
        os._exit(7)

    with Mapping.anonymous(PAGE_SIZE) as memory, serve(memory, leave), pytest.raises(ServeError, match="exit code 7"):
        memory.read(0, 1)


def test_another_thread_is_told() -> None:
    caught = []
    with Mapping.anonymous(16 * PAGE_SIZE) as memory, serve(memory, numbered):

        def touch() -> None:
            reads: list[Callable[[], bytes]] = [lambda: memory.read(BAD, 1), lambda: bytes(memory)[:1]]
            for read in reads:
                try:
                    read()
                    while True:  # the exception comes when the interpreter looks for it
                        pass
                except ServeError as error:
                    caught.append(error)

        thread = threading.Thread(target=touch)
        thread.start()
        thread.join()
    assert [error.address == memory.address + BAD for error in caught] == [True, True]
    assert "no page five" in str(caught[0])


def test_a_thread_that_python_does_not_know_is_reported_at_the_end() -> None:
    start_routine = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
    libc = ctypes.CDLL(None)
    libc.strlen.restype = ctypes.c_size_t
    with Mapping.anonymous(16 * PAGE_SIZE) as memory:
        server = serve(memory, numbered)
        try:
            handle, routine = ctypes.c_ulong(), ctypes.cast(libc.strlen, start_routine)
            assert libc.pthread_create(ctypes.byref(handle), None, routine, ctypes.c_void_p(memory.address + BAD)) == 0
            assert libc.pthread_join(handle, None) == 0
        finally:
            server.close()
        assert len(server.failures) == 1
        with pytest.raises(ServeError, match="no page five"):
            server.check()
        server.check()


@pytest.mark.skipif(Feature.POISON not in Userfaultfd.available(), reason="no poison before Linux 6.6")
@pytest.mark.parametrize("end", ["raise LookupError('no such page')", "os.kill(os.getpid(), 9)"])
def test_a_poisoned_page_ends_the_process_with_the_handlers_traceback(end: str) -> None:
    program = textwrap.dedent(
        f"""
        import os, resource
        from subduct.kernel import Mapping, PAGE_SIZE, serve
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        def handler(fault):
            {end}
        with Mapping.anonymous(PAGE_SIZE) as memory, serve(memory, handler, failure="poison"):
            print("touching", flush=True)
            print(memory.read(0, 1))
        """
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGBUS, "touching\n")
    assert ("LookupError: no such page" in done.stderr) is end.startswith("raise")


def test_a_handler_in_the_same_process_is_refused() -> None:
    with Mapping.anonymous(PAGE_SIZE) as memory:
        with pytest.raises(Unsupported, match="GIL"):
            serve(memory, numbered, start_method="thread")  # type: ignore[arg-type]
        with Userfaultfd() as own, pytest.raises(Unsupported, match="another process"):
            answer(own, numbered, memory.address, memory.length, _Notices.__new__(_Notices))


def test_wrong_options() -> None:
    with Mapping.anonymous(PAGE_SIZE) as memory:
        with pytest.raises(ValueError, match="start_method"):
            serve(memory, numbered, start_method="magic")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="failure"):
            serve(memory, numbered, failure="ignore")  # type: ignore[arg-type]
        with Userfaultfd() as theirs:
            theirs.register(memory)
            with pytest.raises(KernelError, match="another userfaultfd"):
                serve(memory, numbered)
            assert not memory._is_served
    with pytest.raises(ValueError, match="closed"):
        serve(memory, numbered)


def test_a_spawned_server() -> None:
    with Mapping.anonymous(2 * PAGE_SIZE) as memory, serve(memory, numbered, start_method="spawn"):
        assert memory.read(PAGE_SIZE, 1) == b"\1"


def test_a_process_that_does_not_start() -> None:
    program = textwrap.dedent(
        """
        from subduct.kernel import Mapping, PAGE_SIZE, ServeError, serve
        class Handler:
            def __setstate__(self, state):
                raise RuntimeError("cannot be made here")
            def __getstate__(self):
                return {"some": "state"}
            def __call__(self, fault):
                return bytes(PAGE_SIZE)
        if __name__ == "__main__":
            with Mapping.anonymous(PAGE_SIZE) as memory:
                try:
                    serve(memory, Handler(), start_method="spawn")
                except ServeError as error:
                    print(error)
                memory.write(0, b"x")
        """
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "did not start (exit code 1)" in done.stdout


def test_nothing_is_left_behind() -> None:
    def once() -> None:
        with Mapping.anonymous(16 * PAGE_SIZE) as memory, serve(memory, numbered) as server:
            memory.read(0, 1)
            with pytest.raises(ServeError):
                memory.read(BAD, 1)
            pid = server.process.pid
        assert not Path(f"/proc/{pid}").exists()

    once()
    before = Footprint.now()
    for _ in range(5):
        once()
    after = Footprint.now()
    assert (after.descriptors, after.threads) == (before.descriptors, before.threads)
    assert after.mappings <= before.mappings + 4


def test_after_the_end_untouched_pages_are_zeros() -> None:
    with Mapping.anonymous(4 * PAGE_SIZE) as memory:
        with serve(memory, numbered) as server:
            memory.read(PAGE_SIZE, 1)
        server.close()
        assert memory.read(PAGE_SIZE, 1) + memory.read(2 * PAGE_SIZE, 1) == b"\1\0"
        with serve(memory, numbered):
            assert memory.read(3 * PAGE_SIZE, 1) == b"\3"


EXAMPLE = ROOT / "examples" / "on_demand.py"


def example_output(output: str) -> None:
    lines = output.splitlines()
    assert lines[1:6] == [
        "numbers[0] = 0",
        "numbers[12] = 144",
        "numbers[1,234,567] = 1,524,155,677,489",
        "numbers[1,999,999] = 3,999,996,000,001",
        f"sum(numbers[1000:3000]) = {sum(n * n for n in range(1000, 3000)):,}",
    ]
    filled, _, whole = lines[6].split()[:3]
    assert 0 < int(filled) < 20 < int(whole.replace(",", ""))


def test_the_example() -> None:
    done = subprocess.run([sys.executable, EXAMPLE], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    example_output(done.stdout)


def test_the_example_as_nobody() -> None:
    future = "from __future__ import annotations\n"
    imports = f"{future}import multiprocessing.popen_fork, multiprocessing.connection, tempfile, subduct.kernel\n"
    source = EXAMPLE.read_text().replace(future, "")
    done = as_nobody(imports, source)
    assert done.returncode == 0, done.stderr
    example_output(done.stdout)


def test_mappings_moves_and_userfaultfd_as_nobody() -> None:
    done = as_nobody(
        "from subduct.kernel import Memfd, PAGE_SIZE, RegisterMode, Reservation, Userfaultfd",
        """
        with Memfd(PAGE_SIZE) as file, file.map() as view, Reservation(PAGE_SIZE) as reservation, Userfaultfd() as uffd:
            view.write(0, b"page")
            with view.move(keep_source=True, within=reservation) as shadow:
                uffd.register(view, mode=RegisterMode.MISSING | RegisterMode.MINOR)
                print(uffd.continue_(view.address, PAGE_SIZE), shadow.read(0, 4), view.read(0, 4), view.pages()[0].frame)
            print(os.getuid())
        """,
    )
    assert done.returncode == 0, done.stderr
    shown, user = done.stdout.splitlines()
    assert shown == f"{PAGE_SIZE} b'page' b'page' 0"
    assert int(user) != 0 or os.geteuid() != 0


@pytest.mark.parametrize("kind", ["bytes", "zeros"])
def test_whatever_answers_a_minor_fault_maps_the_page_that_is_there(kind: str) -> None:
    def handler(fault: Fault) -> bytes | None:
        if kind == "bytes":
            return b"new" * PAGE_SIZE
        fault.zero()
        return None

    with Memfd(4 * PAGE_SIZE) as file, file.map() as written, file.map() as served:
        written.write(0, b"there")
        with serve(served, handler, mode=RegisterMode.MINOR | RegisterMode.MISSING) as server:
            assert served.read(0, 5) == b"there"
            assert not server.failures


def test_memory_is_served_by_one_server() -> None:
    with Mapping.anonymous(4 * PAGE_SIZE) as memory, serve(memory, numbered):
        for _ in range(2):
            with pytest.raises(ValueError, match="already: close that server first"):
                serve(memory, numbered)
        with pytest.raises(ValueError, match="nobody would fill them elsewhere"):
            memory.move()
        assert memory.read(3 * PAGE_SIZE, 1) == b"\3"


def test_a_block_that_ends_with_a_failure_has_closed_the_server() -> None:
    with Mapping.anonymous(8 * PAGE_SIZE) as memory:
        view = memoryview(memory)
        with pytest.raises(ServeError, match="no page five"), serve(memory, numbered) as server:
            view[BAD]
        assert not memory._is_served
        with pytest.raises(ValueError, match="closed"):
            server.process.is_alive()
        view.release()
