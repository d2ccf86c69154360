"""What a forked child finds of memory that its parent has filled on demand: an error, never a byte that nobody served."""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from harness.process import run_program
from subduct import KernelError
from subduct.kernel import PAGE_SIZE, Advice, Fault, Mapping, Memfd, ServeError, Userfaultfd, serve
from subduct.selftest import raw

WITHHELD = "this process does not have the mapping"


def lettered(fault: Fault) -> bytes:
    """Each page is full of one letter."""
    return bytes([65 + fault.offset // PAGE_SIZE]) * PAGE_SIZE


def in_a_child(body: Callable[[], str]) -> str:
    """What `body` returns in a forked child, its exception as text, or the signal that it died of."""
    here, there = os.pipe()
    child = os.fork()
    if child == 0:
        raw.leave_no_core()
        # pytest's own would print a traceback for a death that is the result.
        for number in (signal.SIGSEGV, signal.SIGBUS):
            signal.signal(number, signal.SIG_DFL)
        try:
            said = body()
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(there, said.encode())
        os._exit(0)
    os.close(there)
    with os.fdopen(here, "rb") as pipe:
        said = pipe.read().decode()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return said if code == 0 else signal.Signals(-code).name


def byte(memory: Mapping, page: int) -> str:
    return memory.read(page * PAGE_SIZE, 1).decode()


@pytest.mark.parametrize("shared", [False, True])
def test_neither_child_nor_parent_reads_zeros(shared: bool) -> None:
    with Mapping.anonymous(8 * PAGE_SIZE, shared=shared) as memory, serve(memory, lettered):
        assert byte(memory, 0) == "A"
        for page in (0, 2):
            assert in_a_child(lambda page=page: byte(memory, page)).startswith(f"ValueError: {WITHHELD}")  # type: ignore[misc]
        assert byte(memory, 2) == "C"


def test_every_use_in_the_child_is_refused() -> None:
    with Mapping.anonymous(2 * PAGE_SIZE) as memory, serve(memory, lettered):
        uses: list[Callable[[], object]] = [
            lambda: memory.write(0, b"x"),
            lambda: memoryview(memory),
            lambda: memory.advise(Advice.DOFORK),
            lambda: memory.pages(),
            lambda: memory.lock(),
            lambda: memory.move(),
            lambda: serve(memory, lettered),
            lambda: Userfaultfd().register(memory),
        ]
        for use in uses:
            assert in_a_child(lambda use=use: str(use())).startswith(f"ValueError: {WITHHELD}")  # type: ignore[misc]
        assert byte(memory, 1) == "B"


@pytest.mark.parametrize("page", [0, 1])
def test_an_inherited_memoryview_ends_the_child(page: int) -> None:
    with Mapping.anonymous(2 * PAGE_SIZE, shared=True) as memory, serve(memory, lettered), memoryview(memory) as view:
        assert view[0] == ord("A")

        def touch() -> str:
            # What is mapped next must not land where the memory was.
            others = [Mapping.anonymous(2 * PAGE_SIZE) for _ in range(64)]
            return f"{len(others)} {view[page * PAGE_SIZE]}"

        assert in_a_child(touch) == "SIGSEGV"
        assert view[PAGE_SIZE] == ord("B")


def test_several_servers_and_those_that_have_ended() -> None:
    with Mapping.anonymous(2 * PAGE_SIZE) as one, Mapping.anonymous(2 * PAGE_SIZE, shared=True) as two:
        with serve(one, lettered):
            with serve(two, lettered):
                with pytest.raises(ValueError, match="close that server first"):
                    serve(one, lettered)
                assert WITHHELD in in_a_child(lambda: byte(one, 0))
                assert WITHHELD in in_a_child(lambda: byte(two, 0))
                assert byte(two, 0) + byte(one, 0) == "AA"
            assert WITHHELD in in_a_child(lambda: byte(one, 1))
            assert in_a_child(lambda: byte(two, 0)) == "A"
        assert in_a_child(lambda: byte(one, 0) + byte(two, 0)) == "AA"


def test_memory_that_was_withheld_before_stays_so() -> None:
    with Mapping.anonymous(PAGE_SIZE) as memory:
        memory.advise(Advice.DONTFORK)
        with serve(memory, lettered):
            assert byte(memory, 0) == "A"
        assert WITHHELD in in_a_child(lambda: byte(memory, 0))


def test_a_server_that_does_not_start_withholds_nothing() -> None:
    with Mapping.anonymous(PAGE_SIZE) as memory, Userfaultfd() as other:
        other.register(memory)
        with pytest.raises(KernelError):
            serve(memory, lettered)
        other.unregister(memory)
        assert in_a_child(lambda: byte(memory, 0)) == "\0"


def test_a_child_may_serve_what_it_inherited() -> None:
    def serve_it() -> str:
        with serve(memory, lettered):
            mine = byte(memory, 1)
            return mine + in_a_child(lambda: byte(memory, 1))

    with Mapping.anonymous(2 * PAGE_SIZE) as memory:
        assert in_a_child(serve_it).startswith(f"BValueError: {WITHHELD}")
        assert byte(memory, 1) == "\0"


def test_a_mapping_that_was_moved_out_is_withheld_too() -> None:
    with Memfd(PAGE_SIZE) as file, file.map() as memory:
        memory.advise(Advice.DONTFORK)
        with memory.move(keep_source=True) as moved:
            moved.write(0, b"X")
            assert WITHHELD in in_a_child(lambda: byte(moved, 0))
            moved.advise(Advice.DOFORK)
            assert in_a_child(lambda: byte(moved, 0)) == "X"


def test_the_handler_cannot_read_what_it_is_to_fill() -> None:
    with Mapping.anonymous(2 * PAGE_SIZE, shared=True) as memory:
        with serve(memory, lambda fault: memory.read(fault.offset, PAGE_SIZE)):
            with pytest.raises(ServeError, match=WITHHELD):
                memory.read(0, 1)


def test_processes_of_the_standard_library() -> None:
    context = multiprocessing.get_context("fork")
    with Mapping.anonymous(2 * PAGE_SIZE) as memory, serve(memory, lettered):
        here, there = context.Pipe(duplex=False)

        def work() -> None:
            try:
                there.send(byte(memory, 1))
            except ValueError as error:
                there.send(str(error))

        worker = context.Process(target=work)
        worker.start()
        assert here.recv().startswith(WITHHELD)
        worker.join()
        assert worker.exitcode == 0
        done = subprocess.run([sys.executable, "-c", "print('ran')"], capture_output=True, text=True, check=True)
        assert done.stdout == "ran\n"
        assert byte(memory, 1) == "B"


ENDS = {
    "ends as a program does": "sys.exit(0)",
    "closes the server": "server.close(); os._exit(0)",
    "drops it": "del server; gc.collect(); os._exit(0)",
    "leaves its block": "raise SystemExit(0)",
}


@pytest.mark.parametrize("end", ENDS)
def test_the_end_of_a_child_is_not_the_end_of_the_server(end: str) -> None:
    done = run_program(
        f"""
        import gc, os, sys
        from subduct.kernel import Mapping, PAGE_SIZE, ServeError, serve
        def page(fault):
            if fault.offset == 3 * PAGE_SIZE:
                raise LookupError("no page three")
            return bytes([65 + fault.offset // PAGE_SIZE]) * PAGE_SIZE
        with Mapping.anonymous(4 * PAGE_SIZE) as memory, serve(memory, page) as server:
            pid = os.fork()
            if pid == 0:
                {ENDS[end]}
            assert os.waitpid(pid, 0)[1] == 0
            print(memory.read(2 * PAGE_SIZE, 1), server.process.is_alive())
            try:
                memory.read(3 * PAGE_SIZE, 1)
            except ServeError as error:
                print("no page three" in str(error))
            print(memory.read(PAGE_SIZE, 1))
        """
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "b'C' True\nTrue\nb'B'\n"


def test_children_that_are_forked_while_failures_are_told_come_to_their_end() -> None:
    done = run_program(
        """
        import os, threading
        from subduct.kernel import Mapping, PAGE_SIZE, ServeError, serve
        def page(fault):
            raise LookupError("no page")
        def touch(offset):
            while not over.is_set():
                try:
                    while not over.is_set():
                        memory.read(offset, 1)
                except ServeError:
                    pass
        over = threading.Event()
        with Mapping.anonymous(4 * PAGE_SIZE) as memory, serve(memory, page) as server:
            threads = [threading.Thread(target=touch, args=(i * PAGE_SIZE,), daemon=True) for i in range(3)]
            for thread in threads:
                thread.start()
            for _ in range(1_000):
                child = os.fork()
                if child == 0:
                    os._exit(0)
                assert os.waitpid(child, 0)[1] == 0
            print("all", flush=True)
            os._exit(0)
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "all\n", "")
