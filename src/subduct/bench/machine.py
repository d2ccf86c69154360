"""Where and when a benchmark ran."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import subduct

_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Machine:
    """What a figure depends on besides the code. `load` is the machine's average over the minute before the run: figures of a busy machine
    are figures of a busy machine."""

    date: str
    processor: str
    processors: int
    memory_bytes: int
    page_bytes: int
    kernel: str
    huge_pages: str
    hypervisor: bool
    python: str
    subduct: str
    load: float

    def object(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """As text, for the top of a report."""
        guest = ", virtual" if self.hypervisor else ""
        return [
            f"machine  {self.processor}, {self.processors} processors{guest}, {self.memory_bytes / _GIB:.1f} GiB",
            f"kernel   {self.kernel}, pages of {self.page_bytes} bytes, transparent huge pages: {self.huge_pages}",
            f"python   {self.python}; subduct {self.subduct}",
            f"date     {self.date}; load before the run {self.load:.2f}",
        ]


def this_machine() -> Machine:
    """The machine that this process runs on, now."""
    cpuinfo = _text("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in cpuinfo.splitlines() if line.startswith("model name")]
    pages = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    chosen = _text(pages).partition("[")[2].partition("]")[0]
    return Machine(
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        processor=names[0] if names else platform.machine(),
        processors=len(os.sched_getaffinity(0)),
        memory_bytes=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        page_bytes=os.sysconf("SC_PAGE_SIZE"),
        kernel=f"{platform.system()} {platform.release()} {platform.machine()}",
        huge_pages=chosen or "unknown",
        hypervisor=any(" hypervisor" in line for line in cpuinfo.splitlines() if line.startswith("flags")),
        python=f"{platform.python_implementation()} {platform.python_version()}{_threading()}",
        subduct=subduct.__version__,
        load=os.getloadavg()[0],
    )


def _threading() -> str:
    enabled = getattr(sys, "_is_gil_enabled", None)
    return "" if enabled is None or enabled() else " without the GIL"


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
