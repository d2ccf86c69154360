"""How a check says what it expected, what it got instead, or why it could not look."""

from __future__ import annotations

import errno
import resource
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_TEXT_MAX = 160
_PROC = Path("/proc")


class UnexpectedError(Exception):
    """The kernel did something else than assumed."""

    def __init__(self, what: str, expected: object, got: object, errno_name: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.expected = text(expected)
        self.got = text(got)
        self.errno_name = errno_name


class SkippedError(Exception):
    """The check cannot look here: the message says what is missing."""


class LackingError(Exception):
    """The kernel refused as releases before the assumption's `since` do."""


def text(value: object) -> str:
    """A value as diagnostics show it: error numbers by name, addresses in hexadecimal, long values cut."""
    if isinstance(value, OSError):
        shown = f"{name_of(value.errno)} ({value})"
    elif isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 1 << 16:
        shown = hex(value)
    elif isinstance(value, str):
        shown = value
    else:
        shown = repr(value)
    return shown if len(shown) <= _TEXT_MAX else shown[: _TEXT_MAX - 3] + "..."


def name_of(number: int | None) -> str:
    """The name of an error number, such as EINVAL."""
    return errno.errorcode.get(number or 0, f"errno {number}")


def equal(what: str, got: object, expected: object) -> None:
    """Fails unless the two are equal."""
    if got != expected:
        raise UnexpectedError(what, expected, got)


def holds(what: str, condition: bool, got: object) -> None:
    """Fails unless the condition, which `what` says in words, is true."""
    if not condition:
        raise UnexpectedError(what, "true", got)


def skip(reason: str) -> NoReturn:
    """Ends the check: it cannot look here."""
    raise SkippedError(reason)


def obstacle(error: BaseException) -> str | None:
    """What keeps a check from looking at all, as far as an error tells that is no answer of the kernel's to what is tried; None where
    it is one."""
    if not isinstance(error, OSError):
        return None
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return f"{error.strerror}: {raise_files()}"
    is_below = str(error.filename).startswith(f"{_PROC}/")
    if isinstance(error, FileNotFoundError) and is_below and not (_PROC / "self/maps").exists():
        return f"{_PROC} is not mounted"
    return None


def raise_files() -> str:
    """What to do where no more files can be opened."""
    return (
        f"raise the limit on open files (ulimit -n, now {resource.getrlimit(resource.RLIMIT_NOFILE)[0]}; fs.file-max)"
    )


def refusal(call: Callable[..., object], *arguments: object) -> OSError | None:
    """The error a call ends with, or None when it succeeds."""
    try:
        call(*arguments)
    except OSError as error:
        return error
    return None


def refused(expected: int | Iterable[int], call: Callable[..., object], *arguments: object) -> OSError:
    """Fails unless the call is refused with the error number expected (or one of them). Returns the error."""
    wanted = (expected,) if isinstance(expected, int) else tuple(expected)
    names = " or ".join(name_of(number) for number in wanted)
    what = f"{getattr(call, '__name__', str(call)).removeprefix('sys_')}({', '.join(text(each) for each in arguments)})"
    try:
        result = call(*arguments)
    except OSError as error:
        if error.errno not in wanted:
            raise UnexpectedError(what, names, error, name_of(error.errno)) from error
        return error
    raise UnexpectedError(what, names, f"success: {text(result)}")
