"""What the limits of this process keep the doctor from trying: that says nothing of heaps in other processes."""

from __future__ import annotations

import errno
import re
import resource
from dataclasses import dataclass
from typing import Any

_OPEN_FILES = (errno.EMFILE, errno.ENFILE)
_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_NO_THREAD = "cannot start:"
_STARTING = ("fork", "clone", "clone3")


@dataclass(frozen=True, slots=True)
class Untried:
    """Why something could not be tried, and what to do about it."""

    problem: str
    remedy: str


def for_want_of_files() -> Untried:
    """No more files can be opened."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return Untried(
        f"could not be tried under this limit on open files ({limit})",
        "raise the limit (ulimit -n; fs.file-max for the whole machine), or start with fewer open files.",
    )


def for_want_of_processes() -> Untried:
    """No more processes or threads can be started."""
    limit = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    number = "" if limit == resource.RLIM_INFINITY else f" ({limit})"
    return Untried(
        f"could not be tried under this limit on processes and threads{number}: the trial takes a process of its own",
        "raise the limit (ulimit -u; pids.max of the control group).",
    )


def untried(number: int | None, *, starts: bool = False) -> Untried | None:
    """Why a call that failed with an errno shows nothing, if that is so; `starts` for a call that starts a process or a thread."""
    if number in _OPEN_FILES:
        return for_want_of_files()
    if starts and number == errno.EAGAIN:
        return for_want_of_processes()
    return None


def untried_attempt(attempt: dict[str, Any]) -> Untried | None:
    """Why an attempt of the native probe shows nothing, if that is so."""
    return untried(attempt.get("errno"), starts=attempt.get("call") in _STARTING)


def untried_heap(said: str) -> Untried | None:
    """Why a heap could not be tried, where its error names such an errno."""
    found = _OS_ERROR.search(said)
    if found is None:
        return None
    # The C library gives the same errno where there are no addresses for the thread's stack, which heaps elsewhere lack as well.
    has_addresses = resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY
    return untried(int(found[1]), starts=_NO_THREAD in said and has_addresses)
