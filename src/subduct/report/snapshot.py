"""What a run is at one moment. Renderers see nothing else of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from subduct import Stats


@dataclass(frozen=True, slots=True)
class Memory:
    """What a heap held after a full collection."""

    documents: int
    objects: int
    live_bytes: int
    resident_bytes: int

    @property
    def overhead(self) -> float:
        """Resident bytes for each live byte."""
        return self.resident_bytes / self.live_bytes if self.live_bytes else 0.0


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """Loading so far. `expected` documents is None where nobody can know; `seconds` since the load began."""

    documents: int
    expected: int | None
    bytes_read: int
    resident_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class ChurnProgress:
    """Churning so far. `operations_per_s` over the last interval; pauses in microseconds over the heap's life."""

    seconds: float
    duration: float
    operations: int
    operations_per_s: float
    live_bytes: int
    resident_bytes: int
    cycles: int
    pause_p50_us: float
    pause_max_us: float


@dataclass(frozen=True, slots=True)
class CheckProgress:
    """Comparing so far."""

    compared: int
    sample: int


@dataclass(frozen=True, slots=True)
class Kept:
    """What deleting documents and one collection gave back."""

    fraction: float
    before: Memory
    after: Memory


@dataclass(frozen=True, slots=True)
class RunReport:
    """A whole run, or as much of it as there was. Times in seconds unless the name says otherwise.

    `notes` say how the source is read, where that is not plain; `loaded` and `churned` are None for what was not reached;
    `mismatches` are keys of documents that differ from their source; `failure` says why the run is not verified, and is
    None when it is.
    """

    source: str
    kind: str
    notes: tuple[str, ...]
    bytes_read: int
    skipped: int
    load_s: float
    documents: int
    seed: int
    threads: int
    churn_s: float
    operations: int
    operations_by_name: Mapping[str, int]
    loaded: Memory | None
    churned: Memory | None
    kept: Kept | None
    sample_compared: int
    mismatches: tuple[str, ...]
    verified: bool
    failure: str | None
    interrupted: bool
    stats: Stats
