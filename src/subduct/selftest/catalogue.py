"""All self-tests, in the order in which they run and are documented."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from subduct.selftest.assumption import Assumption, registered

if TYPE_CHECKING:
    from collections.abc import Iterator

# The modules that register them, each a chapter of the document.
_MODULES = {
    "mremap_kinds": "Moving page tables: every kind of memory",
    "mremap_mappings": "Moving page tables: special mappings, and several at once",
    "mremap_arguments": "Moving page tables: what is refused, and in which order",
    "mremap_steps": "Moving page tables: whole tables at a time",
    "uffd_descriptor": "Userfaultfd: descriptors and features",
    "uffd_registration": "Userfaultfd: registrations",
    "uffd_missing": "Userfaultfd: missing faults",
    "uffd_minor": "Userfaultfd: minor faults",
    "uffd_delivery": "Userfaultfd: signals, waiting, forks",
    "uffd_events": "Userfaultfd: moved and removed memory",
    "uffd_protect": "Userfaultfd: protection, poison, moves",
    "memfds": "Memfds",
    "mapping_rules": "Mappings, advice, accounting",
    "waits": "Waiting and barriers",
}


def chapters() -> Iterator[tuple[str, tuple[Assumption, ...]]]:
    """The title of each chapter and what is in it, in order."""
    for module in _MODULES:
        importlib.import_module(f"{__package__}.{module}")
    for module, title in _MODULES.items():
        yield title, tuple(each for each in registered() if each.module == f"{__package__}.{module}")


def assumptions() -> tuple[Assumption, ...]:
    """All, in order."""
    return tuple(each for _, chapter in chapters() for each in chapter)
