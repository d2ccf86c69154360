"""Writes docs/kernel-assumptions.md from the self-tests: `python -m subduct.selftest.document > docs/kernel-assumptions.md`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from subduct.selftest.assumption import Assumption, release_text
from subduct.selftest.catalogue import chapters

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEAD = """\
# What is assumed of the kernel

Each row is a self-test: `subduct selftest --only ID` tries it on the running kernel. The code that relies on an assumption cites it as
`[kernel.ID]`. *Linux* says which releases are known to behave so, where not all do that subduct knows; distributions carry changes
back, so the tests try before they believe a number. *Used by* says who relies on it: the heap, the bindings, or nobody here, for those who
build on the same calls. Written by `python -m subduct.selftest.document`; a test fails when it is out of date.
"""


def document() -> str:
    """The whole document."""
    parts = [_HEAD]
    for title, assumptions in chapters():
        parts.append(f"\n## {title}\n\n| id | what holds | Linux | used by | source |\n|---|---|---|---|---|\n")
        parts += [_row(each) for each in assumptions]
    return "".join(parts)


def _row(assumption: Assumption) -> str:
    cells = (
        f"`{assumption.id}`",
        assumption.claim,
        "; ".join(_releases(assumption)),
        assumption.used_by.value,
        assumption.source,
    )
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def _releases(assumption: Assumption) -> Iterator[str]:
    if assumption.since is not None:
        yield f"{release_text(assumption.since)} and later"
    if assumption.until is not None:
        yield f"until {release_text(assumption.until)}"
    if assumption.known_bug is not None:
        yield f"does not hold: {assumption.known_bug}"


if __name__ == "__main__":
    sys.stdout.write(document())
