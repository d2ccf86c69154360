"""Making the same calls on both sides, and comparing after each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from subduct.model.differential import ground
from subduct.model.differential.call import MOVERS, Call, Seen, differences, is_elsewhere
from subduct.model.differential.choice import Choice
from subduct.model.differential.model_side import ModelSide
from subduct.model.differential.operations import KINDS
from subduct.model.uapi import PAGE, page_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from subduct.model.differential.server import KernelServer, Machine
    from subduct.model.rules import RuleBook
    from subduct.model.state import State

_Chooser: TypeAlias = "Callable[[State], Call]"


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
    calls = _planned(new_model(server.machine, book), nexts)
    model = new_model(server.machine, book)
    steps: list[Step] = []
    away = 0
    for call, seen in zip(calls, server.make(calls), strict=False):
        steps.append(Step(call.settled(away), seen))
        found = compare(model, steps[-1])
        if found:
            raise DifferenceError(steps, found)
        put = elsewhere(steps[-1])
        away = away if put is None else put
    return steps


def _planned(model: ModelSide, nexts: Iterable[_Chooser]) -> list[Call]:
    """The calls of a sequence, all chosen before the kernel makes the first: where the kernel does not do what the model does,
    the comparison ends anyway. What is mapped outside the ground is looked at and taken away again."""
    calls: list[Call] = []
    for choose in nexts:
        call = choose(model.space.state)
        result = model.answer(call)
        calls.append(call)
        if result.kind == "signal":
            break
        if is_elsewhere(call.name, result):
            length = call.arguments[MOVERS[call.name]]
            assert isinstance(length, int)
            model.answer(Call("munmap", (result.number, page_up(length))))
            last = ground.ELSEWHERE + page_up(length) - PAGE
            calls += [Call("peek", (ground.ELSEWHERE,)), Call("peek", (last,))]
            calls.append(Call("munmap", (ground.ELSEWHERE, page_up(length))))
    return calls


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
    return step.kernel.result.number if is_elsewhere(step.call.name, step.kernel.result) else None


def replay(machine: Machine, book: RuleBook, steps: Sequence[Step]) -> list[str]:
    """Compares a book with what the kernel did before: what differs at the first step that does."""
    model = new_model(machine, book)
    for step in steps:
        found = compare(model, step)
        if found:
            return [str(step.call), *found]
    return []
