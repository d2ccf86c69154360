"""`subduct explain`: whether the kernel would move a mapping, how, and what that or a flip would cost."""

from __future__ import annotations

import json
import os
import textwrap
from typing import TYPE_CHECKING, Any

from subduct.cli.refused import RefusedError
from subduct.explain.flip import MOST_BUDGET_BYTES, Flip, flip
from subduct.explain.kinds import KINDS
from subduct.explain.question import MOST_BYTES, Answer, Question, ask
from subduct.model import NEWEST, OLDEST, RULES, RefusedCall, RemapFlag, Version
from subduct.report.units import count, microseconds

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from subduct.explain.costs import Costs
    from subduct.model import Rule

_WIDTH = 100
_LABEL = 18
_UNITS = (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))


def explain_mremap(arguments: argparse.Namespace) -> int:
    """Runs `explain mremap`; returns 0 if the kernel does it, 1 if it refuses.

    Raises:
        RefusedError: what is asked about cannot exist.
    """
    question = _question(arguments)
    try:
        answer = ask(question)
    except RefusedCall as refused:
        raise RefusedError(f"Linux {question.version} does not get that far: {refused.rule.sentence}") from None
    costs, problem = _costs(arguments) if answer.moved else (None, "nothing to estimate")
    estimate = None if costs is None or answer.steps is None else costs.move_us(answer.steps)
    if arguments.json:
        print(json.dumps(_mremap_object(question, answer, costs, estimate), indent=2))
    else:
        _print(_mremap_rows(question, answer, costs, estimate, problem))
    return 1 if answer.refusal else 0


def explain_flip(arguments: argparse.Namespace) -> int:
    """Runs `explain flip`; returns 0 if the kernel does it, 1 if it refuses.

    Raises:
        RefusedError: the size does not fit into an address space twice.
    """
    version = arguments.kernel or _running()
    if 2 * arguments.heap > MOST_BYTES:
        raise RefusedError(
            f"--heap {_size(arguments.heap)}: its slots window does not fit into the address space twice"
        )
    costs, problem = _costs(arguments)
    found = flip(arguments.heap, costs, version)
    if arguments.json:
        print(json.dumps(_flip_object(found, version, costs), indent=2))
    else:
        _print(_flip_rows(found, version, costs, problem))
    return 1 if found.answer.refusal else 0


def _question(arguments: argparse.Namespace) -> Question:
    new_size = arguments.size if arguments.new_size is None else arguments.new_size
    if max(arguments.size, new_size) > MOST_BYTES:
        raise RefusedError(f"sizes up to {_size(MOST_BYTES)} can be asked about: the range must fit twice")
    kind = KINDS[arguments.mapping]
    if arguments.registered and kind.special:
        raise RefusedError(f"--registered: a {kind.name} mapping cannot be registered with userfaultfd")
    return Question(
        kind,
        arguments.flags,
        arguments.size,
        new_size,
        arguments.align,
        arguments.kernel or _running(),
        registered=arguments.registered,
        locked=arguments.locked,
        sealed=arguments.sealed,
    )


def _running() -> Version:
    """The version of the kernel that runs, or the newest that the model knows, if that is older.

    Raises:
        RefusedError: the kernel that runs is older than anything modelled.
    """
    running = Version.parse(os.uname().release)
    if running < OLDEST:
        raise RefusedError(
            f"this kernel is Linux {running}, and nothing before {OLDEST} is modelled; name one with --kernel"
        )
    return min(running, NEWEST)


def _costs(arguments: argparse.Namespace) -> tuple[Costs | None, str]:
    """The costs given, or measured; and why there are none."""
    if arguments.costs is not None:
        return arguments.costs, ""
    # Only measuring needs the native calls.
    from subduct.explain.calibration import CalibrationError, calibrate

    try:
        return calibrate(), ""
    except CalibrationError as error:
        return None, f"this machine could not be measured ({error}); give --costs"


def _mremap_rows(
    question: Question, answer: Answer, costs: Costs | None, estimate: float | None, problem: str
) -> Iterable[tuple[str, str]]:
    yield "question", _described(question)
    yield "kernel", f"Linux {question.version}, x86-64, 4 KiB pages"
    if answer.refusal is not None:
        yield from _refusal_rows(answer.refusal)
        yield "passed before", ", ".join(rule.id for rule in answer.passed) or "nothing"
        return
    assert answer.steps is not None
    if not answer.moved:
        yield (
            "verdict",
            "done, without moving" + ("" if question.new_size <= question.size else ", if what follows is free"),
        )
        return
    yield "verdict", "moved"
    yield "page-table steps", _steps(answer) + ", if every page is present"
    yield "estimate", _estimate(answer, costs, estimate, problem)
    if RemapFlag.DONTUNMAP in question.flags:
        yield "old range shows", question.kind.old_range
    if question.registered:
        by_entry = RULES["tables.registered-by-entry"]
        if by_entry.holds_in(question.version):
            yield "because", by_entry.sentence
        kept = "is lost on the new range"
        yield "registration", f"stays on the old range, and {kept}" if RemapFlag.DONTUNMAP in question.flags else kept


def _flip_rows(found: Flip, version: Version, costs: Costs | None, problem: str) -> Iterable[tuple[str, str]]:
    yield "heap", f"budget {_size(found.budget_bytes)}: a slots window of {_size(found.window_bytes)}"
    yield "kernel", f"Linux {version}, x86-64, 4 KiB pages"
    if found.answer.refusal is not None:
        yield from _refusal_rows(found.answer.refusal)
        return
    yield "page-table steps", _steps(found.answer)
    yield "move", _estimate(found.answer, costs, found.move_us, problem)
    if costs is not None:
        yield "register", _time(found.register_us, "register")
        if found.pause_us is not None:
            yield "together", f"{microseconds(found.pause_us)}, while no other thread runs"
        if found.shootdown_us is not None:
            yield "shootdowns", f"{microseconds(found.shootdown_us)} more beside a running thread"
    if found.budget_bytes > MOST_BUDGET_BYTES:
        yield "note", f"Heap takes budgets up to {_size(MOST_BUDGET_BYTES)}: this is the kernel's part alone."


def _refusal_rows(rule: Rule) -> Iterable[tuple[str, str]]:
    yield "verdict", f"refused with {rule.error_name}"
    yield "by the check", f"{rule.id} ({rule.versions})"
    yield "because", rule.sentence
    yield "source", rule.source


def _described(question: Question) -> str:
    size = _size(question.size)
    if question.new_size != question.size:
        size += f" to {_size(question.new_size)}"
    flags = "|".join(flag.name for flag in RemapFlag if flag in question.flags and flag.name) or "no flags"
    states = [name for name in ("registered", "locked", "sealed") if getattr(question, name)]
    return ", ".join(
        [f"mremap of {question.kind.name}", size, flags, f"addresses aligned to {_size(question.align)}", *states]
    )


def _steps(answer: Answer) -> str:
    assert answer.steps is not None
    counts = (("PUD", answer.steps.pud), ("PMD", answer.steps.pmd), ("PTE", answer.steps.pte))
    return ", ".join(f"{count(number)} {name}" for name, number in counts if number) or "none"


def _estimate(answer: Answer, costs: Costs | None, estimate: float | None, problem: str) -> str:
    if costs is None:
        return problem
    if estimate is None:
        return f"not known: the costs lack one of {_steps(answer)}"
    listed = ", ".join(f"{name} {value:.3g} us" for name, value in costs.known.items())
    return f"{microseconds(estimate)} (costs {costs.source}: {listed})"


def _time(time_us: float | None, lacking: str) -> str:
    return f"not known: the costs lack {lacking}" if time_us is None else microseconds(time_us)


def _size(size: int) -> str:
    """A size in the largest unit that it is at least one of: "4 GiB", "1.5 MiB"."""
    for name, unit in _UNITS:
        if size >= unit:
            return f"{size / unit:,.4g} {name}"
    return f"{size} bytes"


def _print(rows: Iterable[tuple[str, str]]) -> None:
    for label, text in rows:
        indent = " " * _LABEL
        print(
            "\n".join(
                textwrap.wrap(
                    text, _WIDTH, initial_indent=label.ljust(_LABEL), subsequent_indent=indent, break_on_hyphens=False
                )
            )
        )


def _rule_object(rule: Rule | None) -> dict[str, Any] | None:
    if rule is None:
        return None
    return {
        "id": rule.id,
        "errno": rule.error_name,
        "sentence": rule.sentence,
        "versions": rule.versions,
        "source": rule.source,
    }


def _answer_object(answer: Answer, costs: Costs | None) -> dict[str, Any]:
    steps = answer.steps
    return {
        "verdict": "refused" if answer.refusal else "moved" if answer.moved else "done in place",
        "refused_by": _rule_object(answer.refusal),
        "passed": [rule.id for rule in answer.passed],
        "steps": None if steps is None else {"pte": steps.pte, "pmd": steps.pmd, "pud": steps.pud},
        "costs_us": None if costs is None else costs.known | {"source": costs.source},
    }


def _mremap_object(question: Question, answer: Answer, costs: Costs | None, estimate: float | None) -> dict[str, Any]:
    return {
        "kernel": str(question.version),
        "mapping": question.kind.name,
        "size_bytes": question.size,
        "new_size_bytes": question.new_size,
        "align_bytes": question.align,
        "registered": question.registered,
        "flags": [flag.name for flag in RemapFlag if flag in question.flags],
        **_answer_object(answer, costs),
        "estimate_us": estimate,
    }


def _flip_object(found: Flip, version: Version, costs: Costs | None) -> dict[str, Any]:
    return {
        "kernel": str(version),
        "budget_bytes": found.budget_bytes,
        "window_bytes": found.window_bytes,
        **_answer_object(found.answer, costs),
        "move_us": found.move_us,
        "register_us": found.register_us,
        "pause_us": found.pause_us,
        "shootdown_us": found.shootdown_us,
    }
