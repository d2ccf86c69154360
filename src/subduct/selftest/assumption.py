"""What subduct, or anybody, may assume of a kernel: an id, a sentence, and a check that tries it."""

from __future__ import annotations

import enum
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

Release: TypeAlias = tuple[int, int]
"""A kernel release: major and minor number."""

Check: TypeAlias = Callable[[], str | None]
"""Tries an assumption. Returns nothing, or something worth reporting; raises what `subduct.selftest.expect` defines."""

_ID = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)+")


class UsedBy(enum.StrEnum):
    """Who in this project relies on an assumption."""

    HEAP = "heap"
    BINDINGS = "bindings"
    NOBODY = "nobody"


@dataclass(frozen=True)
class KnownBug:
    """Releases in which an assumption is known not to hold."""

    since: Release
    until: Release | None
    """The last one; None when no release is known to have mended it."""
    fails: str
    """What is compared, in the words of the check, where the bug shows. Whatever else fails is no known bug."""

    def covers(self, release: Release) -> bool:
        """Whether the bug is known in this release."""
        return self.since <= release and (self.until is None or release <= self.until)

    def __str__(self) -> str:
        first = release_text(self.since)
        return f"known in {first} and later" if self.until is None else f"known in {first}-{release_text(self.until)}"


@dataclass(frozen=True)
class Assumption:
    """One assumption. Its id names the self-test, the row in the documents and, as `[kernel.ID]`, the code that relies on it."""

    id: str
    claim: str
    check: Check
    source: str
    """Where the claim comes from: a manual page, a kernel change, or a measurement."""
    used_by: UsedBy
    since: Release | None
    """First release that behaves so; None when all that subduct knows do."""
    until: Release | None
    """Last release that behaves so; None when all since do."""
    known_bug: KnownBug | None
    module: str
    """Where the check is."""


_registered: dict[str, Assumption] = {}


def assumes(
    id_: str,
    claim: str,
    *,
    source: str,
    used_by: UsedBy = UsedBy.NOBODY,
    since: Release | None = None,
    until: Release | None = None,
    known_bug: KnownBug | None = None,
) -> Callable[[Check], Check]:
    """Registers the decorated check as the self-test of an assumption.

    Raises:
        ValueError: the id is malformed or taken.
    """
    if not _ID.fullmatch(id_) or id_ in _registered:
        raise ValueError(f"{id_!r} is malformed or taken")

    # Of the caller, not of the check: that may be a function made on the spot.
    module = sys._getframe(1).f_globals["__name__"]

    def register(check: Check) -> Check:
        _registered[id_] = Assumption(id_, claim, check, source, used_by, since, until, known_bug, module)
        return check

    return register


def registered() -> tuple[Assumption, ...]:
    """All that were registered so far, in order."""
    return tuple(_registered.values())


def release_text(release: Release) -> str:
    """As people write it: `6.18`."""
    return f"{release[0]}.{release[1]}"
