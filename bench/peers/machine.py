"""On what and when something was measured."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from peers.memory import fields


@dataclass(frozen=True)
class Machine:
    """The machine, its load before anything ran, and the date."""

    date: str
    processor: str
    cores: int
    memory_bytes: int
    kernel: str
    load: float

    @classmethod
    def here(cls) -> Machine:
        """This one, now."""
        information = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.partition(":")[2].strip() for line in information if line.startswith("model name")]
        return cls(
            date=datetime.now(UTC).strftime("%Y-%m-%d"),
            processor=names[0] if names else platform.machine(),
            cores=len(os.sched_getaffinity(0)),
            memory_bytes=fields(Path("/proc/meminfo").read_text())["MemTotal"],
            kernel=platform.release(),
            load=os.getloadavg()[0],
        )

    def line(self) -> str:
        """One line about it."""
        memory_gib = self.memory_bytes / 2**30
        return (
            f"{self.date}, {self.processor}, {self.cores} cores, {memory_gib:.0f} GiB, Linux {self.kernel},"
            f" load {self.load:.1f} at the start"
        )
