"""One run of one peer, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from peers import pauses, utilisation
from peers.latency import Histogram
from peers.memory import Memory, MemoryWatch

if TYPE_CHECKING:
    from pathlib import Path

    from peers.pauses import Pauses
    from peers.peer import Peer

#: A peer that is not done after so many seconds never will be.
TIMEOUT_S = 900


@dataclass(frozen=True)
class Workload:
    """In which size the workload is run. Equal for all peers of a table."""

    records: int
    operations: int
    threads: int
    seed: int
    budget_bytes: int

    def options(self) -> list[str]:
        """The options that every peer takes."""
        words = [f"--{name}={getattr(self, name)}" for name in ("records", "operations", "threads", "seed")]
        return [part for word in (*words, f"--budget={self.budget_bytes}") for part in word.split("=")]


@dataclass(frozen=True)
class Run:
    """What a run found. `result` is what the peer printed."""

    result: dict[str, Any]
    operation: Histogram
    sleeper: Histogram
    pauses: Pauses | None
    memory: Memory
    #: Minimum mutator utilisation by window in milliseconds.
    utilisation: dict[int, float]

    @property
    def outcome(self) -> tuple[str, ...]:
        """What must be equal in every language."""
        names = ("digest", "checksum", "hits", "misses", "inserts", "replacements", "evictions", "live_records")
        return tuple(f"{name} {self.result[name]}" for name in (*names, "live_payload_bytes"))

    @property
    def operations_per_s(self) -> float:
        """Of the churn; storing the records that are there at the start is not in it."""
        return float(self.result["operations"] / (self.result["churn_ns"] / 1e9))


class PeerFailed(RuntimeError):  # noqa: N818
    """A peer ended with an error, which the message quotes."""


def call(peer: Peer, workload: Workload, folder: Path) -> Run:
    """Run a peer once, its files in `folder`. Raises PeerFailed."""
    log, stalls, errors = folder / f"{peer.key}.log", folder / f"{peer.key}.stalls", folder / f"{peer.key}.stderr"
    log.unlink(missing_ok=True)
    command = [word.replace("{log}", str(log)) for word in peer.command]
    command += [*workload.options(), "--stalls", str(stalls)]
    with (
        errors.open("wb") as stderr,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=os.environ | peer.environment,
        ) as process,
    ):
        try:
            line, memory = attend(process)
        finally:
            process.kill()
    if memory is None:
        raise PeerFailed(f"{peer.title}: exit status {process.returncode}: {errors.read_text().strip()[-2000:]}")
    result = json.loads(line)
    end_ns = result["fill_ns"] + result["churn_ns"]
    run = Run(
        result=result,
        operation=Histogram.read(result["operation"]),
        sleeper=Histogram.read(result["sleeper"]),
        pauses=pauses.of_java(log) if peer.has_log else pauses.of_result(result),
        memory=memory,
        utilisation=utilisation.utilisations(stalls, end_ns),
    )
    stalls.unlink()
    return run


def attend(process: subprocess.Popen[bytes]) -> tuple[bytes, Memory | None]:
    """Wait for the peer's line, look at its memory, let it go. No memory where it ended without a line."""
    if process.stdin is None or process.stdout is None:
        raise ValueError("the process has no pipes")
    watch = MemoryWatch(process.pid)
    watch.start()
    deadline = threading.Timer(TIMEOUT_S, process.kill)
    deadline.start()
    line = process.stdout.readline()
    deadline.cancel()
    memory = watch.finish() if line else None
    process.stdin.close()
    process.wait()
    return line, memory
