"""Making the same calls on both sides, and comparing after each."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from subduct.model.differential import ground
from subduct.model.differential.call import Call, FileView, Line, Result, Seen, View, differences
from subduct.model.differential.choice import Choice
from subduct.model.differential.model_side import ModelSide
from subduct.model.differential.operations import KINDS, SETUP_DESCRIPTORS, SETUP_FILES
from subduct.model.state import Limits
from subduct.model.uapi import PAGE, page_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType

    from subduct.model.rules import RuleBook
    from subduct.model.state import State

_Chooser: TypeAlias = "Callable[[State], Call]"

_MOVERS = {"mmap": 1, "mremap": 2}


@dataclass(frozen=True, slots=True)
class Machine:
    """What the process that asks the kernel found out about it: whether the ground is empty; whether there are userfaultfd,
    perf events, mseal and an ordinary vvar mapping; whether a memfd sealed against writing can be mapped shared; what
    MREMAP_DONTUNMAP does to locked memory and to a mapping that it moves pages beside; the most it may lock in bytes, None for
    no limit."""

    empty: bool
    userfaultfd: bool
    perf: bool
    mseal: bool
    vvar: bool
    maps_write_sealed: bool
    leaks_locked: bool
    splits_locked: bool
    merges_with_source: bool
    locked_bytes: int | None

    @property
    def limits(self) -> Limits:
        """The same limits for the model."""
        return Limits(locked_bytes=self.locked_bytes)

    def adapted(self, book: RuleBook) -> RuleBook:
        """The book with those rules as this kernel has them that later releases of old versions changed."""
        # One series of changes made both rules go, and was taken back into older versions as a whole.
        for rule in ("mmap.write-sealed-read-only", "madvise.remove-read-only"):
            book = book.without(rule) if self.maps_write_sealed else book.having(rule)
        # Later releases took these back as well, one after the other.
        for rule, lost in (
            ("mremap.locked-leak", not self.leaks_locked),
            ("mremap.merges-with-source", not self.merges_with_source),
        ):
            book = book.without(rule) if lost else book
        return book.having("mremap.splits-locked") if self.splits_locked else book

    @property
    def setup(self) -> tuple[Call, ...]:
        """The calls that every sequence begins with."""
        return (*SETUP_FILES, *(SETUP_DESCRIPTORS if self.userfaultfd else ()))


@dataclass(frozen=True, slots=True)
class Step:
    """A call and what the kernel did."""

    call: Call
    kernel: Seen


class DifferenceError(AssertionError):
    """Kernel and model do not agree; the message shows all calls up to there, and what differs."""

    def __init__(self, steps: Sequence[Step], found: Sequence[str]) -> None:
        shown = [f"  {step.call} -> {step.kernel.result}" for step in steps]
        super().__init__(
            "\n".join(["kernel and model differ after these calls:", *shown, *(f"  ! {line}" for line in found)])
        )
        self.steps = tuple(steps)
        self.found = tuple(found)


class BrokenError(RuntimeError):
    """The process that makes the calls failed itself, so that nothing is known of kernel and model; the message says how."""


class KernelServer:
    """The process that asks the running kernel; a context manager. Its methods raise BrokenError."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "subduct.model.differential.kernel_side"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.machine = Machine(**self._receive())

    def __enter__(self) -> KernelServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.wait()

    def begin(self) -> None:
        """Starts a fresh process, in which the setup has been done."""
        self._send("new")
        self._receive()
        self._send(json.dumps([[call.name, call.arguments] for call in self.machine.setup]))
        answer = self._receive()
        if answer:
            raise self._broken("the setup of a sequence", answer)

    def perform(self, call: Call) -> Seen:
        """Makes a call in that process."""
        self._send(json.dumps([call.name, call.arguments]))
        answer = self._receive()
        if answer.get("signal"):
            return Seen(Result("signal", answer["signal"]), None)
        if "view" not in answer:
            raise self._broken(str(call), answer)
        lines, present, files, locked_pages = answer["view"]
        view = View(
            tuple(_normal(*line) for line in lines),
            tuple((address, number) for address, number in present),
            tuple(FileView(size, tuple((index, value) for index, value in pages)) for size, pages in files),
            locked_pages,
        )
        return Seen(Result(*answer["result"]), view)

    def end(self) -> None:
        """Ends that process."""
        self._send("end")
        answer = self._receive()
        if answer["status"]:
            raise self._broken("its end", answer)

    def _broken(self, when: str, answer: dict[str, Any]) -> BrokenError:
        """What to say of a process that is no longer there to make calls. Its last words come before its end."""
        words = answer.get("broken", "")
        ended = self._receive() if words else answer
        how = f"signal {ended['signal']}" if ended["signal"] else f"exit status {ended['status']}"
        return BrokenError(
            f"the process that makes the calls ended with {how} at {when}" + (f":\n{words}" if words else "")
        )

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise BrokenError("the process that asks the kernel has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _normal(start: int, end: int, protection: str, name: str, offset: int, flags: list[str]) -> Line:
    """A line without what differs between kernels and means nothing here: the flags of a perf ring."""
    return Line(start, end, protection, name, offset, () if "perf_event" in name else tuple(flags))


def run_sequence(server: KernelServer, book: RuleBook, operations: Iterable[tuple[str, bytes]]) -> list[Step]:
    """Makes the calls of a sequence of operations on both sides. Raises DifferenceError at the first step that differs."""
    return _run(server, book, (partial(_choose, KINDS[kind][1], data) for kind, data in operations))


def run_calls(server: KernelServer, book: RuleBook, calls: Iterable[Call]) -> list[Step]:
    """Makes the given calls on both sides. Raises DifferenceError at the first step that differs."""
    return _run(server, book, (partial(_given, call) for call in calls))


def _choose(resolve: Callable[[Choice], Call], data: bytes, state: State) -> Call:
    return resolve(Choice(data, state))


def _given(call: Call, _state: State) -> Call:
    return call


def _run(server: KernelServer, book: RuleBook, nexts: Iterable[_Chooser]) -> list[Step]:
    model = new_model(server.machine, book)
    server.begin()
    steps: list[Step] = []
    for choose in nexts:
        calls = [choose(model.space.state)]
        while calls:
            seen = server.perform(calls[0])
            steps.append(Step(calls.pop(0), seen))
            found = compare(model, steps[-1])
            if seen.view is not None and found:
                server.end()
            if found:
                raise DifferenceError(steps, found)
            if seen.view is None:
                return steps
            calls += _followed_by(steps[-1])
    server.end()
    return steps


def new_model(machine: Machine, book: RuleBook) -> ModelSide:
    """A model in which the setup has been done."""
    model = ModelSide(book, machine.limits, shows_seals=machine.mseal and book.holds("mseal.shown"))
    for call in machine.setup:
        model.prepare(call)
    return model


def compare(model: ModelSide, step: Step) -> list[str]:
    """Makes a call in the model, and says what differs."""
    return differences(step.kernel, model.perform(step.call, elsewhere(step)))


def elsewhere(step: Step) -> int | None:
    """Where the kernel put a mapping, if it chose an address outside the ground."""
    kind, number = step.kernel.result
    return number if kind == "value" and step.call.name in _MOVERS and not ground.inside(number) else None


def _followed_by(step: Step) -> list[Call]:
    """A mapping outside the ground is looked at and taken away again."""
    address = elsewhere(step)
    if address is None:
        return []
    length = step.call.arguments[_MOVERS[step.call.name]]
    assert isinstance(length, int)
    end = address + page_up(length)
    return [Call("peek", (address,)), Call("peek", (end - PAGE,)), Call("munmap", (address, end - address))]


def replay(machine: Machine, book: RuleBook, steps: Sequence[Step]) -> list[str]:
    """Compares a book with what the kernel did before: what differs at the first step that does."""
    model = new_model(machine, book)
    for step in steps:
        found = compare(model, step)
        if found:
            return [str(step.call), *found]
    return []
