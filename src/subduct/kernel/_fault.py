"""A fault as a handler sees it, in the process that serves it."""

from __future__ import annotations

import errno
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

from subduct._native import KernelError
from subduct.kernel._checks import PAGE_SIZE, whole_pages
from subduct.kernel._enums import CopyMode

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

    from subduct.kernel._events import PageFault
    from subduct.kernel._userfaultfd import Userfaultfd

_TRIES = 1000


class Fault:
    """A page that a thread of the served process waits for.

    The handler returns the bytes of the page, or of the page and the ones behind it, or answers with one of the methods and returns
    None. Pages that are there already are left as they are: bytes for a minor fault map what the file has.
    """

    __slots__ = ("address", "answered", "event", "length", "offset", "userfaultfd")

    def __init__(self, event: PageFault, userfaultfd: Userfaultfd, start: int, end: int) -> None:
        self.event = event
        """What the kernel reported."""
        self.userfaultfd = userfaultfd
        """For an answer of another kind; addresses are those of the served process."""
        self.address = event.address - event.address % PAGE_SIZE
        """First address of the page, in the served process."""
        self.offset = self.address - start
        """Where the page lies in the mapping, in bytes."""
        self.length = end - self.address
        """Bytes from there to the mapping's end: as many can be filled at once."""
        self.answered = False
        """Whether a method has answered."""

    def fill(self, data: Buffer) -> None:
        """Fills the page, and those behind it, with whole pages of bytes; ValueError for more than there are."""
        view = memoryview(data).cast("B")
        if whole_pages(view.nbytes) > self.length:
            raise ValueError(f"{view.nbytes} bytes for a fault at offset {self.offset} leave the mapping")
        done = tries = 0
        while done < view.nbytes:
            try:
                done += self.userfaultfd.copy(self.address + done, view[done:], CopyMode.DONTWAKE)
            except KernelError as error:
                if error.errno == errno.EEXIST:
                    self._map(self.address + done)
                    done += PAGE_SIZE
                elif error.errno != errno.EAGAIN or (tries := tries + 1) == _TRIES:
                    raise
        self._wake(view.nbytes)

    def zero(self) -> None:
        """Fills the page with zeros."""
        self._answer(self.userfaultfd.zeropage)

    def resume(self) -> None:
        """Maps the page that the file has: the answer to a minor fault, and to a hole that was written through another view."""
        self._answer(self.userfaultfd.continue_)

    def _answer(self, ioctl: Callable[[int, int], int]) -> None:
        try:
            ioctl(self.address, PAGE_SIZE)
        except KernelError as error:
            if error.errno != errno.EEXIST:
                raise
            self._map(self.address)
        self._wake()

    def _map(self, address: int) -> None:
        """Maps a page that the file has, where whoever touches it would only fault on it again."""
        if self.event.minor:
            with suppress(KernelError):  # EEXIST: mapped already
                self.userfaultfd.continue_(address, PAGE_SIZE)

    def _wake(self, length: int = PAGE_SIZE) -> None:
        # Where somebody else was quicker (EEXIST) the thread may still sleep.
        self.userfaultfd.wake(self.address, length)
        self.answered = True


Handler: TypeAlias = "Callable[[Fault], Buffer | None]"
"""Fills a page: returns its bytes, or None once it has answered the fault itself."""
