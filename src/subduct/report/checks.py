"""Findings of the doctor, as text and as JSON."""

from __future__ import annotations

import textwrap
from dataclasses import asdict, dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TextIO

_INDENT = " " * 10
_MAX_WIDTH = 100


class Status(Enum):
    """Whether a finding stands in the way."""

    #: Nothing to do.
    OK = "ok"
    #: Heaps run, with a drawback.
    WARN = "warn"
    #: Heaps cannot move objects under running threads.
    MISSING = "missing"
    #: It could not be looked at: nothing is known.
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding: what was looked at, what was found, what that means for subduct, how to get it where it lacks."""

    name: str
    status: Status
    found: str
    meaning: str
    remedy: str


_COLOURS = {Status.OK: "\033[32m", Status.WARN: "\033[33m", Status.MISSING: "\033[31m", Status.UNKNOWN: "\033[36m"}
_DIM = "\033[2m"
_END = "\033[0m"


def write_checks(checks: Iterable[Check], output: TextIO, *, width: int, colour: bool) -> None:
    """Writes each finding: status, name and what was found on the first line, what it means below, and how to get it
    where something lacks. Lines are `width` columns at most, but never more than can be read well."""
    width = min(width, _MAX_WIDTH)

    def paint(code: str, text: str) -> str:
        return f"{code}{text}{_END}" if colour else text

    for check in checks:
        first = textwrap.wrap(f"{check.name}: {check.found}", width - len(_INDENT))
        status = paint(_COLOURS[check.status], check.status.value.ljust(len(_INDENT)))
        print(f"{status}{first[0]}", file=output)
        for line in first[1:]:
            print(f"{_INDENT}{line}", file=output)
        for line in textwrap.wrap(check.meaning, width, initial_indent=_INDENT, subsequent_indent=_INDENT):
            print(paint(_DIM, line), file=output)
        if check.status is not Status.OK:
            remedy = f"What to do: {check.remedy}"
            for line in textwrap.wrap(remedy, width, initial_indent=_INDENT, subsequent_indent=_INDENT):
                print(line, file=output)


def checks_object(checks: Iterable[Check]) -> list[dict[str, Any]]:
    """The findings as JSON: name, status, found, meaning, remedy."""
    return [asdict(check) | {"status": check.status.value} for check in checks]
