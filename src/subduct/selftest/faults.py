"""Userfaultfds to try things on: descriptors, armed memory, threads that fault."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import struct
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from subduct.kernel import EventKind, Feature, RegisterMode, UffdFlag, calls
from subduct.selftest import child
from subduct.selftest.expect import UnexpectedError, equal, skip
from subduct.selftest.memory import PAGE, memfd, stamp, view

if TYPE_CHECKING:
    from collections.abc import Callable

MESSAGE_BYTES = 32

_PATIENCE_S = 30.0
_FLAGS = UffdFlag.CLOEXEC | UffdFlag.NONBLOCK
_MISSING_AND_MINOR = RegisterMode.MISSING | RegisterMode.MINOR
# From which release on a feature is there, for those who read why a test was skipped.
_SINCE = {
    Feature.MISSING_SHMEM: "4.11",
    Feature.EVENT_REMAP: "4.11",
    Feature.EVENT_REMOVE: "4.11",
    Feature.EVENT_UNMAP: "4.11",
    Feature.EVENT_FORK: "4.11",
    Feature.SIGBUS: "4.14",
    Feature.THREAD_ID: "4.14",
    Feature.PAGEFAULT_FLAG_WP: "5.7",
    Feature.MINOR_SHMEM: "5.14",
    Feature.EXACT_ADDRESS: "5.18",
    Feature.WP_HUGETLBFS_SHMEM: "5.19",
    Feature.WP_UNPOPULATED: "6.4",
    Feature.POISON: "6.6",
    Feature.WP_ASYNC: "6.7",
    Feature.MOVE: "6.8",
}


def bare_descriptor(*, user_mode_only: bool = False) -> int:
    """A new userfaultfd before UFFDIO_API; skips where there is none. Serves faults of user mode only, unless the kernel is older than
    that restriction."""
    try:
        return calls.userfaultfd(_FLAGS | UffdFlag.USER_MODE_ONLY)
    except OSError as error:
        if error.errno != errno.EINVAL or user_mode_only:
            skip(f"no userfaultfd here: {error}")
    # Before Linux 5.11 there was no restriction to ask for.
    try:
        return calls.userfaultfd(_FLAGS)
    except OSError as error:
        skip(f"no userfaultfd here: {error}")


def available() -> tuple[int, int]:
    """Features and ioctls that this kernel offers, asked with a throw-away descriptor."""
    uffd = bare_descriptor()
    try:
        return calls.uffd_api(uffd, 0)
    finally:
        os.close(uffd)


def need(features: int) -> None:
    """Skips where the kernel lacks one of the features."""
    lacking = [each for each in Feature if each & features and not each & available()[0]]
    if lacking:
        names = ", ".join(f"UFFD_FEATURE_{each.name} (Linux {_SINCE.get(each, '?')})" for each in lacking)
        skip(f"this kernel has no {names}")


def descriptor(features: int = 0) -> int:
    """A new userfaultfd with features; skips where the kernel lacks one."""
    need(features)
    uffd = bare_descriptor()
    try:
        calls.uffd_api(uffd, features)
    except OSError as error:
        if error.errno == errno.EPERM:
            skip(f"this user may not have these features: {error}")
        raise
    return uffd


@dataclass(frozen=True)
class Event:
    """One message of a userfaultfd: its kind, and its three words."""

    kind: int
    words: tuple[int, int, int]

    @property
    def flags(self) -> int:
        """Of a page fault."""
        return self.words[0]

    @property
    def address(self) -> int:
        """Of a page fault."""
        return self.words[1]


def events(uffd: int) -> list[Event]:
    """The messages there are, after waiting for the first one. Fails when none comes."""
    poll = select.poll()
    poll.register(uffd, select.POLLIN)
    if not poll.poll(_PATIENCE_S * 1000):
        raise UnexpectedError("reading the userfaultfd", "an event", f"none within {_PATIENCE_S:g} s")
    data = calls.uffd_read(uffd)
    found = []
    for start in range(0, len(data), MESSAGE_BYTES):
        kind, *words = struct.unpack_from("B7x3Q", data, start)
        found.append(Event(kind, (words[0], words[1], words[2])))
    return found


def event(uffd: int, kind: EventKind = EventKind.PAGEFAULT) -> Event:
    """The next message. Fails when there is another number of them, or one of another kind."""
    found = events(uffd)
    equal("the kinds of events", [each.kind for each in found], [kind])
    return found[0]


class Beside:
    """A call in a thread beside this one, which may wait for this one."""

    def __init__(self, call: Callable[..., Any], *arguments: object) -> None:
        self.result: Any = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(call, arguments), daemon=True)
        child.start(self._thread)

    def _run(self, call: Callable[..., Any], arguments: tuple[object, ...]) -> None:
        try:
            self.result = call(*arguments)
        except BaseException as error:
            self.error = error

    def has_ended(self, within_s: float = 0.0) -> bool:
        """Whether the call has returned."""
        self._thread.join(within_s)
        return not self._thread.is_alive()

    def end(self) -> Any:
        """What the call returned; raises what it raised. Fails when it does not return."""
        if not self.has_ended(_PATIENCE_S):
            raise UnexpectedError("a thread that waited", "goes on", f"still waits after {_PATIENCE_S:g} s")
        if self.error is not None:
            raise self.error
        return self.result


@dataclass(frozen=True)
class Armed:
    """A memfd under a registered view and an alias that is not registered."""

    uffd: int
    memfd: int
    view: int
    alias: int
    pages: int
    ioctls: int

    def at(self, page: int) -> int:
        """Address of a page of the view."""
        return self.view + page * PAGE

    def alias_at(self, page: int) -> int:
        """Address of a page of the alias."""
        return self.alias + page * PAGE


def arm(pages: int, mode: int, features: int = 0, *, written: range | None = None) -> Armed:
    """Registers a view of a memfd whose `written` pages (all, by default) are in the file and not in the view."""
    if mode & RegisterMode.MINOR:
        features |= Feature.MINOR_SHMEM
    if mode & RegisterMode.WP:
        features |= Feature.WP_HUGETLBFS_SHMEM
    uffd, file = descriptor(features | Feature.MISSING_SHMEM), memfd(pages)
    armed = Armed(uffd, file, view(file, pages), view(file, pages), pages, 0)
    for page in range(pages) if written is None else written:
        calls.store(armed.alias_at(page), stamp("file", page))
    ioctls = calls.uffd_register(uffd, armed.view, pages * PAGE, mode)
    return Armed(uffd, file, armed.view, armed.alias, pages, ioctls)


def arm_for_sigbus(pages: int, *, written: range | None = None, mode: int = _MISSING_AND_MINOR) -> Armed:
    """As the heap does: missing and minor faults, each a SIGBUS."""
    return arm(pages, mode, Feature.SIGBUS, written=written)


def close(uffd: int) -> None:
    """Closes a userfaultfd."""
    with contextlib.suppress(OSError):
        os.close(uffd)
