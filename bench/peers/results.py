"""The results of a whole measurement, as values that go into a file and come back."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

from peers.machine import Machine
from peers.measure import Workload
from peers.utilisation import WINDOWS_MS

if TYPE_CHECKING:
    from pathlib import Path

    from peers.control import Control
    from peers.measure import Run
    from peers.peer import Peer

#: Percentiles of the operations that are kept.
PERCENTILES = (50.0, 90.0, 99.0, 99.9, 99.99, 99.999)


def figures_of(run: Run) -> dict[str, float]:
    """A run's figures by name; the unit is the name's end."""
    figures = {
        "operations_per_s": run.operations_per_s,
        "fill_s": run.result["fill_ns"] / 1e9,
        "churn_s": run.result["churn_ns"] / 1e9,
        "sleeper_max_ms": run.sleeper.max_ns / 1e6,
        "operation_max_ms": run.operation.max_ns / 1e6,
        "peak_bytes": float(run.memory.peak_bytes),
        "high_water_bytes": float(run.memory.high_water_bytes),
        "final_pss_bytes": float(run.memory.final_pss_bytes),
        "stalls_dropped": float(run.result["stalls_dropped"]),
    }
    for percent in PERCENTILES:
        figures[f"operation_p{percent:g}_us"] = run.operation.percentile_ns(percent) / 1e3
    for window_ms in WINDOWS_MS:
        figures[f"utilisation_{window_ms}_ms"] = run.utilisation[window_ms]
    if run.pauses is not None:
        figures["cycles"] = run.pauses.cycles
        figures["pauses"] = run.pauses.count
        for name in ("p50", "p99", "max"):
            figures[f"pause_{name}_us"] = getattr(run.pauses, f"{name}_us")
    if "heap" in run.result:
        figures["inside_operation_max_ms"] = run.result["heap"]["longest_operation_us"] / 1e3
        figures["inside_wait_max_ms"] = run.result["heap"]["longest_stall_us"] / 1e3
    return figures


@dataclass
class PeerResults:
    """All runs of one peer, or why it has none."""

    key: str
    title: str
    has_gil: bool
    runtime: str = ""
    runs: list[dict[str, float]] = field(default_factory=list)
    error: str = ""

    def add(self, run: Run) -> None:
        """Another run."""
        self.runtime = run.result["runtime"]
        self.runs.append(figures_of(run))

    def values(self, name: str) -> list[float]:
        """A figure's values in all runs, in order of size; none where the peer does not have it."""
        return sorted(run[name] for run in self.runs if name in run)

    def median(self, name: str) -> float:
        """A figure's median. Raises StatisticsError where there is none."""
        return median(self.values(name))


@dataclass
class Results:
    """A whole measurement."""

    machine: Machine
    workload: Workload
    #: What every peer agreed on.
    outcome: tuple[str, ...]
    #: Worst lateness of the sleeper alone, and worst wait of a counting Python thread, in milliseconds, once a round.
    sleeper_alone_max_ms: list[float]
    interpreter_max_ms: list[float]
    peers: list[PeerResults]
    #: Peers that this machine does not have, and why.
    absent: list[str]

    @classmethod
    def begin(cls, workload: Workload, peers: list[Peer], absent: list[str]) -> Results:
        """Without any run yet."""
        results = [PeerResults(peer.key, peer.title, peer.has_gil) for peer in peers]
        return cls(Machine.here(), workload, (), [], [], results, absent)

    def add_control(self, control: Control) -> None:
        """What the machine did by itself before a round."""
        self.sleeper_alone_max_ms.append(control.sleeper.max_ns / 1e6)
        self.interpreter_max_ms.append(control.interpreter.max_ns / 1e6)

    def add(self, peer: Peer, run: Run) -> None:
        """Another run. Raises ValueError where it did not do the same as all before it."""
        if not self.outcome:
            self.outcome = run.outcome
        if run.outcome != self.outcome:
            different = sorted(set(run.outcome) ^ set(self.outcome))
            raise ValueError(f"{peer.title} did not do the same operations as the others: {', '.join(different)}")
        self.of(peer).add(run)

    def of(self, peer: Peer) -> PeerResults:
        """The results of one peer."""
        return next(results for results in self.peers if results.key == peer.key)

    def write(self, path: Path) -> None:
        """Write them as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> Results:
        """Read what `write` wrote."""
        figures: dict[str, Any] = json.loads(path.read_text())
        return cls(
            **figures
            | {
                "machine": Machine(**figures["machine"]),
                "workload": Workload(**figures["workload"]),
                "outcome": tuple(figures["outcome"]),
                "peers": [PeerResults(**peer) for peer in figures["peers"]],
            }
        )
