"""Which self-tests to run."""

from __future__ import annotations

import difflib
import fnmatch
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from subduct.selftest.assumption import Assumption

_NEAR = 3
_NEAR_ENOUGH = 0.5


class UnknownTestError(LookupError):
    """A pattern that names no self-test; says which come near."""


def chosen(assumptions: Sequence[Assumption], patterns: Sequence[str]) -> tuple[Assumption, ...]:
    """Those that a pattern (an id, or a glob as in a shell) names, in their own order; all when there is no pattern.

    Raises:
        UnknownTestError: a pattern names none.
    """
    if not patterns:
        return tuple(assumptions)
    ids = [each.id for each in assumptions]
    for pattern in patterns:
        if not fnmatch.filter(ids, pattern):
            near = difflib.get_close_matches(pattern, ids, _NEAR, _NEAR_ENOUGH)
            hint = f"; near: {', '.join(near)}" if near else "; `subduct selftest --list` shows all"
            raise UnknownTestError(f"no self-test is called {pattern!r}{hint}")
    return tuple(each for each in assumptions if any(fnmatch.fnmatchcase(each.id, pattern) for pattern in patterns))
