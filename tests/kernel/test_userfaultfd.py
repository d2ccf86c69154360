"""Userfaultfds: features, events, answers. A thread serves memory that another touches without the GIL."""

import asyncio
import errno
import math
import os
import threading
from collections.abc import Callable, Iterator

import pytest

from subduct import KernelError, Unsupported
from subduct.kernel import (
    PAGE_SIZE,
    Advice,
    ContinueMode,
    CopyMode,
    Event,
    EventKind,
    FaultFlag,
    Feature,
    Fork,
    Ioctl,
    Mapping,
    Memfd,
    MoveMode,
    PageFault,
    RegisterMode,
    Remap,
    Remove,
    UffdFlag,
    Unmap,
    Userfaultfd,
    WriteprotectMode,
    _userfaultfd,
    calls,
)
from subduct.kernel._events import parse_events

OFFERED = Userfaultfd.available()
PAGE = bytes(range(256)) * (PAGE_SIZE // 256)


def needs(feature: Feature) -> pytest.MarkDecorator:
    return pytest.mark.skipif(feature not in OFFERED, reason=f"this kernel lacks {feature!r}")


@pytest.fixture
def uffd() -> Iterator[Userfaultfd]:
    with Userfaultfd(Feature.THREAD_ID) as userfaultfd:
        yield userfaultfd


@pytest.fixture
def memory() -> Iterator[Mapping]:
    with Mapping.anonymous(4 * PAGE_SIZE) as mapping:
        yield mapping


class Toucher:
    """A thread that does one thing to memory, without the GIL while it waits."""

    def __init__(self, touch: Callable[[], object]) -> None:
        self.result: object = None
        self._touch = touch
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self.native_id = self._thread.native_id

    def _run(self) -> None:
        self.result = self._touch()

    def is_running(self) -> bool:
        return self._thread.is_alive()

    def finish(self) -> object:
        self._thread.join()
        return self.result


def fault(userfaultfd: Userfaultfd) -> PageFault:
    """The next event, which is a fault."""
    (event,) = userfaultfd.wait(60)
    assert isinstance(event, PageFault)
    return event


def events_until_it_ends(userfaultfd: Userfaultfd, toucher: Toucher) -> list[Event]:
    """Everything that is reported while a thread runs."""
    events = []
    while toucher.is_running():
        events += userfaultfd.wait(0.05)
    return events


def test_creation(uffd: Userfaultfd) -> None:
    assert Feature.THREAD_ID in uffd.offered
    assert {Ioctl.REGISTER, Ioctl.UNREGISTER, Ioctl.API} <= set(uffd.ioctls)
    assert not os.get_inheritable(uffd.fileno())
    assert uffd.process == os.getpid()
    assert uffd.read() == []
    assert uffd.wait(0) == []
    with pytest.raises(KernelError) as caught:
        Userfaultfd(Feature(1 << 60))
    assert caught.value.errno == errno.EINVAL
    assert caught.value.arguments["features"] == 1 << 60


def test_the_device() -> None:
    if not os.access("/dev/userfaultfd", os.R_OK | os.W_OK):
        with pytest.raises(OSError, match="/dev/userfaultfd"):
            Userfaultfd(device=True)
        return
    with Userfaultfd(device=True, flags=UffdFlag.CLOEXEC | UffdFlag.NONBLOCK) as userfaultfd:
        assert userfaultfd.offered == OFFERED


def test_closed(memory: Mapping) -> None:
    userfaultfd = Userfaultfd()
    number = userfaultfd.fileno()
    userfaultfd.close()
    userfaultfd.close()
    assert userfaultfd.closed
    for use in (userfaultfd.read, userfaultfd.wait, lambda: userfaultfd.register(memory)):
        with pytest.raises(ValueError, match="closed"):
            use()
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(number)


def test_a_missing_page_is_copied(uffd: Userfaultfd, memory: Mapping) -> None:
    assert {Ioctl.COPY, Ioctl.ZEROPAGE, Ioctl.WAKE} <= set(uffd.register(memory))
    toucher = Toucher(lambda: memory.read(PAGE_SIZE + 5, 3))
    event = fault(uffd)
    assert event == PageFault(memory.address + PAGE_SIZE, FaultFlag(0), toucher.native_id or 0)
    assert event.missing
    assert not event.write
    assert uffd.copy(event.address, PAGE) == PAGE_SIZE
    assert toucher.finish() == PAGE[5:8]
    toucher = Toucher(lambda: memory.write(0, b"x"))
    event = fault(uffd)
    assert event.write
    assert uffd.zeropage(event.address, PAGE_SIZE) == PAGE_SIZE
    toucher.finish()
    assert memory.read(0, 2) == b"x\0"


@pytest.mark.parametrize("timeout_s", [math.inf, 1e10, 1e300, 3e6, 1 << 70])
def test_the_longest_times_are_waited(uffd: Userfaultfd, memory: Mapping, timeout_s: float) -> None:
    uffd.register(memory)
    toucher = Toucher(lambda: memory.read(0, 1))
    (event,) = uffd.wait(timeout_s)
    assert isinstance(event, PageFault)
    uffd.zeropage(event.address, PAGE_SIZE)
    assert toucher.finish() == b"\0"


def test_a_time_longer_than_one_poll(uffd: Userfaultfd, memory: Mapping, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_userfaultfd, "_LONGEST_POLL_MS", 1)
    assert uffd.wait(0.005) == []
    uffd.register(memory)
    for timeout_s in (60, None):
        toucher = Toucher(lambda: memory.read(0, 1))
        (event,) = uffd.wait(timeout_s)
        assert isinstance(event, PageFault)
        uffd.zeropage(event.address, PAGE_SIZE)
        assert toucher.finish() == b"\0"
        memory.advise(Advice.DONTNEED)


def test_partial_results(uffd: Userfaultfd, memory: Mapping) -> None:
    uffd.register(memory)
    assert uffd.copy(memory.address + 2 * PAGE_SIZE, PAGE) == PAGE_SIZE
    assert uffd.copy(memory.address, PAGE * 4) == 2 * PAGE_SIZE
    with pytest.raises(KernelError) as caught:
        uffd.copy(memory.address, bytearray(PAGE))
    assert caught.value.errno == errno.EEXIST
    assert "served" in caught.value.remedy


def test_whoever_sleeps_in_a_page_that_is_there_sleeps_on_until_woken(uffd: Userfaultfd, memory: Mapping) -> None:
    uffd.register(memory)
    toucher = Toucher(lambda: memory.read(0, 1))
    event = fault(uffd)
    uffd.copy(event.address, PAGE, CopyMode.DONTWAKE)
    with pytest.raises(KernelError) as caught:
        uffd.copy(event.address, PAGE)
    assert caught.value.errno == errno.EEXIST
    assert "sleeps" in caught.value.remedy
    assert "wake()" in caught.value.remedy
    uffd.wake(event.address, PAGE_SIZE)
    assert toucher.finish() == PAGE[:1]


@needs(Feature.MINOR_SHMEM)
def test_a_page_that_is_mapped_already_says_how_to_wake(uffd: Userfaultfd) -> None:
    with Memfd(PAGE_SIZE) as file, file.map() as view:
        view.write(0, b"there")
        uffd.register(view, mode=RegisterMode.MINOR)
        with pytest.raises(KernelError) as caught:
            uffd.continue_(view.address, PAGE_SIZE)
        assert caught.value.errno == errno.EEXIST
        assert "wake()" in caught.value.remedy


@needs(Feature.PAGEFAULT_FLAG_WP)
def test_a_protected_copy_needs_a_range_registered_for_it() -> None:
    with Userfaultfd(Feature.PAGEFAULT_FLAG_WP) as userfaultfd, Mapping.anonymous(PAGE_SIZE) as memory:
        userfaultfd.register(memory)
        with pytest.raises(KernelError) as caught:
            userfaultfd.copy(memory.address, PAGE, CopyMode.WP)
        assert caught.value.errno == errno.EINVAL
        assert "registered for WP" in caught.value.remedy


@needs(Feature.WP_UNPOPULATED)
@pytest.mark.parametrize("asked", [Feature(0), Feature.WP_UNPOPULATED])
def test_pages_that_were_never_touched_take_a_feature_to_protect(asked: Feature) -> None:
    with Userfaultfd(Feature.PAGEFAULT_FLAG_WP | asked) as userfaultfd, Mapping.anonymous(PAGE_SIZE) as memory:
        userfaultfd.register(memory, mode=RegisterMode.WP)
        userfaultfd.writeprotect(memory)
        assert memory.pages()[0].write_protected is bool(asked)
    assert "WP_UNPOPULATED" in (Userfaultfd.writeprotect.__doc__ or "")


def test_numbers_are_checked_before_the_call(uffd: Userfaultfd, memory: Mapping) -> None:
    uffd.register(memory)
    at = memory.address
    for wrong in (
        lambda: uffd.copy(at + 1, PAGE),
        lambda: uffd.copy(at, b"short"),
        lambda: uffd.copy(at, b""),
        lambda: uffd.zeropage(at, 0),
        lambda: uffd.zeropage(2**64 - PAGE_SIZE, 2 * PAGE_SIZE),
        lambda: uffd.continue_(at, 1),
        lambda: uffd.poison(-PAGE_SIZE, PAGE_SIZE),
        lambda: uffd.move(at, at + 1, PAGE_SIZE),
        lambda: uffd.register(at),
        lambda: uffd.register(memory, 8 * PAGE_SIZE),
        lambda: uffd.wake(at + 1, PAGE_SIZE),
    ):
        with pytest.raises(ValueError):
            wrong()
    with pytest.raises(KernelError) as caught:
        uffd.zeropage(at + 4 * PAGE_SIZE, PAGE_SIZE)
    assert caught.value.errno == errno.ENOENT


def test_two_userfaultfds_cannot_have_one_range(uffd: Userfaultfd, memory: Mapping) -> None:
    uffd.register(memory)
    with Userfaultfd() as other, pytest.raises(KernelError) as caught:
        other.register(memory)
    assert caught.value.errno == errno.EBUSY
    assert "another userfaultfd" in caught.value.remedy


def test_unregistering_wakes(uffd: Userfaultfd, memory: Mapping) -> None:
    uffd.register(memory)
    toucher = Toucher(lambda: memory.read(0, 1))
    fault(uffd)
    uffd.unregister(memory)
    assert toucher.finish() == b"\0"


@needs(Feature.MINOR_SHMEM)
def test_a_minor_fault_is_continued(uffd: Userfaultfd) -> None:
    with Memfd(2 * PAGE_SIZE) as file, file.map() as view, file.map() as other:
        uffd.register(view, mode=RegisterMode.MISSING | RegisterMode.MINOR)
        other.write(0, b"there")
        toucher = Toucher(lambda: view.read(0, 5))
        event = fault(uffd)
        assert event.minor
        assert not event.missing
        other.write(0, b"newer")
        assert uffd.continue_(event.address, PAGE_SIZE, ContinueMode.DONTWAKE) == PAGE_SIZE
        uffd.wake(event.address, PAGE_SIZE)
        assert toucher.finish() == b"newer"
        with pytest.raises(KernelError) as caught:
            uffd.continue_(view.address + PAGE_SIZE, PAGE_SIZE)
        assert caught.value.errno == errno.EFAULT
        assert "no page" in caught.value.remedy
        assert "ui" in view.smaps()[0].vm_flags
        assert "um" in view.smaps()[0].vm_flags


@needs(Feature.MOVE)
def test_a_page_is_moved_in(uffd: Userfaultfd, memory: Mapping) -> None:
    uffd.register(memory)
    with Mapping.anonymous(2 * PAGE_SIZE) as source:
        source.advise(Advice.DONTFORK)
        source.write(0, PAGE)
        assert uffd.move(memory.address, source.address, PAGE_SIZE) == PAGE_SIZE
        assert memory.read(0, PAGE_SIZE) == PAGE
        assert not source.pages()[0].present
        with pytest.raises(KernelError) as caught:
            uffd.move(memory.address + PAGE_SIZE, source.address, PAGE_SIZE)
        assert caught.value.errno == errno.ENOENT
        assert "ALLOW_SRC_HOLES" in caught.value.remedy
        done = uffd.move(memory.address + PAGE_SIZE, source.address, PAGE_SIZE, MoveMode.ALLOW_SRC_HOLES)
        assert done == PAGE_SIZE


@needs(Feature.POISON)
def test_a_poisoned_page_is_an_error_to_the_kernel(uffd: Userfaultfd, memory: Mapping) -> None:
    uffd.register(memory)
    assert uffd.poison(memory.address, PAGE_SIZE) == PAGE_SIZE
    with pytest.raises(KernelError) as caught:
        calls.peek(memory.address, 1)
    assert caught.value.errno == errno.EFAULT


@needs(Feature.PAGEFAULT_FLAG_WP)
def test_writes_are_reported(memory: Mapping) -> None:
    with Userfaultfd(Feature.PAGEFAULT_FLAG_WP) as userfaultfd:
        userfaultfd.register(memory, mode=RegisterMode.MISSING | RegisterMode.WP)
        userfaultfd.copy(memory.address, PAGE, CopyMode.WP)
        assert memory.pages()[0].write_protected
        toucher = Toucher(lambda: memory.write(0, b"new"))
        event = fault(userfaultfd)
        assert event.write_protected
        assert memory.read(0, 3) == PAGE[:3]
        userfaultfd.writeprotect(event.address, PAGE_SIZE, mode=WriteprotectMode(0))
        toucher.finish()
        assert memory.read(0, 3) == b"new"
        userfaultfd.writeprotect(memory, PAGE_SIZE)
        assert memory.pages()[0].write_protected


def test_moves_drops_and_unmaps_are_events() -> None:
    features = Feature.EVENT_REMAP | Feature.EVENT_REMOVE | Feature.EVENT_UNMAP
    with Userfaultfd(features) as userfaultfd, Mapping.anonymous(2 * PAGE_SIZE) as memory:
        userfaultfd.register(memory)
        address = memory.address
        # Each call waits until its events were read, and releases the GIL meanwhile.
        toucher = Toucher(lambda: memory.advise(Advice.DONTNEED, 0, PAGE_SIZE))
        assert events_until_it_ends(userfaultfd, toucher) == [Remove(address, address + PAGE_SIZE)]
        toucher = Toucher(memory.move)
        assert events_until_it_ends(userfaultfd, toucher) == [
            Remap(address, memory.address, 2 * PAGE_SIZE),
            Unmap(address, address + 2 * PAGE_SIZE),
        ]
        toucher = Toucher(memory.close)
        unmapped = [Unmap(memory.address, memory.address + 2 * PAGE_SIZE)]
        assert events_until_it_ends(userfaultfd, toucher) == unmapped


@pytest.mark.skipif(os.geteuid() != 0, reason="EVENT_FORK needs CAP_SYS_PTRACE")
def test_a_fork_is_an_event_with_a_descriptor() -> None:
    with Userfaultfd(Feature.EVENT_FORK) as userfaultfd, Mapping.anonymous(PAGE_SIZE) as memory:
        # fork() waits for the event to be read, in a system call that keeps the GIL: a child process reads it.
        here, there = os.pipe()
        reader = os.fork()
        if reader == 0:
            code = 1
            try:
                (event,) = userfaultfd.wait(60)
                assert isinstance(event, Fork)
                event.child.zeropage(memory.address, PAGE_SIZE)
                os.write(there, b"served")
                code = 0
            finally:
                os._exit(code)
        userfaultfd.register(memory)
        with pytest.raises(Unsupported, match=r"os\.fork\(\) would never return"):
            os.fork()
        with pytest.raises(Unsupported, match="close it here"):
            os.forkpty()
        userfaultfd.close()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = memory.read(0, 1)[0]
            finally:
                os._exit(code)
        assert os.read(here, 6) == b"served"
        assert [os.waitpid(pid, 0)[1] for pid in (reader, child)] == [0, 0]
        os.close(here)
        os.close(there)


def test_events_are_awaited(uffd: Userfaultfd, memory: Mapping) -> None:
    uffd.register(memory)

    async def serve_two() -> list[int]:
        served = []
        async for event in uffd:
            assert isinstance(event, PageFault)
            served.append(event.address - memory.address)
            uffd.copy(event.address, PAGE)
            if len(served) == 2:
                break
        return served

    async def main() -> tuple[list[int], bytes]:
        server = asyncio.create_task(serve_two())
        await asyncio.sleep(0)
        data = await asyncio.to_thread(memory.read, PAGE_SIZE - 1, 2)
        return await server, data

    assert asyncio.run(main()) == ([0, PAGE_SIZE], PAGE[-1:] + PAGE[:1])


def test_waiting_in_asyncio_can_be_cancelled(uffd: Userfaultfd) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(uffd.next(), 0.01)

    asyncio.run(main())
    assert uffd.read() == []


@pytest.mark.parametrize("elsewhere", [False, True], ids=["same thread", "another thread"])
def test_closing_ends_the_task_that_waits(uffd: Userfaultfd, elsewhere: bool) -> None:
    async def main() -> None:
        waiting = asyncio.create_task(uffd.next())
        await asyncio.sleep(0)
        if elsewhere:
            await asyncio.to_thread(uffd.close)
        else:
            uffd.close()
        with pytest.raises(ValueError, match="closed"):
            await asyncio.wait_for(waiting, 60)

    asyncio.run(main())


def test_a_task_cancelled_after_closing_leaves_the_number_alone(uffd: Userfaultfd) -> None:
    async def main() -> None:
        loop, number = asyncio.get_running_loop(), uffd.fileno()
        waiting = asyncio.create_task(uffd.next())
        await asyncio.sleep(0)
        here, there = os.pipe()
        uffd.close()
        os.dup2(here, number)
        try:
            arrived = asyncio.Event()
            loop.add_reader(number, arrived.set)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            os.write(there, b"x")
            await asyncio.wait_for(arrived.wait(), 60)
            assert loop.remove_reader(number)
        finally:
            for descriptor in (here, there, number):
                os.close(descriptor)

    asyncio.run(main())


def test_a_descriptor_that_blocks(memory: Mapping) -> None:
    with Userfaultfd(flags=UffdFlag.USER_MODE_ONLY | UffdFlag.CLOEXEC) as userfaultfd:
        userfaultfd.register(memory)
        with pytest.raises(ValueError, match="NONBLOCK"):
            userfaultfd.wait(0)
        toucher = Toucher(lambda: memory.read(0, 1))
        (event,) = userfaultfd.read()
        assert isinstance(event, PageFault)
        userfaultfd.zeropage(event.address, PAGE_SIZE)
        assert toucher.finish() == b"\0"


def test_an_unknown_message_is_refused() -> None:
    def adopt(number: int) -> Userfaultfd:
        raise AssertionError(number)

    known = bytes([EventKind.REMOVE]).ljust(8, b"\0") + (1).to_bytes(8, "little") + (2).to_bytes(16, "little")
    assert parse_events(known, adopt) == [Remove(1, 2)]
    with pytest.raises(ValueError, match="0x77"):
        parse_events(b"\x77" + known[1:], adopt)
