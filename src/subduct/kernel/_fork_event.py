"""Forks that would wait for ever, because their own process is to read of them."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING
from weakref import WeakSet

from subduct._native import Unsupported

if TYPE_CHECKING:
    from subduct.kernel._userfaultfd import Userfaultfd

_FORKS = frozenset({"os.fork", "os.forkpty"})

_watched: WeakSet[Userfaultfd] = WeakSet()
_hooks: list[int] = []


def watch(userfaultfd: Userfaultfd) -> None:
    """Has os.fork() refuse while this userfaultfd, of this process, reports forks and is open here with a range registered.

    fork(2) returns when somebody has read the event. os.fork() holds the GIL meanwhile, so no Python thread of this process reads it.
    """
    _watched.add(userfaultfd)
    if not _hooks:
        # An audit hook is the one place from where a fork can be refused; it stays for good, so it waits until it is needed.
        _hooks.append(os.getpid())
        sys.addaudithook(_refuse)


def _refuse(event: str, _arguments: tuple[object, ...]) -> None:
    if event not in _FORKS:
        return
    for userfaultfd in list(_watched):
        if userfaultfd.awaits_forks():
            raise Unsupported(
                f"{event}() would never return: it holds the GIL until somebody has read the fork event of {userfaultfd!r}, "
                "which no Python thread of this process can do. Hand the descriptor to another process, which reads its events, "
                "and close it here before the fork (what is registered stays so while that process has it open)"
            )
