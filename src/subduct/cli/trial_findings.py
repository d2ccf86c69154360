"""From the trials of heaps to findings, and to the doctor's verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from subduct.cli.trial import DELIVERIES, GIB, Trial
from subduct.cli.untried import untried_attempt
from subduct.report.checks import Check, Status
from subduct.report.units import mib

if TYPE_CHECKING:
    from collections.abc import Sequence

    from subduct.cli.surrounding_findings import Facts
    from subduct.cli.trial import Delivery

_MEANINGS: dict[Delivery, str] = {
    "sigbus": "A thread that touches a page which is not ready makes it ready itself, in a signal handler. Heaps use this where it works.",
    "thread": "The same, but a thread of the heap makes the page ready: for processes that cannot give up SIGBUS.",
    "software": "Each operation looks whether its page is ready. Heaps use this where sigbus does not work.",
    "pause": "Everything moves while the threads are stopped. Needs least of the kernel.",
}
_TRIED = " A heap of 16 MiB was filled, thinned out and compacted while a thread read it; then everything was compared."
_TRIED_ALONE = " A heap of 16 MiB was filled, thinned out and compacted; then everything was compared."
_NOBODY_READ = "this process may have no more threads (ulimit -u; pids.max of the control group)"


def trial_findings(found: Sequence[Trial], lacking: Sequence[str] = ()) -> list[Check]:
    """What happened with each delivery; `lacking` are the names of the rows that are marked missing."""
    rows = []
    for delivery in DELIVERIES:
        trial = next(each for each in found if delivery in (each.asked, each.delivery))
        remedy = trial.remedy or _remedy(delivery, trial, lacking)
        rows.append(
            Check(
                f"a heap with delivery {delivery}",
                _status(trial),
                _outcome(trial),
                _MEANINGS[delivery] + _tried(trial),
                remedy,
            )
        )
    return rows


def used(found: Sequence[Trial], facts: Facts, lacking: Sequence[str] = ()) -> Check:
    """The delivery that heaps get unless told otherwise; `lacking` are the names of the rows that are marked missing."""
    first = found[0]
    wanted = next((each for each in found[1:] if each.asked == "sigbus"), first)
    failed = ", ".join(name.replace("_", " ") for name in facts["missing_for_sigbus"] if not _is_untried(facts, name))
    if first.untried:
        what = f"unknown: heaps {first.problem}"
    elif not first.worked:
        what = f"none that works: {first.problem}"
    elif first.delivery != "sigbus" and failed:
        what = f"{first.delivery}, since these do not work: {failed}"
    elif first.delivery != "sigbus" and wanted.untried:
        what = f"{first.delivery}; sigbus {wanted.problem}"
    else:
        what = str(first.delivery)
    status = _status(first) if first.delivery == "sigbus" or not first.worked else Status.WARN
    return Check(
        "delivery that will be used",
        status,
        what,
        "How a thread that touches a page which is not ready gets it: sigbus serves the fault on the thread; software has "
        "each operation look first, which needs nothing of the kernel and costs a little every time.",
        _other(found) or (wanted.remedy if wanted.untried else first.remedy) or _remedy("sigbus", first, lacking),
    )


def _is_untried(facts: Facts, name: str) -> bool:
    attempt = facts.get(name)
    return isinstance(attempt, dict) and untried_attempt(attempt) is not None


def verdict(found: Sequence[Trial]) -> str:
    """One sentence: how heaps run here, as it was just seen."""
    first = found[0]
    if first.untried:
        return f"Whether heaps run here is unknown: they {first.problem}; {first.remedy}"
    if not first.worked:
        other = _other(found)
        return (
            f"Heaps will not run here unless told how: {other}"
            if other
            else f"Heaps will not run here: {first.problem}."
        )
    if first.fallback is not None:
        return f"Heaps will compact here, but in pauses (delivery {first.delivery}), as one just did: {first.fallback}."
    check = ", with a check at each operation" if first.delivery == "software" else ""
    alone = "" if first.read_beside else f", though no thread could read it meanwhile: {_NOBODY_READ}"
    return f"Heaps will compact under running threads here{check} (delivery {first.delivery}): one just did{alone}."


def _status(trial: Trial) -> Status:
    if trial.untried:
        return Status.UNKNOWN
    if not trial.worked:
        return Status.MISSING
    return Status.OK if trial.as_meant else Status.WARN


def _outcome(trial: Trial) -> str:
    if trial.problem is not None:
        return trial.problem
    how = f"moved {mib(trial.moved_bytes)} and found everything again; the pause took {trial.pause_us:.0f} us"
    if trial.fallback is not None:
        how += f", because everything moved in it: {trial.fallback}"
    elif trial.delivery != "pause":
        how += f", pages that were touched before they were ready: {trial.faults}"
    if trial.window_unit_bytes < GIB:
        how += "; limits on addresses or files leave no room for windows of whole GiBs, so the pause is longer than it could be"
    return how if trial.read_beside else f"{how}; no thread could read it meanwhile: {_NOBODY_READ}"


def _tried(trial: Trial) -> str:
    if trial.untried:
        return ""
    return _TRIED if trial.read_beside else _TRIED_ALONE


def _remedy(delivery: Delivery, trial: Trial, lacking: Sequence[str]) -> str:
    if trial.fallback is not None:
        return "allow the call that is named: a container's seccomp profile, or systemd's SystemCallFilter=, may forbid it."
    if delivery in ("sigbus", "thread") and lacking:
        return f"what these rows say above: {'; '.join(lacking)}."
    return (
        "the message says what failed; `ulimit -a` shows this process's limits, and the seccomp row what is filtered."
    )


def _other(found: Sequence[Trial]) -> str:
    """What to pass instead of nothing, where only that works."""
    if found[0].worked:
        return ""
    names = [f'delivery="{trial.asked}"' for trial in found[1:] if trial.worked]
    return f"pass {' or '.join(names)}, which worked." if names else ""
