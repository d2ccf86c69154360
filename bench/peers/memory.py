"""How much memory a process has, with nothing counted twice."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from pathlib import Path

#: Between two looks, in seconds: rare enough to leave the peers the processor.
INTERVAL_S = 0.1

_FIELD = re.compile(r"^(\w+):\s+(\d+) kB$", re.MULTILINE)


def fields(text: str) -> dict[str, int]:
    """The sizes in a file such as /proc/self/status, in bytes."""
    return {name: int(size) * 1024 for name, size in _FIELD.findall(text)}


def shared_files(pid: int) -> int:
    """Bytes that the process's memfds hold: memory that it may map several times."""
    files: dict[tuple[int, int], int] = {}
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if str(link.readlink()).startswith("/memfd:"):
                status = link.stat()
                files[status.st_dev, status.st_ino] = status.st_blocks * 512
        except FileNotFoundError:
            continue
    return sum(files.values())


@dataclass(frozen=True)
class Memory:
    """Of one process, in bytes: the most that was seen resident, every page counted once; the kernel's own high-water mark, in which
    each mapping of a page counts; the proportional size at the end."""

    peak_bytes: int
    high_water_bytes: int
    final_pss_bytes: int


class MemoryWatch(threading.Thread):
    """Looks at a process from outside until told to stop."""

    def __init__(self, pid: int) -> None:
        super().__init__(name="memory", daemon=True)
        self._pid = pid
        self._stop_now = threading.Event()
        self._peak_bytes = 0
        self._has_shared_files = False

    def run(self) -> None:
        """Look, wait, look again."""
        while True:
            try:
                self.look()
            except (FileNotFoundError, ProcessLookupError):
                return
            if self._stop_now.wait(INTERVAL_S):
                return

    def look(self) -> None:
        """Look once. Raises FileNotFoundError or ProcessLookupError when the process is gone."""
        status = fields(Path(f"/proc/{self._pid}/status").read_text())
        shared_bytes = shared_files(self._pid)
        self._has_shared_files |= shared_bytes > 0
        resident_bytes = status.get("RssAnon", 0) + status.get("RssFile", 0) + shared_bytes
        self._peak_bytes = max(self._peak_bytes, resident_bytes)

    def finish(self) -> Memory:
        """Stop looking; the process still runs."""
        self._stop_now.set()
        self.join()
        self.look()
        high_water_bytes = fields(Path(f"/proc/{self._pid}/status").read_text())["VmHWM"]
        final_pss_bytes = fields(Path(f"/proc/{self._pid}/smaps_rollup").read_text())["Pss"]
        # Without shared files the kernel's mark is exact, where looking now and then could miss a short peak.
        peak_bytes = self._peak_bytes if self._has_shared_files else high_water_bytes
        return Memory(peak_bytes, high_water_bytes, final_pss_bytes)
