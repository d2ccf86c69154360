"""All torments by name."""

from collections.abc import Callable, Generator

from torture import (
    canaries,
    execs,
    forks,
    heap_lives,
    interpreter_ends,
    many_heaps,
    memory_limits,
    signals,
    thread_lives,
    threads,
)
from torture.setting import Setting

# Does its worst in rounds for ever. At each yield a round is over, and everything is at rest.
Torment = Callable[[Setting], Generator[None]]

TORMENTS: dict[str, Torment] = {
    "threads": threads.torment,
    "thread-lives": thread_lives.torment,
    "forks": forks.torment,
    "signals": signals.torment,
    "execs": execs.torment,
    "memory-limits": memory_limits.torment,
    "interpreter-ends": interpreter_ends.torment,
    "many-heaps": many_heaps.torment,
    "heap-lives": heap_lives.torment,
}
CANARIES: dict[str, Torment] = {
    f"canary-{canary.__name__.replace('_', '-')}": canary
    for canary in (
        canaries.damage,
        canaries.leak_descriptor,
        canaries.leak_thread,
        canaries.leak_mapping,
        canaries.leak_memory,
        canaries.leak_reservation,
        canaries.left_heap,
        canaries.left_process,
        canaries.complaint,
        canaries.crash,
        canaries.hang,
        canaries.idle,
    )
}
# The heaps of the first are in processes of their own, which tell nothing of cycles; most canaries have none.
ELSEWHERE = ("interpreter-ends", *CANARIES)
