"""What the heaps of a test run did through each delivery, so that a run that went around one cannot pass for it."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from subduct import Stats


@dataclass
class Evidence:
    """Sums over all heaps of one delivery that a test run recorded."""

    heaps: int = 0
    cycles_moved: int = 0
    faults_served: int = 0
    pages_ready: int = 0

    def add(self, stats: Stats) -> None:
        """Add the figures of one heap."""
        self.heaps += 1
        self.cycles_moved += stats.moves
        self.faults_served += stats.faults
        self.pages_ready += stats.pages_fixed + stats.pages_built + stats.pages_installed


@dataclass
class Run:
    """The sums of a test run, by delivery."""

    by_delivery: dict[str, Evidence] = field(default_factory=dict)

    def record(self, stats: Stats) -> None:
        """Add the figures of one heap, taken just before it is closed."""
        self.by_delivery.setdefault(stats.delivery, Evidence()).add(stats)

    def cycles_moved(self, delivery: str) -> int:
        """Cycles that moved objects so far."""
        return self.by_delivery.get(delivery, Evidence()).cycles_moved

    def sums(self) -> dict[str, dict[str, int]]:
        """All sums, as one process hands them to another."""
        return {delivery: asdict(evidence) for delivery, evidence in self.by_delivery.items()}

    def merge(self, sums: dict[str, dict[str, int]]) -> None:
        """Add what another process recorded."""
        for delivery, others in sums.items():
            mine = self.by_delivery.setdefault(delivery, Evidence())
            for name, value in others.items():
                setattr(mine, name, getattr(mine, name) + value)

    def write(self, path: Path) -> None:
        """Leave the sums for check_userfaultfd.py."""
        path.write_text(json.dumps(self.sums(), indent=2) + "\n")

    def lines(self) -> list[str]:
        """A line for each delivery, for the end of a test run."""
        return [
            f"{delivery}: {sums.cycles_moved} cycles moved, {sums.faults_served} faults served, "
            f"{sums.pages_ready} pages made ready ({sums.heaps} heaps)"
            for delivery, sums in sorted(self.by_delivery.items())
        ]


EVIDENCE = Run()
