"""Watch the test process through /proc, and run small programs in a process of their own."""

import gc
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

BLOCK_BYTES = 512  # the unit of st_blocks, whatever the file system's own


def open_descriptors() -> dict[int, str]:
    """Open file descriptors and what they lead to."""
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found[int(entry.name)] = str(entry.readlink())
        except FileNotFoundError:
            continue  # the descriptor that listed the folder
    return found


def heap_descriptors() -> set[int]:
    """Descriptors of the memfds that heaps live in."""
    return {number for number, target in open_descriptors().items() if target.startswith("/memfd:")}


def resident_bytes(descriptors: set[int]) -> int:
    """What the files behind the descriptors occupy, as the kernel counts it."""
    return sum(os.fstat(number).st_blocks * BLOCK_BYTES for number in descriptors)


@dataclass(frozen=True)
class Footprint:
    """What a process holds of the kernel's things."""

    mappings: int
    descriptors: int
    threads: int

    @classmethod
    def now(cls) -> "Footprint":
        """Count them for this process, without heaps that are garbage already: tests that failed or raised leave some."""
        gc.collect()
        return cls(
            mappings=len(Path("/proc/self/maps").read_text().splitlines()),
            descriptors=len(open_descriptors()),
            threads=len(list(Path("/proc/self/task").iterdir())),
        )


def run_program(
    source: str, *arguments: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Python source in a fresh interpreter; a test that needs longer than two minutes there is stuck."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **(environment or {})},
    )
