"""Processes of their own for what may crash, hang or leak."""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import json
import os
import resource
import select
import signal
import time
import traceback
from typing import TYPE_CHECKING, Any, NoReturn

from subduct.selftest import raw
from subduct.selftest.expect import SkippedError, obstacle, raise_files, skip

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable

_READ_BYTES = 1 << 16
_FAILED, _SKIPPED = 70, 71
# The descriptor that a child writes its report to.
_REPORT = 0
# What a person or a supervisor sends to end a command.
_ENDING = (signal.SIGINT, signal.SIGTERM)
_RAISE_PROCESSES = "raise the limit on processes and threads (ulimit -u, pids.max of the control group)"


class NoProcessError(OSError):
    """No process could be started."""

    @property
    def remedy(self) -> str:
        """What to do about it."""
        if self.errno == errno.EAGAIN:
            return _RAISE_PROCESSES
        if self.errno in (errno.EMFILE, errno.ENFILE):
            return raise_files()
        if self.errno == errno.ENOMEM:
            return "free some memory, or raise the memory limit of the control group"
        return "`ulimit -a` shows the limits of this process; a filter on system calls may forbid clone and pipe2"


def run(body: Callable[[], dict[str, Any]], timeout_s: float) -> dict[str, Any] | str:
    """Runs `body` in a forked child. Returns what it returned, or a sentence on how the child ended instead.

    The child and all that it forked are gone afterwards. The calling process must have no other thread: a fork copies the locks
    those may hold.

    Raises:
        NoProcessError: the child could not be started.
    """
    try:
        reader, writer = os.pipe()
    except OSError as error:
        raise NoProcessError(error.errno, error.strerror) from error
    parent = os.getpid()
    # What a handler raises while a fork runs the functions that were registered for it is ignored, and what it raises right
    # after would leave the child behind.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        child = os.fork()
    except OSError as error:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(reader)
        os.close(writer)
        raise NoProcessError(error.errno, error.strerror) from error
    if child == 0:
        os.close(reader)
        _be_child(body, writer, parent, mask)
    os.close(writer)
    line: bytes | None = None
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        # On both sides, so that the group exists whoever comes first.
        with contextlib.suppress(OSError):
            os.setpgid(child, child)
        line = _first_line(reader, time.monotonic() + timeout_s)
    finally:
        os.close(reader)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    if line is None:
        return f"did not end within {timeout_s:g} s"
    if line:
        found: dict[str, Any] = json.loads(line)
        return found
    return describe(os.waitstatus_to_exitcode(status))


def fork() -> int:
    """As os.fork(), for a check; skips where this process may start no other one, which is no answer of the kernel's to what is tried."""
    try:
        return os.fork()
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.ENOMEM):
            raise
        skip(f"no other process can be started: {NoProcessError(error.errno, error.strerror).remedy}")


def start(thread: threading.Thread) -> None:
    """Starts a thread of a check; skips where this process may have no other one."""
    try:
        thread.start()
    except RuntimeError as error:
        skip(f"{error}: {_RAISE_PROCESSES}, or on address space (ulimit -v)")


def signal_of(action: Callable[[], object]) -> str:
    """The name of the signal that `action` dies of in a forked child; empty when it survives. Skips where it does.

    Raises:
        RuntimeError: it ended with an exception.
    """
    reader, writer = os.pipe()
    child = fork()
    if child == 0:
        _quieten()
        code = 0
        try:
            action()
        except BaseException as error:
            reason = str(error) if isinstance(error, SkippedError) else obstacle(error)
            os.write(writer, (reason or traceback.format_exc()).encode())
            code = _SKIPPED if reason else _FAILED
        os._exit(code)
    os.close(writer)
    message = b"".join(iter(lambda: os.read(reader, _READ_BYTES), b"")).decode()
    os.close(reader)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == _SKIPPED:
        skip(message)
    if message:
        raise RuntimeError(message)
    return signal.Signals(-code).name if code < 0 else ""


def give_up_rights() -> None:
    """Gives up all capabilities of this process: then it may what any user may. The user stays: to change it takes a right of its own."""
    try:
        raw.drop_capabilities()
    except OSError as error:
        skip(f"this process cannot give up its rights: {error}")


def describe(code: int) -> str:
    """How a process ended whose exit code, negative for a signal, is `code`."""
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code} and no result"


def _quieten() -> None:
    """No core dump and no handler of ours: to die of a signal is a result."""
    raw.die_with_parent(signal.SIGKILL)
    raw.leave_no_core()
    faulthandler.disable()


def _be_child(body: Callable[[], dict[str, Any]], writer: int, parent: int, mask: Iterable[int]) -> NoReturn:
    code = _FAILED
    try:
        with contextlib.suppress(OSError):
            os.setpgid(0, 0)
        raw.die_with_parent(signal.SIGKILL)
        faulthandler.disable()
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        for number in _ENDING:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        _take_standard_streams(writer)
        if os.getppid() == parent:
            result = json.dumps(body()).encode() + b"\n"
            # Nobody reads it any more where whoever asked is being interrupted.
            with contextlib.suppress(BrokenPipeError):
                _write_all(_REPORT, result)
            code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _take_standard_streams(writer: int) -> None:
    """Has the report go where standard input was, and what a check prints nowhere, so that it cannot mix with the report. A check
    then has as few descriptors as a program of its own would have, of which a limit may allow no more."""
    os.dup2(writer, _REPORT)
    if writer > 1:
        os.close(writer)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    if null > 1:
        os.close(null)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _first_line(reader: int, deadline: float) -> bytes | None:
    """What comes before the first line end; empty when the pipe closes without one, None at the deadline."""
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    data = b""
    while (left_s := deadline - time.monotonic()) > 0:
        if not poll.poll(left_s * 1000):
            continue
        chunk = os.read(reader, _READ_BYTES)
        if not chunk:
            return b""
        data += chunk
        if b"\n" in data:
            return data.split(b"\n")[0]
    return None
