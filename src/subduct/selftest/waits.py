"""What threads use to agree without locks: membarrier and futex."""

from __future__ import annotations

import ctypes
import errno

from subduct.selftest import raw
from subduct.selftest.assumption import UsedBy, assumes
from subduct.selftest.expect import UnexpectedError, equal, refusal, refused, skip

_QUERY, _EXPEDITED, _REGISTER_EXPEDITED = 0, 1 << 3, 1 << 4
_FUTEX_WAIT, _FUTEX_WAKE, _FUTEX_PRIVATE = 0, 1, 128
_WORD = ctypes.c_uint32


def _membarrier(command: int) -> int:
    try:
        return raw.syscall("membarrier", command, 0, 0)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EPERM):
            skip(f"no membarrier here: {error}")
        raise


@assumes(
    "membarrier.private-expedited",
    "A process that registered for MEMBARRIER_CMD_PRIVATE_EXPEDITED may call it, without rights.",
    source="membarrier(2), 4.14",
    used_by=UsedBy.HEAP,
)
def private_expedited() -> None:
    commands = _membarrier(_QUERY)
    equal("the commands there are", commands & (_EXPEDITED | _REGISTER_EXPEDITED), _EXPEDITED | _REGISTER_EXPEDITED)
    equal("registering", _membarrier(_REGISTER_EXPEDITED), 0)
    equal("the barrier", _membarrier(_EXPEDITED), 0)


@assumes(
    "membarrier.must-register",
    "MEMBARRIER_CMD_PRIVATE_EXPEDITED before registering is EPERM.",
    source="membarrier(2)",
    used_by=UsedBy.HEAP,
)
def must_register() -> None:
    _membarrier(_QUERY)
    refused(errno.EPERM, raw.syscall, "membarrier", _EXPEDITED, 0, 0)


@assumes(
    "futex.changed",
    "Waiting on a word that has changed already is EAGAIN at once.",
    source="futex(2)",
    used_by=UsedBy.HEAP,
)
def futex_changed() -> None:
    word = (_WORD * 1)(1)
    error = refusal(raw.syscall, "futex", word, _FUTEX_WAIT | _FUTEX_PRIVATE, 0, None)
    if error is None or error.errno != errno.EAGAIN:
        raise UnexpectedError("waiting for a word to be no longer 0 that is 1", "EAGAIN", error)


@assumes("futex.wake-nobody", "Waking where nobody waits wakes 0 threads.", source="futex(2)", used_by=UsedBy.HEAP)
def futex_wake_nobody() -> None:
    word = (_WORD * 1)(0)
    equal("threads that woke", raw.syscall("futex", word, _FUTEX_WAKE | _FUTEX_PRIVATE, 1), 0)
