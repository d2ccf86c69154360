"""The process that serves another's faults."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import struct
import sys
import traceback
from typing import TYPE_CHECKING

from subduct._native import KernelError, Unsupported
from subduct.kernel._checks import PAGE_SIZE
from subduct.kernel._events import PageFault
from subduct.kernel._fault import Fault
from subduct.kernel._userfaultfd import Userfaultfd

if TYPE_CHECKING:
    from subduct.kernel._fault import Handler

DEADLOCK = (
    "a Python handler cannot serve memory of its own process: the thread that touches a missing page holds the GIL while it sleeps, so "
    "the handler would wait for the GIL for ever; serve() runs it in another process"
)
READY = b"ready"

# The address, the thread, whether the fault is minor; the text follows. The native guard reads it.
_NOTICE = struct.Struct("=QQQ")
_LONGEST_TEXT = 30_000


def run(connection: socket.socket, handler: Handler, process: int, address: int, length: int, failure: str) -> None:
    """Serves `length` bytes at `address` of a process until it ends. The userfaultfd comes over the connection."""
    # Ctrl-C reaches the whole terminal group: whether this process ends is for the served one to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _, (descriptor,), _, _ = socket.recv_fds(connection, 1, 1)
    with Userfaultfd.adopt(descriptor, process) as userfaultfd:
        connection.send(READY)
        answer(userfaultfd, handler, address, length, _Notices(connection, failure == "poison"))


class _Notices:
    """Tells the served process of pages that could not be filled."""

    def __init__(self, connection: socket.socket, print_too: bool) -> None:
        self._connection = connection
        self._print_too = print_too

    def send(self, fault: Fault, error: Exception) -> None:
        what = "".join(traceback.format_exception_only(error)).strip()
        trace = "".join(traceback.format_exception(error))
        text = f"the page at offset {fault.offset} could not be filled: {what}\n\nIn the serving process:\n{trace}"
        if self._print_too:
            # Who touches a poisoned page dies of a signal: this is all that anybody will read of it.
            print(text, file=sys.stderr, flush=True)
        said = text.encode(errors="replace")[:_LONGEST_TEXT]
        self._connection.send(_NOTICE.pack(fault.address, fault.event.thread_id, fault.event.minor) + said)


def answer(userfaultfd: Userfaultfd, handler: Handler, address: int, length: int, notices: _Notices) -> None:
    """Calls the handler for each fault in a range, until the process that the userfaultfd belongs to ends.

    Raises Unsupported where that is this process.
    """
    if userfaultfd.process == os.getpid():
        raise Unsupported(DEADLOCK)
    try:
        served = os.pidfd_open(userfaultfd.process)
    except ProcessLookupError:
        return
    ready = select.poll()
    ready.register(userfaultfd.fileno(), select.POLLIN)
    ready.register(served, select.POLLIN)
    try:
        while served not in [descriptor for descriptor, _ in ready.poll()]:
            for event in userfaultfd.read():
                if isinstance(event, PageFault):
                    _serve(Fault(event, userfaultfd, address, address + length), handler, notices)
    finally:
        os.close(served)


def _serve(fault: Fault, handler: Handler, notices: _Notices) -> None:
    try:
        data = handler(fault)
        if data is not None:
            fault.fill(data)
        elif not fault.answered:
            raise RuntimeError("the handler returned None and did not answer the fault")
    except Exception as error:
        if isinstance(error, KernelError) and error.errno in (errno.ENOENT, errno.ESRCH):
            # The memory, or its process, went meanwhile. Whoever waits looks again.
            _wake(fault)
        else:
            notices.send(fault, error)


def _wake(fault: Fault) -> None:
    try:
        fault.userfaultfd.wake(fault.address, PAGE_SIZE)
    except KernelError as error:
        if error.errno not in (errno.ENOENT, errno.ESRCH, errno.EINVAL):
            raise
