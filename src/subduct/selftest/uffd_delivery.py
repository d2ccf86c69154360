"""Userfaultfd: how a fault reaches somebody, and how those who wait go on."""

from __future__ import annotations

import ctypes
import errno
import os
import signal

from subduct.kernel import Feature, RegisterMode, calls
from subduct.selftest import child, raw
from subduct.selftest.assumption import UsedBy, assumes
from subduct.selftest.expect import equal, refused
from subduct.selftest.faults import Armed, Beside, arm, arm_for_sigbus, close, event
from subduct.selftest.memory import PAGE, STAMP_BYTES, ZEROS, stamp, stamped, stamps

_BOTH = RegisterMode.MISSING | RegisterMode.MINOR
_NONE = range(0)
_SIGBUS = "userfaultfd(2), UFFD_FEATURE_SIGBUS, 4.14"
_BUS_ADRERR = 2


@assumes(
    "uffd.sigbus.missing", "With UFFD_FEATURE_SIGBUS touching a hole is SIGBUS.", source=_SIGBUS, used_by=UsedBy.HEAP
)
def sigbus_missing() -> None:
    def touch() -> None:
        calls.load(arm(1, RegisterMode.MISSING, Feature.SIGBUS, written=_NONE).view, 1)

    touch_in_child = child.signal_of(touch)
    equal("what touching the hole does", touch_in_child, "SIGBUS")


@assumes(
    "uffd.sigbus.minor",
    "With UFFD_FEATURE_SIGBUS touching a page that is not mapped is SIGBUS, reading or writing.",
    source=_SIGBUS,
    used_by=UsedBy.HEAP,
)
def sigbus_minor() -> None:
    # Tried in the child: there the registration is, which no fork passes on.
    arm_for_sigbus(1)
    equal("what reading does", child.signal_of(lambda: calls.load(arm_for_sigbus(1).view, 1)), "SIGBUS")
    equal("what writing does", child.signal_of(lambda: calls.store(arm_for_sigbus(1).view, b"x")), "SIGBUS")


@assumes(
    "uffd.sigbus.handler",
    "The signal is BUS_ADRERR with an address in the page; a handler that continues the page lets the access go through.",
    source=_SIGBUS,
    used_by=UsedBy.HEAP,
)
def sigbus_handler() -> None:
    armed = arm_for_sigbus(3)
    seen: list[tuple[int, int]] = []

    def serve(code: int, address: int) -> None:
        seen.append((code, address // PAGE * PAGE))
        if len(seen) > armed.pages:
            os._exit(1)
        calls.uffd_continue(armed.uffd, address // PAGE * PAGE, PAGE)

    kept = raw.handle_signal(signal.SIGBUS, serve)
    equal("a page read", calls.load(armed.at(1) + 8, STAMP_BYTES - 8), stamp("file", 1)[8:])
    calls.store(armed.at(2), stamp("new", 2))
    equal("a page written", calls.load(armed.alias_at(2), STAMP_BYTES), stamp("new", 2))
    equal("the signals", seen, [(_BUS_ADRERR, armed.at(1)), (_BUS_ADRERR, armed.at(2))])
    del kept


@assumes(
    "uffd.sigbus.no-event",
    "With UFFD_FEATURE_SIGBUS nothing is there to read.",
    source=_SIGBUS,
    used_by=UsedBy.BINDINGS,
)
def sigbus_no_event() -> None:
    armed = arm_for_sigbus(1)
    refused(errno.EFAULT, calls.peek, armed.view, 1)
    equal("what was read", calls.uffd_read(armed.uffd), b"")


def _system_calls_fail(armed: Armed) -> None:
    reader, writer = os.pipe()
    outgoing = (ctypes.c_char * STAMP_BYTES).from_address(armed.view)
    incoming = (ctypes.c_char * STAMP_BYTES).from_address(armed.at(1))
    refused(errno.EFAULT, os.write, writer, memoryview(outgoing).cast("B"))
    os.write(writer, stamp("pipe", 0))
    refused(errno.EFAULT, os.readv, reader, [memoryview(incoming).cast("B")])
    equal("what was read", calls.uffd_read(armed.uffd), b"")
    calls.uffd_continue(armed.uffd, armed.view, PAGE)
    os.set_blocking(writer, False)
    equal("bytes written once the page is mapped", os.write(writer, memoryview(outgoing).cast("B")), STAMP_BYTES)


@assumes(
    "uffd.sigbus.system-call",
    "A system call that touches a page that is not ready is EFAULT: no signal, no event.",
    source="measured",
    used_by=UsedBy.HEAP,
)
def sigbus_system_call() -> None:
    _system_calls_fail(arm_for_sigbus(2))


@assumes(
    "uffd.user-mode-only.system-call",
    "With UFFD_USER_MODE_ONLY too, a system call that touches a page that is not ready is EFAULT, without an event.",
    source="userfaultfd(2), UFFD_USER_MODE_ONLY, 5.11",
    used_by=UsedBy.BINDINGS,
)
def user_mode_only_system_call() -> None:
    _system_calls_fail(arm(2, _BOTH))


@assumes(
    "uffd.unregister-wakes-missing",
    "Ending the registration wakes a thread that waits for a missing page; the hole is then zeros.",
    source="UFFDIO_UNREGISTER(2const)",
    used_by=UsedBy.HEAP,
)
def unregister_wakes_missing() -> None:
    armed = arm(1, RegisterMode.MISSING, written=_NONE)
    reader = Beside(calls.load, armed.view, STAMP_BYTES)
    event(armed.uffd)
    calls.uffd_unregister(armed.uffd, armed.view, PAGE)
    equal("what the thread read", reader.end(), ZEROS)


@assumes(
    "uffd.unregister-then-wake-minor",
    "After ending the registration, UFFDIO_WAKE wakes a thread that waits for a minor fault; whether it needs that is reported.",
    source="measured: ending the registration alone wakes only missing faults",
    used_by=UsedBy.HEAP,
)
def unregister_then_wake_minor() -> str:
    armed = arm(1, RegisterMode.MINOR)
    reader = Beside(calls.load, armed.view, STAMP_BYTES)
    event(armed.uffd)
    calls.uffd_unregister(armed.uffd, armed.view, PAGE)
    by_itself = reader.has_ended(0.05)
    calls.uffd_wake(armed.uffd, armed.view, PAGE)
    equal("what the thread read", reader.end(), stamp("file", 0))
    return "the thread went on before UFFDIO_WAKE" if by_itself else "the thread went on after UFFDIO_WAKE only"


@assumes(
    "uffd.close-wakes",
    "Closing the descriptor wakes threads that wait for missing and minor faults.",
    source="userfaultfd(2)",
    used_by=UsedBy.HEAP,
)
def close_wakes() -> None:
    armed = arm(2, _BOTH, written=range(1))
    readers = []
    for page in range(2):
        readers.append(Beside(calls.load, armed.at(page), STAMP_BYTES))
        event(armed.uffd)
    close(armed.uffd)
    equal("what the threads read", [reader.end() for reader in readers], [stamp("file", 0), ZEROS])


@assumes(
    "uffd.wake.nobody-waits",
    "UFFDIO_WAKE where nobody waits, or nothing is registered, succeeds.",
    source="UFFDIO_WAKE(2const)",
    used_by=UsedBy.HEAP,
)
def wake_nobody() -> None:
    armed = arm_for_sigbus(1)
    calls.uffd_wake(armed.uffd, armed.view, PAGE)
    calls.uffd_wake(armed.uffd, armed.alias, PAGE)


@assumes(
    "uffd.wake.too-early",
    "A thread that is woken before its page is there faults again: a second event.",
    source="measured",
    used_by=UsedBy.BINDINGS,
)
def wake_too_early() -> None:
    armed = arm(1, RegisterMode.MINOR)
    reader = Beside(calls.load, armed.view, STAMP_BYTES)
    event(armed.uffd)
    calls.uffd_wake(armed.uffd, armed.view, PAGE)
    equal("the address of the second event", event(armed.uffd).address, armed.view)
    calls.uffd_continue(armed.uffd, armed.view, PAGE)
    equal("what the thread read", reader.end(), stamp("file", 0))


@assumes(
    "uffd.fork.child-not-registered",
    "A forked child is not registered: it sees the same shared pages without a fault, and what it writes the parent sees.",
    source="userfaultfd(2), UFFD_FEATURE_EVENT_FORK",
    used_by=UsedBy.HEAP,
)
def fork_child_not_registered() -> None:
    armed = arm_for_sigbus(2)

    def use() -> None:
        equal("the child's pages", stamps(armed.view, 2), stamped("file", range(2)))
        calls.store(armed.view, stamp("child", 0))

    equal("what the child died of", child.signal_of(use), "")
    refused(errno.EFAULT, calls.peek, armed.view, 1)
    equal("the alias", stamps(armed.alias, 1), stamped("child", range(1)))


@assumes(
    "uffd.fork.child-serves-parent",
    "A child that inherits the descriptor acts on the parent's memory with it.",
    source="measured",
    used_by=UsedBy.HEAP,
)
def fork_child_serves_parent() -> None:
    armed = arm_for_sigbus(1)
    equal("what the child died of", child.signal_of(lambda: calls.uffd_continue(armed.uffd, armed.view, PAGE)), "")
    equal("the parent's page", stamps(armed.view, 1), stamped("file", range(1)))


@assumes(
    "uffd.fork.child-keeps-registration",
    "As long as a child has the descriptor open, closing the parent's does not end its registrations.",
    source="measured",
    used_by=UsedBy.HEAP,
)
def fork_child_keeps_registration() -> None:
    armed = arm_for_sigbus(1)
    reader, writer = os.pipe()
    holder = child.fork()
    if holder == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    os.close(reader)
    close(armed.uffd)
    refused(errno.EFAULT, calls.peek, armed.view, 1)
    os.close(writer)
    os.waitpid(holder, 0)
    equal("the page once the child is gone", stamps(armed.view, 1), stamped("file", range(1)))
