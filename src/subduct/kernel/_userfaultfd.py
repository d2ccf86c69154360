"""userfaultfd(2): page faults as events, and the ioctls that answer them."""

from __future__ import annotations

import asyncio
import errno
import math
import os
import select
from contextlib import suppress
from enum import IntFlag
from typing import TYPE_CHECKING, Self, TypeVar

from subduct import _native
from subduct.kernel import _fork_event, calls
from subduct.kernel._checks import aligned, integer, known, page_range, whole_pages
from subduct.kernel._enums import (
    ContinueMode,
    CopyMode,
    Feature,
    Ioctl,
    MoveMode,
    PoisonMode,
    RegisterMode,
    UffdFlag,
    WriteprotectMode,
    ZeropageMode,
)
from subduct.kernel._events import Event, parse_events
from subduct.kernel._mapping import Mapping

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType

    from typing_extensions import Buffer

_Mode = TypeVar("_Mode", bound=IntFlag)
_DEVICE = "/dev/userfaultfd"
_DEVICE_REMEDIES = {
    errno.EACCES: "the file's mode says who may: give this user access to it, or leave device=True away, which needs no privilege "
    "for faults in user mode",
    errno.EPERM: "the container's list of devices must allow it; without device=True no device is needed",
    errno.ENOENT: "the device came with Linux 6.1, and a container must be given it; without device=True no device is needed",
}
# poll(2) takes an int.
_LONGEST_POLL_MS = (1 << 31) - 1
_UNPRIVILEGED = UffdFlag.USER_MODE_ONLY | UffdFlag.NONBLOCK | UffdFlag.CLOEXEC


class Userfaultfd:
    """A userfaultfd of this process, with its features agreed on (UFFDIO_API).

    - `features`: what must be there; EINVAL where the kernel lacks one. All that it has is in `offered` afterwards.
    - `flags`: USER_MODE_ONLY, NONBLOCK and CLOEXEC if not given, which needs no privilege (Linux 5.11). Faults inside system calls
      are then EFAULT there. Without USER_MODE_ONLY it takes CAP_SYS_PTRACE, vm.unprivileged_userfaultfd=1, or the device.
    - `device`: open /dev/userfaultfd (Linux 6.1), whose file mode says who may, instead of asking for a privilege.

    The descriptor belongs to the memory of the process that made it: in another process (forked, or handed over a socket) it still
    serves that memory. `serve()` does that. **A Python thread must not serve memory that Python code of the same process touches
    through a memoryview or an array**: the thread that faults holds the GIL, so the one that would answer never runs. Only
    `Mapping.read` and `Mapping.write`, which release it, may be used then.

    With EVENT_FORK a fork of this process waits until its event was read, and os.fork() holds the GIL meanwhile: another process must
    read the events. While the descriptor is open here with a range registered, os.fork() is refused (Unsupported): close it once that
    process has it. subprocess with preexec_fn, user or group forks unasked, and waits for ever where nobody reads.

    Addresses are integers, page-aligned; what cannot be an address is a ValueError before the call. `copy`, `zeropage`, `continue_`,
    `move` and `poison` return the bytes done, fewer than asked where the kernel stopped early, and raise `KernelError` where it did
    nothing: EEXIST where the first page was there already (whoever sleeps in it sleeps on until `wake`), EAGAIN while the address space
    changes.

    Sources: userfaultfd(2), ioctl_userfaultfd(2); versions as there.
    """

    _fd = -1
    _asked = Feature(0)

    def __init__(
        self,
        features: Feature = Feature(0),  # noqa: B008
        *,
        flags: UffdFlag = _UNPRIVILEGED,
        device: bool = False,
    ) -> None:
        self.process = os.getpid()
        """The process whose memory it serves."""
        self._registered: set[tuple[int, int]] = set()
        self._waiting: set[asyncio.Future[None]] = set()
        if not 0 <= integer("features", features) < 1 << 64:
            raise ValueError(f"features must be made of Feature, not {features:#x}")
        self._fd = self._open(known(UffdFlag, "flags", flags), device)
        try:
            offered, ioctls = calls.uffd_api(self._fd, features)
        except BaseException:
            self.close()
            raise
        self._asked = Feature(features)
        self.offered = Feature(offered)
        """Every feature that this kernel has."""
        self.ioctls = Ioctl(ioctls)
        """The ioctls on the descriptor itself; those on a range are what `register` returns."""

    @staticmethod
    def _open(flags: UffdFlag, device: bool) -> int:
        if not device:
            return calls.userfaultfd(flags)
        file = _open_device()
        try:
            return calls.uffd_new(file, flags)
        finally:
            os.close(file)

    @classmethod
    def adopt(cls, descriptor: int, process: int, *, offered: Feature = Feature(0)) -> Self:  # noqa: B008
        """Takes over a descriptor that another process made, and that serves that process."""
        self = cls.__new__(cls)
        self._fd, self.process, self._registered, self._waiting = descriptor, process, set(), set()
        self.offered, self.ioctls = offered, Ioctl(0)
        return self

    @classmethod
    def available(cls) -> Feature:
        """Every feature of this kernel, asked with a descriptor of its own: one descriptor takes UFFDIO_API once."""
        with cls() as probe:
            return probe.offered

    def fileno(self) -> int:
        """The descriptor; ValueError where it is closed."""
        if self._fd < 0:
            raise ValueError("the userfaultfd is closed")
        return self._fd

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._fd < 0

    def close(self) -> None:
        """Closes the descriptor. The last one of a userfaultfd ends all its registrations and wakes whoever sleeps.

        Any thread may call it. A task that waits in `next` gets a ValueError.
        """
        number, self._fd = self._fd, -1
        if number >= 0:
            os.close(number)
            for ready in tuple(self._waiting):
                # A loop that has ended has no task that waits.
                with suppress(RuntimeError):
                    ready.get_loop().call_soon_threadsafe(_resolve, ready)

    def register(
        self, target: Mapping | int, length: int | None = None, *, mode: RegisterMode = RegisterMode.MISSING
    ) -> Ioctl:
        """Reports faults of a range, in this process, from now on; returns the ioctls that it allows.

        On shared memory MISSING reports pages that the file does not have, MINOR (5.14) those that it has and that were not touched
        through this mapping; with MINOR alone a missing page is filled with zeros, and nothing is reported. EBUSY where another
        userfaultfd has the range; EINVAL for memory that the mode is not for. O(1).
        """
        place = _range(target, length)
        ioctls = Ioctl(calls.uffd_register(self.fileno(), *place, known(RegisterMode, "mode", mode)))
        if Feature.EVENT_FORK in self._asked:
            self._registered.add(place)
            _fork_event.watch(self)
        return ioctls

    def unregister(self, target: Mapping | int, length: int | None = None) -> None:
        """Ends the registration of a range and wakes all who sleep in it (the ioctl alone leaves minor faults asleep)."""
        fd, (address, size) = self.fileno(), _range(target, length)
        calls.uffd_unregister(fd, address, size)
        self._registered.discard((address, size))
        calls.uffd_wake(fd, address, size)

    def awaits_forks(self) -> bool:
        """Whether a fork of this process waits for somebody to read its event, and this process has the descriptor open."""
        return bool(self._registered) and not self.closed and self.process == os.getpid()

    def wake(self, target: Mapping | int, length: int | None = None) -> None:
        """Wakes all who sleep in a range; whose page is still not there faults again."""
        calls.uffd_wake(self.fileno(), *_range(target, length))

    def copy(self, address: int, data: Buffer, mode: CopyMode = CopyMode(0)) -> int:  # noqa: B008
        """Fills missing pages with `data`, whole pages of bytes; returns the bytes done. About 1.3 us a page."""
        view = memoryview(data).cast("B")
        page_range(address, view.nbytes)
        return _native.sys_uffd_copy_from(self.fileno(), address, view, _mode(CopyMode, mode))

    def zeropage(self, address: int, length: int, mode: ZeropageMode = ZeropageMode(0)) -> int:  # noqa: B008
        """Fills missing pages with zeros; returns the bytes done."""
        return calls.uffd_zeropage(self.fileno(), *page_range(address, length), _mode(ZeropageMode, mode))

    def continue_(self, address: int, length: int, mode: ContinueMode = ContinueMode(0)) -> int:  # noqa: B008
        """Maps pages that the file has already (5.14 for shared memory); returns the bytes done. EFAULT where it has none."""
        return calls.uffd_continue(self.fileno(), *page_range(address, length), _mode(ContinueMode, mode))

    def move(self, address: int, source: int, length: int, mode: MoveMode = MoveMode(0)) -> int:  # noqa: B008
        """Moves pages of private anonymous memory from `source`, without copying (6.8); returns the bytes done."""
        page_range(aligned("source", source), whole_pages(length))
        return calls.uffd_move(self.fileno(), page_range(address, length)[0], source, length, _mode(MoveMode, mode))

    def poison(self, address: int, length: int, mode: PoisonMode = PoisonMode(0)) -> int:  # noqa: B008
        """Makes missing pages raise SIGBUS when they are touched (6.6); returns the bytes done."""
        return calls.uffd_poison(self.fileno(), *page_range(address, length), _mode(PoisonMode, mode))

    def writeprotect(
        self, target: Mapping | int, length: int | None = None, *, mode: WriteprotectMode = WriteprotectMode.WP
    ) -> None:
        """Reports writes to a range that is registered for WP (5.7, shared memory 5.19); without WP ends that and wakes.

        On private anonymous memory a page that was never touched is left as it is, and a write to it goes unreported, unless
        Feature.WP_UNPOPULATED was asked for (6.4).
        """
        calls.uffd_writeprotect(self.fileno(), *_range(target, length), known(WriteprotectMode, "mode", mode))

    def read(self) -> list[Event]:
        """The events that wait, at most 64; none where there are none, unless the descriptor blocks: then it waits for one."""
        return parse_events(
            calls.uffd_read(self.fileno()), lambda child: type(self).adopt(child, 0, offered=self.offered)
        )

    def wait(self, timeout_s: float | None = None) -> list[Event]:
        """The events that wait, or the next ones; none after `timeout_s` seconds, which may be infinite. The GIL is released meanwhile."""
        ready = select.poll()
        ready.register(self._pollable(), select.POLLIN)
        left_ms = math.inf if timeout_s is None else timeout_s * 1000
        while not ready.poll(min(left_ms, _LONGEST_POLL_MS)):
            left_ms -= _LONGEST_POLL_MS
            if left_ms <= 0:
                return []
        return self.read()

    async def next(self) -> list[Event]:
        """The events that wait, or the next ones, in an asyncio loop; one task at a time. ValueError once it is closed."""
        self._pollable()
        while not (events := self.read()):
            await self._readable_or_closed()
        return events

    async def _readable_or_closed(self) -> None:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        # The loop looks at a descriptor that nobody but this task closes: the userfaultfd's number can be another file's by the time
        # that the task goes on, and then its reader there would be removed.
        with select.epoll() as own:
            self._waiting.add(ready)
            try:
                own.register(self.fileno(), select.EPOLLIN)
                loop.add_reader(own.fileno(), _resolve, ready)
                await ready
            finally:
                loop.remove_reader(own.fileno())
                self._waiting.discard(ready)

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            for event in await self.next():
                yield event

    def _pollable(self) -> int:
        fd = self.fileno()
        if os.get_blocking(fd):
            raise ValueError("a userfaultfd can be waited for only with UffdFlag.NONBLOCK: use read(), which blocks")
        return fd

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{self._fd}, of process {self.process}"
        return f"<subduct.kernel.Userfaultfd {state}>"


def _open_device() -> int:
    flags = os.O_RDWR | os.O_CLOEXEC
    try:
        return os.open(_DEVICE, flags)
    except OSError as error:
        remedy = _DEVICE_REMEDIES.get(error.errno or 0, "")
        said = f"open({_DEVICE!r}, flags={flags:#x}) failed: {error.strerror}"
        refused = _native.KernelError(error.errno, f"{said}; {remedy}" if remedy else said)
        refused.call, refused.arguments, refused.remedy = "open", {"path": _DEVICE, "flags": flags}, remedy
        raise refused from None


def _resolve(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _mode(kind: type[_Mode], mode: _Mode) -> int:
    # Most answers to a fault have none, and each takes only a microsecond.
    return known(kind, "mode", mode) if mode else 0


def _range(target: Mapping | int, length: int | None) -> tuple[int, int]:
    if isinstance(target, Mapping):
        address, whole = target._whole()
        if length is not None and whole_pages(length) > whole:
            raise ValueError(f"length {length} leaves the mapping of {whole} bytes")
        return address, whole_pages(whole if length is None else length)
    aligned("address", target)
    if length is None:
        raise ValueError("an address needs a length")
    return page_range(target, length)
