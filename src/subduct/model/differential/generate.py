"""Random sequences of operations, by Hypothesis, which also finds the shortest one that shows a difference."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from subduct.model.differential.operations import KINDS, NEED_PERF, NEED_USERFAULTFD, NEED_VVAR

if TYPE_CHECKING:
    from collections.abc import Callable

    from subduct.model.differential.server import Machine

_FEWEST, _MOST = 12, 36
_NUMBERS = 1 << 40
_BYTES = 24


def kinds(machine: Machine) -> list[str]:
    """The kinds of operation that a machine can do, each as often as its weight."""
    needs = ((NEED_USERFAULTFD, machine.userfaultfd), (NEED_PERF, machine.perf), (NEED_VVAR, machine.vvar))
    left_out = {kind for needing, there in needs if not there for kind in needing}
    return [kind for kind, (weight, _) in KINDS.items() if kind not in left_out for _ in range(weight)]


def choices(number: int) -> bytes:
    """The random bytes that a number stands for: zeros for 0, else evenly distributed, which numbers that Hypothesis makes
    are not."""
    if number == 0:
        return bytes(_BYTES)
    return hashlib.blake2b(number.to_bytes(8, "little"), digest_size=_BYTES).digest()


def run_random(
    machine: Machine, run: Callable[[list[tuple[str, bytes]]], None], *, sequences: int, seed: int, shrink: bool = True
) -> None:
    """Calls `run` with random sequences; the exceptions that it raises are raised for the shortest sequence that does."""
    from hypothesis import HealthCheck, Phase, given, settings, strategies
    from hypothesis import seed as seeded

    operations = strategies.tuples(
        strategies.sampled_from(kinds(machine)), strategies.integers(0, _NUMBERS - 1).map(choices)
    )
    wanted = settings(
        max_examples=sequences,
        deadline=None,
        database=None,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
    )
    failed: list[list[tuple[str, bytes]]] = []

    def attempt(sequence: list[tuple[str, bytes]]) -> None:
        try:
            run(sequence)
        except AssertionError:
            failed.append(sequence)
            raise

    test = given(strategies.lists(operations, min_size=_FEWEST, max_size=_MOST))(attempt)
    try:
        seeded(seed)(wanted(test))()
    except AssertionError as error:
        raise (_without_idle(run, failed[-1]) if shrink else None) or error from None


def _without_idle(
    run: Callable[[list[tuple[str, bytes]]], None], sequence: list[tuple[str, bytes]]
) -> AssertionError | None:
    """The failure of a sequence without the operations that it fails without: Hypothesis keeps as many as it must draw."""
    failure = None
    position = len(sequence)
    while position:
        position -= 1
        shorter = sequence[:position] + sequence[position + 1 :]
        try:
            run(shorter)
        except AssertionError as error:
            sequence, failure = shorter, error
    return failure
