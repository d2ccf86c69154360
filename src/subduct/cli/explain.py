"""`subduct explain`: whether the kernel would move a mapping, how, and what that or a flip would cost."""

from __future__ import annotations

import json
import os
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from subduct.cli.refused import RefusedError
from subduct.explain.flip import MOST_BUDGET_BYTES, Flip, flip
from subduct.explain.kinds import KINDS
from subduct.explain.question import MOST_BYTES, Answer, Question, ask
from subduct.model import NEWEST, OLDEST, RULES, RefusedCall, RemapFlag, Version
from subduct.model.uapi import PAGE
from subduct.report.units import count, microseconds, plural

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from subduct.explain.costs import Costs
    from subduct.model import Rule, Steps

_WIDTH = 100
_LABEL = 18
_UNITS = (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel by the name of its release, and the version whose rules are taken for it."""

    name: str
    version: Version

    def __str__(self) -> str:
        if self.name == str(self.version):
            return f"Linux {self.version}"
        newer = Version.parse(self.name) > self.version
        known = "the newest that are known" if newer else "as it was first released"
        return f"Linux {self.name}, by the rules of {self.version}, {known}"


def explain_mremap(arguments: argparse.Namespace) -> int:
    """Runs `explain mremap`; returns 0 if the kernel does it, 1 if it refuses.

    Raises:
        RefusedError: what is asked about cannot exist.
    """
    kernel = arguments.kernel or _running()
    question = _question(arguments, kernel.version)
    try:
        answer = ask(question)
    except RefusedCall as refused:
        raise RefusedError(f"{kernel} does not get that far: {refused.rule.sentence}") from None
    moves = answer.moved or (answer.crowded is not None and answer.crowded.moved)
    costs, problem = _costs(arguments) if moves else (None, "nothing to estimate")
    if arguments.json:
        print(json.dumps(_mremap_object(kernel, question, answer, costs), indent=2))
    else:
        _print(_mremap_rows(kernel, question, answer, costs, problem))
    return 1 if answer.refusal else 0


def explain_flip(arguments: argparse.Namespace) -> int:
    """Runs `explain flip`; returns 0 if the kernel does it, 1 if it refuses.

    Raises:
        RefusedError: the size does not fit into an address space twice.
    """
    kernel = arguments.kernel or _running()
    if 2 * arguments.heap > MOST_BYTES:
        raise RefusedError(
            f"--heap {_size(arguments.heap)}: its slots window does not fit into the address space twice"
        )
    costs, problem = _costs(arguments)
    found = flip(arguments.heap, costs, kernel.version)
    if arguments.json:
        print(json.dumps(_flip_object(kernel, found, costs), indent=2))
    else:
        _print(_flip_rows(kernel, found, costs, problem))
    return 1 if found.answer.refusal else 0


def _question(arguments: argparse.Namespace, version: Version) -> Question:
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
        version,
        registered=arguments.registered,
        locked=arguments.locked,
        sealed=arguments.sealed,
    )


def _running() -> Kernel:
    """The kernel that runs, by the rules of its version, or of the newest that the model knows, if that is older.

    Raises:
        RefusedError: the kernel that runs is older than anything modelled.
    """
    name = os.uname().release
    running = Version.parse(name)
    if running < OLDEST:
        raise RefusedError(
            f"this kernel is Linux {running}, and nothing before {OLDEST} is modelled; name one with --kernel"
        )
    return Kernel(name, min(running, NEWEST))


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
    kernel: Kernel, question: Question, answer: Answer, costs: Costs | None, problem: str
) -> Iterable[tuple[str, str]]:
    yield "question", _described(question)
    yield "kernel", f"{kernel}, x86-64, 4 KiB pages"
    if answer.refusal is not None:
        yield from _refusal_rows(answer.refusal)
        yield "passed before", ", ".join(rule.id for rule in answer.passed) or "nothing"
        return
    if answer.moved:
        yield "verdict", "moved"
        yield from _move_rows(answer, costs, problem)
    elif answer.crowded is None:
        yield "verdict", "done, without moving"
    else:
        yield "verdict", "done, without moving, if what follows is free"
        yield "if it is not", _crowded(answer.crowded)
        if answer.crowded.moved:
            yield from _move_rows(answer.crowded, costs, problem)
    yield from _consequence_rows(question, answer, costs)


def _move_rows(answer: Answer, costs: Costs | None, problem: str) -> Iterable[tuple[str, str]]:
    assert answer.steps is not None
    yield "page-table steps", _steps(answer.steps) + ", if every page is present"
    yield "estimate", _estimate(answer.steps, costs, problem)
    yield from _unclear_rows(costs)


def _crowded(answer: Answer) -> str:
    if answer.refusal is not None:
        return f"refused with {answer.refusal.error_name} by {answer.refusal.id}: {answer.refusal.sentence}"
    return "moved to where there is room"


def _consequence_rows(question: Question, answer: Answer, costs: Costs | None) -> Iterable[tuple[str, str]]:
    old_range = _old_range(question, answer)
    if old_range is not None:
        yield "old range shows", old_range
    slow = _slow_path(question, answer)
    if slow is not None:
        yield "because", slow.sentence
    if answer.entry_steps is not None:
        taken = None if costs is None else costs.move_us(answer.entry_steps)
        time = "" if taken is None else f", {microseconds(taken)}"
        yield "later releases", f"{_BACKPORTED} That is {_steps(answer.entry_steps)}{time}."
    registration = _registration(question, answer)
    if registration is not None:
        yield "registration", registration
    for sentence in _locking(question, answer):
        yield "locked", sentence


_BACKPORTED = "Later releases of this version may have the fix of CVE-2025-21696 (6.13), and then move a registered mapping entry by entry."


def _old_range(question: Question, answer: Answer) -> str | None:
    return question.kind.old_range if answer.moved and RemapFlag.DONTUNMAP in question.flags else None


def _slow_path(question: Question, answer: Answer) -> Rule | None:
    """The rule by which a registered mapping is moved entry by entry, if it is."""
    rule = RULES["tables.registered-by-entry"]
    return rule if answer.moved and question.registered and rule.holds_in(question.version) else None


def _registration(question: Question, answer: Answer) -> str | None:
    if not (answer.moved and question.registered):
        return None
    lost = "is lost on the new range"
    return f"stays on the old range, and {lost}" if RemapFlag.DONTUNMAP in question.flags else lost


def _locking(question: Question, answer: Answer) -> list[str]:
    """What becomes of locked memory, a sentence each."""
    if not question.locked or answer.refusal is not None:
        return []
    if not answer.moved:
        return ["What is added is locked and made resident, too."] if answer.crowded is not None else []
    if RemapFlag.DONTUNMAP not in question.flags:
        return ["The new range is locked, as the old one was."]
    names = ("mremap.old-unlocked", "mremap.unlocks-part", "mremap.splits-locked", "mremap.locked-leak")
    rules = [RULES[name] for name in names]
    found = [f"{rule.sentence} ({rule.versions})" for rule in rules if rule.holds_in(question.version)]
    return ["The new range is locked.", *found]


def _flip_rows(kernel: Kernel, found: Flip, costs: Costs | None, problem: str) -> Iterable[tuple[str, str]]:
    yield "heap", f"budget {_size(found.budget_bytes)}: a slots window of {_size(found.window_bytes)}"
    yield "kernel", f"{kernel}, x86-64, 4 KiB pages"
    if found.answer.refusal is not None:
        yield from _refusal_rows(found.answer.refusal)
        return
    assert found.answer.steps is not None
    yield "page-table steps", _steps(found.answer.steps)
    yield "move", _estimate(found.answer.steps, costs, problem)
    if costs is not None:
        yield "register", _time(found.register_us, "register", costs)
        if found.pause_us is not None:
            yield "together", f"{microseconds(found.pause_us)}, while no other thread runs"
        more = " more beside a running thread" if found.shootdown_us is not None else ""
        yield "shootdowns", _time(found.shootdown_us, "shootdown", costs) + more
    yield from _unclear_rows(costs)
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


def _steps(steps: Steps) -> str:
    counts = (("PUD", steps.pud), ("PMD", steps.pmd), ("PTE", steps.pte))
    return ", ".join(f"{count(number)} {name}" for name, number in counts if number) or "none"


def _estimate(steps: Steps, costs: Costs | None, problem: str) -> str:
    if costs is None:
        return problem
    time_us = costs.move_us(steps)
    if time_us is None:
        return _lacking(costs.lacking(steps), costs)
    span = costs.move_range_us(steps)
    shown = microseconds(time_us) + ("" if span is None else f", {microseconds(span[0])} to {microseconds(span[1])}")
    return f"{shown} (costs {costs.source}: {', '.join(_cost(costs, name) for name in costs.known)})"


def _cost(costs: Costs, name: str) -> str:
    span = costs.ranges.get(name)
    return f"{name} {costs.known[name]:.3g} us" + ("" if span is None else f" ({span[0]:.3g} to {span[1]:.3g})")


def _time(time_us: float | None, name: str, costs: Costs) -> str:
    return _lacking([name], costs) if time_us is None else microseconds(time_us)


def _lacking(names: list[str], costs: Costs) -> str:
    noise = [name for name in names if name in costs.unclear]
    if noise:
        return f"not known: the noise of this machine hides what {', '.join(noise)} costs"
    return f"not known: the costs lack {', '.join(names)}"


def _unclear_rows(costs: Costs | None) -> Iterable[tuple[str, str]]:
    if costs is not None and costs.unclear:
        yield "hidden by noise", f"{', '.join(costs.unclear)}: measured, but not told apart from nothing"


def _size(size: int) -> str:
    """A size in the largest unit that it is at least one of: "4 GiB", "1.5 MiB"; in bytes if it is not of whole pages."""
    if size % PAGE:
        return f"{size:,} bytes, which take {plural(-(-size // PAGE), 'page')}"
    for name, unit in _UNITS:
        if size >= unit:
            return f"{size / unit:,.4g} {name}"
    return f"{size:,} bytes"


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


def _steps_object(steps: Steps | None) -> dict[str, int] | None:
    return None if steps is None else {"pte": steps.pte, "pmd": steps.pmd, "pud": steps.pud}


def _answer_object(answer: Answer, costs: Costs | None) -> dict[str, Any]:
    return {
        "verdict": "refused" if answer.refusal else "moved" if answer.moved else "done in place",
        "refused_by": _rule_object(answer.refusal),
        "passed": [rule.id for rule in answer.passed],
        "steps": _steps_object(answer.steps),
        "costs_us": None if costs is None else costs.known | {"source": costs.source},
        "costs_range_us": None if costs is None or not costs.ranges else dict(costs.ranges),
        "costs_unclear": [] if costs is None else list(costs.unclear),
    }


def _crowded_object(answer: Answer | None, costs: Costs | None) -> dict[str, Any] | None:
    if answer is None:
        return None
    return {
        "verdict": "refused" if answer.refusal else "moved",
        "refused_by": _rule_object(answer.refusal),
        "steps": _steps_object(answer.steps),
        "estimate_us": _estimate_us(answer, costs),
    }


def _estimate_us(answer: Answer, costs: Costs | None) -> float | None:
    return None if costs is None or not answer.moved or answer.steps is None else costs.move_us(answer.steps)


def _mremap_object(kernel: Kernel, question: Question, answer: Answer, costs: Costs | None) -> dict[str, Any]:
    steps = answer.steps if answer.moved else None
    later = answer.entry_steps
    return {
        "kernel": kernel.name,
        "rules": str(kernel.version),
        "mapping": question.kind.name,
        "size_bytes": question.size,
        "new_size_bytes": question.new_size,
        "align_bytes": question.align,
        "registered": question.registered,
        "locked": question.locked,
        "sealed": question.sealed,
        "flags": [flag.name for flag in RemapFlag if flag in question.flags],
        **_answer_object(answer, costs),
        "estimate_us": _estimate_us(answer, costs),
        "estimate_range_us": None if costs is None or steps is None else costs.move_range_us(steps),
        "if_what_follows_is_taken": _crowded_object(answer.crowded, costs),
        "old_range": _old_range(question, answer),
        "slow_path": _rule_object(_slow_path(question, answer)),
        "later_releases": None if later is None else {"sentence": _BACKPORTED, "steps": _steps_object(later)},
        "registration": _registration(question, answer),
        "locking": _locking(question, answer),
    }


def _flip_object(kernel: Kernel, found: Flip, costs: Costs | None) -> dict[str, Any]:
    return {
        "kernel": kernel.name,
        "rules": str(kernel.version),
        "budget_bytes": found.budget_bytes,
        "window_bytes": found.window_bytes,
        **_answer_object(found.answer, costs),
        "move_us": found.move_us,
        "move_range_us": found.move_range_us,
        "register_us": found.register_us,
        "pause_us": found.pause_us,
        "shootdown_us": found.shootdown_us,
    }
