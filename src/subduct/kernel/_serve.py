"""Memory whose pages are filled by a Python function in another process."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import select
import signal
import socket
import threading
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Literal, TypeAlias
from weakref import WeakSet

from subduct import _native
from subduct._native import KernelError, Unsupported
from subduct.kernel import calls
from subduct.kernel._answer import DEADLOCK, READY, run
from subduct.kernel._checks import PAGE_SIZE, known
from subduct.kernel._enums import Advice, Feature, MapFlag, Prot, RegisterMode
from subduct.kernel._mapping import Mapping
from subduct.kernel._userfaultfd import Userfaultfd

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.context import ForkContext, ForkServerContext, SpawnContext
    from multiprocessing.process import BaseProcess
    from types import FrameType

    from subduct.kernel._fault import Handler

StartMethod: TypeAlias = Literal["fork", "spawn", "forkserver"]
Failure: TypeAlias = Literal["raise", "poison"]

# Has a handler that does nothing; sent to the main thread it has CPython look for its pending calls at once.
_NUDGE = signal.SIGRTMAX

# Spawned interpreters import what the handler needs.
_STARTS_WITHIN_MS = 120_000

_KEEP_OUT = MapFlag.PRIVATE | MapFlag.ANONYMOUS | MapFlag.NORESERVE | MapFlag.FIXED_NOREPLACE

# The servers of this process that are at work.
_active: WeakSet[Server] = WeakSet()


class ServeError(RuntimeError):
    """A page could not be filled: its handler raised (the text has the traceback), or the process that ran it ended."""

    def __init__(self, text: str = "a page could not be filled", address: int = 0, thread_id: int = 0) -> None:
        super().__init__(text)
        self.address = address
        """First address of the page; 0 where the server did not start."""
        self.thread_id = thread_id
        """The kernel's number of the thread that touched it."""


class Server(_native.Closing):
    """A process that fills the pages of a mapping on demand. Made by `serve`, ended by `close()` or its `with` block.

    A process that is forked meanwhile (by os.fork, by multiprocessing, also the one that runs the handler) does not have the memory,
    since nobody would serve it there (MADV_DONTFORK): the mapping's methods raise ValueError in it, and an access through a
    memoryview or an array that it inherited raises SIGSEGV, which ends it. Read what it needs before the fork. It has this object,
    but no say in it: `close()` does nothing there.
    """

    def __init__(self, mapping: Mapping, process: BaseProcess, userfaultfd: Userfaultfd) -> None:
        self.mapping = mapping
        """The memory that is served."""
        self.process = process
        """The process that runs the handler; closed, as by its close(), with the server."""
        self.userfaultfd = userfaultfd
        """Where its faults are reported. The server reads them; whoever else does must answer them."""
        self.failures: list[ServeError] = []
        """Every page that could not be filled so far, in order."""
        self._untold: list[ServeError] = []
        self._guard: _native.Guard | None = None
        self._withheld = False
        self._serves = False
        self._is_left = False

    def withhold(self) -> None:
        """Keeps the memory from children until `close()`: they would read zeros that nobody served. `serve` calls it."""
        if self.mapping._inherited:
            self.mapping.advise(Advice.DONTFORK)
            self._withheld = True

    def watch(self, notices: socket.socket, *, poison: bool) -> None:
        """Makes sure that no thread sleeps for ever in a page that the server cannot fill. `serve` calls it."""
        pid = self.process.pid
        assert pid is not None, "a process that was started has a number"
        process = os.pidfd_open(pid)
        try:
            self._guard = _native.Guard(
                self.userfaultfd.fileno(),
                process,
                notices.fileno(),
                self.mapping.address,
                self.mapping.length,
                poison,
                _NUDGE,
                self._failed,
            )
        finally:
            os.close(process)

    def _failed(self, address: int, thread_id: int, minor: bool, text: str) -> None:
        error = ServeError(text, address, thread_id)
        self.failures.append(error)
        if thread_id == threading.get_native_id():
            self._forget(address, minor)
            # Another one: an exception that was raised holds on to its frames, and so to this object.
            raise ServeError(text, address, thread_id)
        ident = next((each.ident for each in threading.enumerate() if each.native_id == thread_id), None)
        if ident is None or not _raise_in(ident, error, lambda: self._forget(address, minor)):
            self._untold.append(error)

    def _forget(self, address: int, minor: bool) -> None:
        """Makes a page fault again whose access is over, so that nobody takes its zeros for data later."""
        offset = address - self.mapping.address
        with suppress(BufferError, ValueError, KernelError):
            if minor:
                self.mapping.advise(Advice.DONTNEED, offset, PAGE_SIZE)
            else:
                self.mapping.punch(offset, PAGE_SIZE)

    def check(self) -> None:
        """Raises the first failure that no thread was told of: one in a thread that Python does not know."""
        if self._untold:
            raise self._untold.pop(0)

    def close(self) -> None:
        """Ends the process and the registration. Pages that were never touched read as zeros (or as the file) from now on."""
        # Each step can be done again: a failure that is told to this thread in between ends the call.
        if self._is_left:
            return
        _active.discard(self)
        if self._serves:
            # First: a thread that touches a page after nobody can fill it would keep the GIL for ever.
            with suppress(KernelError, ValueError):
                self.userfaultfd.unregister(self.mapping)
            self._serves = self.mapping._is_served = False
        if self._guard is not None:
            self._guard.stop()
            self._guard = None
        _end(self.process)
        self.process.close()
        self.userfaultfd.close()
        self.share_again()

    def share_again(self) -> None:
        """Takes `withhold()` back."""
        if self._withheld:
            with suppress(BufferError, KernelError, ValueError):
                self.mapping.advise(Advice.DOFORK)
            self._withheld = False

    def leave(self) -> None:
        """Lets go of everything in a child that was forked, without touching what is the parent's. Runs after each fork."""
        self._is_left = True
        self._guard = None
        self.mapping._is_served = False
        self._untold.clear()
        self.userfaultfd.close()
        # Or multiprocessing would end the server when this child ends.
        getattr(multiprocessing.process, "_children", set()).discard(self.process)
        if not self.mapping.closed:
            # So that an inherited memoryview never shows what would be mapped there next. Taken already: nothing to be done.
            with suppress(KernelError):
                calls.mmap(self.mapping.address, self.mapping.length, Prot.NONE, _KEEP_OUT)


def serve(
    mapping: Mapping,
    handler: Handler,
    *,
    mode: RegisterMode = RegisterMode.MISSING,
    failure: Failure = "raise",
    start_method: StartMethod = "fork",
) -> Server:
    """Has `handler` fill the pages of a mapping, each when it is touched first, in another process.

    `handler(fault)` gets a `Fault` and returns the bytes of the page (`bytes`, an array, anything with a buffer; whole pages from the
    fault on), or answers with a method of the fault and returns None. With `mode` MISSING it is called for pages that do not exist;
    with MINOR as well, on shared memory, for pages that the file has (`fault.event.minor`; answer with `fault.resume()`).

    The memory is an ordinary buffer meanwhile: memoryview and arrays over it fault, wait, and go on. A system call that is given a
    page that was not touched yet fails with EFAULT. The mapping keeps its place and its length: `resize`, and `move` without
    `keep_source`, raise ValueError.

    Only accesses through this mapping in this process are served. A process that is forked meanwhile does not have the memory (see
    `Server`); through another mapping of the same file a page that nobody filled reads as zeros.

    No thread waits for ever. Where the handler raises, or its process ends, whoever touches the page is told, by `failure`:

    - `"raise"`: `ServeError`, with the handler's traceback. The access itself cannot fail, so it reads zeros (a minor fault: what the
      file has), and the error comes right after it: in the main thread before a second call or turn of a loop (with
      `Mapping.read` and `Mapping.write`, from these), in another thread a few milliseconds later. Then the page is missing again, so
      that the next access has it filled, or fails, anew. Another thread that touches the page before that reads the zeros, too, and is
      not told: where threads share pages that may fail, take "poison". In a thread that Python does not know, `Server.check()`
      raises it, as does the end of the `with` block.
    - `"poison"`: the access raises SIGBUS, which ends this process; the handler's traceback is printed. No wrong byte is ever read.
      Needs Linux 6.6.

    `start_method` is multiprocessing's. "fork" takes any handler and shares what it refers to as of now; "spawn" and "forkserver" are
    for programs with threads, and need a handler that can be imported. There is none for this process: Unsupported says why.

    Needs no privilege (Linux 5.11). Raises `KernelError` where userfaultfd is forbidden, ServeError where the process does not start.
    A fault costs about 20 us and the handler's time.
    """
    _check(mapping, handler, failure, start_method)
    mode = known(RegisterMode, "mode", mode)
    features = Feature.THREAD_ID | (Feature.POISON if failure == "poison" else Feature(0))
    _handle_nudges()
    with ExitStack() as undo:
        userfaultfd = undo.enter_context(Userfaultfd(features))
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with here, there:
            process = _context(start_method).Process(
                target=run,
                args=(there, handler, os.getpid(), mapping.address, mapping.length, failure),
                name="subduct-server",
                daemon=True,
            )
            server = Server(mapping, process, userfaultfd)
            server.withhold()
            undo.callback(server.share_again)
            process.start()
            undo.callback(_end, process)
            there.close()
            socket.send_fds(here, [b"u"], [userfaultfd.fileno()])
            _wait_until_ready(here, process)
            _active.add(server)
            server.watch(here, poison=failure == "poison")
            undo.callback(server.close)
        # Last: another thread that touches a page before somebody can fill it would keep the GIL for ever.
        userfaultfd.register(mapping, mode=mode)
        server._serves = mapping._is_served = True
        undo.pop_all()
    return server


def _check(mapping: object, handler: object, failure: str, start_method: str) -> None:
    if start_method not in multiprocessing.get_all_start_methods():
        if start_method in ("thread", "threading"):
            raise Unsupported(DEADLOCK)
        raise ValueError(f"start_method is 'fork', 'spawn' or 'forkserver', not {start_method!r}")
    if failure not in ("raise", "poison"):
        raise ValueError(f"failure is 'raise' or 'poison', not {failure!r}")
    if not isinstance(mapping, Mapping):
        raise TypeError(f"serve() fills the pages of a Mapping, not of {type(mapping).__name__}")
    if not callable(handler):
        raise TypeError(f"the handler is a function of a Fault, not {type(handler).__name__}")
    mapping._whole()
    if mapping._is_served:
        raise ValueError("serve() fills the pages of this mapping already: close that server first")


def _leave_all() -> None:
    for server in list(_active):
        server.leave()
    _active.clear()


os.register_at_fork(after_in_child=_leave_all)


def _handle_nudges() -> None:
    if threading.current_thread() is threading.main_thread() and signal.getsignal(_NUDGE) is signal.SIG_DFL:
        signal.signal(_NUDGE, _do_nothing)


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    pass


def _end(process: BaseProcess) -> None:
    with suppress(ValueError):  # it was closed, and so has ended
        process.kill()
        process.join()


def _context(method: StartMethod) -> ForkContext | SpawnContext | ForkServerContext:
    match method:
        case "fork":
            return multiprocessing.get_context("fork")
        case "spawn":
            return multiprocessing.get_context("spawn")
        case "forkserver":
            return multiprocessing.get_context("forkserver")


def _wait_until_ready(connection: socket.socket, process: BaseProcess) -> None:
    ready = select.poll()
    ready.register(connection.fileno(), select.POLLIN)
    ready.register(process.sentinel, select.POLLIN)
    if connection.fileno() in [descriptor for descriptor, _ in ready.poll(_STARTS_WITHIN_MS)]:
        with suppress(ConnectionResetError):
            if connection.recv(len(READY)) == READY:
                return
        process.join()
    raise ServeError(f"the process that should serve the pages did not start (exit code {process.exitcode})")


def _raise_in(ident: int, error: ServeError, raised: Callable[[], None]) -> bool:
    """Has a thread raise an error like this one soon, and call `raised` then; False where it has ended."""

    class RaisedError(ServeError):
        # The interpreter takes a class, and makes the exception without arguments.
        def __init__(self) -> None:
            super().__init__(str(error), error.address, error.thread_id)
            raised()

    RaisedError.__name__ = RaisedError.__qualname__ = ServeError.__name__
    RaisedError.__module__ = ServeError.__module__
    told = ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(RaisedError))
    return bool(told == 1)
