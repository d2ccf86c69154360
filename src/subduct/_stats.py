"""What a heap tells about itself, as immutable values. Sizes are bytes; durations carry their unit in the name."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pauses:
    """How long the flips stopped everybody, in microseconds: percentiles of the latest 256, the longest of all, and their number."""

    p50: float
    p99: float
    max: float
    count: int


@dataclass(frozen=True, slots=True)
class Fallbacks:
    """How often a cycle had to go another way than planned, since the heap was made. Nothing is lost by any of them.

    `flips_in_pause`: the kernel refused a call of the flip, and everything moved in the pause. `installs_again`: the kernel put an
    install off. `runs_unregistered`: pages could not be installed at all, and their registration was ended instead.
    `descriptors_lost`: somebody else closed a descriptor of the heap, and its spare took over. `handlers_restored`: somebody took
    SIGBUS during a move, and it was taken back. `shadows_left`: the collector's second mapping could not be taken down after a move.
    """

    flips_in_pause: int
    installs_again: int
    runs_unregistered: int
    descriptors_lost: int
    handlers_restored: int
    shadows_left: int


@dataclass(frozen=True, slots=True)
class Stats:
    """Figures about a heap at one moment. Counts are since the heap was made.

    `live_bytes` and `live_objects` are what the last cycle found; `live_estimate_bytes` is what is likely alive now, with what was
    allocated since, and `live_bytes_max` the most it can be; `resident_bytes` is what the kernel says the heap holds; `moves` are the
    cycles that moved objects; `window_unit_bytes` is 1 GiB, or 2 MiB where `ulimit -v` or `ulimit -f` leaves no room for windows of whole
    GiBs: then the flip moves more pointers, and takes longer; `faults` were accesses to pages that were not ready, `worker_pages` were made
    ready by the collector before anybody touched them; `longest_stall_us` is the longest wait for a cycle to give memory back, of `stalls`
    in all, `longest_operation_us` the longest time inside the heap; `rest_ms` is what marking rested to leave processors to other threads,
    `held_back_ms` what threads slept after operations, all of them together, because they allocated faster than the collector could keep up
    with; `fallbacks` says what went another way than planned.
    """

    budget_bytes: int
    window_unit_bytes: int
    resident_bytes: int
    live_bytes: int
    live_objects: int
    live_estimate_bytes: int
    live_bytes_max: int
    allocated_bytes: int
    handles: int
    cycles: int
    moves: int
    faults: int
    worker_pages: int
    pages_fixed: int
    pages_built: int
    pages_installed: int
    bytes_evacuated: int
    longest_operation_us: float
    longest_stall_us: float
    stalls: int
    rest_ms: float
    held_back_ms: float
    pauses: Pauses
    delivery: str
    fallbacks: Fallbacks


@dataclass(frozen=True, slots=True)
class CycleReport:
    """What one cycle did.

    `pause_us` is the flip's pause (0 if nothing moved), `mark_start_us` and `mark_end_us` the two short stops of marking; `fallback`
    says why a move that should have been concurrent was finished in the pause, or is None; `verified` says whether the second
    tracer looked, and agreed.
    """

    cycle: int
    delivery: str
    full: bool
    pause_us: float
    mark_start_us: float
    mark_end_us: float
    mark_ms: float
    plan_ms: float
    move_ms: float
    finish_ms: float
    live_bytes: int
    live_objects: int
    resident_bytes: int
    regions_evacuated: int
    bytes_evacuated: int
    pages_fixed: int
    pages_built: int
    pages_installed: int
    faults: int
    fallback: str | None
    verified: bool


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What the second tracer found: reachable objects, their bytes, the references between them, and a digest of the whole graph that
    does not depend on where objects are."""

    objects: int
    bytes: int
    edges: int
    digest: int


# Where a name is defined is nobody's business: what users see is where to import it from.
for _public in (CycleReport, Fallbacks, Pauses, Stats, VerifyReport):
    _public.__module__ = "subduct"

del _public
