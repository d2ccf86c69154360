"""Control groups with a limit on memory, below one that this process may use so."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Version 1 has a hierarchy for memory, version 2 one for all. The second file of each limits swap, where there is any.
_LIMITS = {
    "memory.limit_in_bytes": "memory.memsw.limit_in_bytes",
    "memory.max": "memory.swap.max",
}
_MOUNTS = {"memory": (Path("/sys/fs/cgroup/memory"),), "": (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))}


def delegated_group() -> Path | None:
    """This process's own group, if whoever manages it gave it away: to its user, or by the mark that systemd sets.

    Any other group belongs to its manager, which may count on what is in it (systemd.io/CGROUP_DELEGATION).
    """
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for name in set(controllers.split(",")) & set(_MOUNTS):
            for mount in _MOUNTS[name]:
                group = mount / path.lstrip("/")
                if group.is_dir() and _is_delegated(group):
                    return group
    return None


def _is_delegated(group: Path) -> bool:
    if os.geteuid() != 0 and group.stat().st_uid == os.geteuid():
        return True
    for mark in ("trusted.delegate", "user.delegate"):
        try:
            if os.getxattr(group, mark) == b"1":
                return True
        except OSError:
            continue
    return False


@contextmanager
def limited_group(parent: Path | None, limit_bytes: int) -> Iterator[Path | None]:
    """A group below another; yields the file that takes its processes, or None without a parent.

    Raises OSError if there can be no such group.
    """
    if parent is None:
        yield None
        return
    group = parent / f"subduct-torture-{os.getpid()}"
    group.mkdir()
    try:
        _limit(group, limit_bytes)
        yield group / "cgroup.procs"
    finally:
        _remove(group)


def _limit(group: Path, limit_bytes: int) -> None:
    for memory, swap in _LIMITS.items():
        if (group / memory).exists():
            (group / memory).write_text(str(limit_bytes))
            if (group / swap).exists():
                # Version 1 limits the sum of both, version 2 swap alone.
                (group / swap).write_text(str(limit_bytes if "memsw" in swap else 0))
            return
    raise OSError(f"{group.parent} has no controller for memory that its groups can use")


def _remove(group: Path) -> None:
    # Its last process may be on its way out still.
    for _ in range(100):
        try:
            group.rmdir()
        except OSError:
            time.sleep(0.05)
        else:
            return
    group.rmdir()
