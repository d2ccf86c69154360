"""What the heaps of a test run did through userfaultfd, so that a run that went around it cannot pass for one."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from subduct import Stats


@dataclass
class Evidence:
    """Sums over all heaps with delivery `sigbus` that a test run recorded."""

    heaps: int = 0
    heaps_with_faults: int = 0
    cycles_moved: int = 0
    faults_served: int = 0
    pages_installed: int = 0

    def record(self, stats: Stats) -> None:
        """Add the figures of one heap, taken just before it is closed."""
        if stats.delivery != "sigbus":
            return
        self.heaps += 1
        self.heaps_with_faults += stats.faults > 0
        self.cycles_moved += stats.moves
        self.faults_served += stats.faults
        self.pages_installed += stats.pages_installed

    def write(self, path: Path) -> None:
        """Leave the sums for check_userfaultfd.py."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")

    def line(self) -> str:
        """One line for the end of a test run."""
        return (
            f"userfaultfd: {self.cycles_moved} cycles moved, {self.faults_served} faults served "
            f"({self.heaps} heaps with delivery sigbus, {self.heaps_with_faults} of them saw faults)"
        )


EVIDENCE = Evidence()
