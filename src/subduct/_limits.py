"""How much memory this process may use: that of the machine, and what its control groups allow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/")

# The first version of control groups says "no limit" with a huge number.
_NO_LIMIT = 1 << 62
_MIB, _GIB = 1 << 20, 1 << 30
# From so many on.
_SHOWN_AS_GIB = 10


@dataclass(frozen=True, slots=True)
class ControlGroup:
    """A control group that limits this process's memory; sizes in bytes, None for no limit or not known."""

    path: str
    limit_bytes: int | None
    throttle_bytes: int | None
    swap_bytes: int | None
    used_bytes: int | None


def exceeded(budget_bytes: int, root: Path | None = None) -> str | None:
    """What a budget is more than, and what to do about it; None where memory suffices, or nothing says how much there is.

    Reads a few files below `root`: less than a millisecond.
    """
    root = ROOT if root is None else root
    allowed = [group for group in control_groups(root) if group.limit_bytes is not None]
    lowest = min(allowed, key=lambda group: group.limit_bytes or 0, default=None)
    machine = kib(read_fields(root / "proc/meminfo").get("MemTotal"))
    if lowest is not None and lowest.limit_bytes is not None and budget_bytes > lowest.limit_bytes:
        limit = f"the {_shown(lowest.limit_bytes)} that its control group ({lowest.path}) allows"
        remedy = "raise the limit (Docker: --memory; Kubernetes: resources.limits.memory; systemd: MemoryMax=)"
    elif machine is not None and budget_bytes > machine:
        limit, remedy = f"the {_shown(machine)} of memory that this machine has", "use a machine with more memory"
    else:
        return None
    return (
        f"a budget of {_shown(budget_bytes)} is more than {limit}: the kernel swaps, or ends the process, once that is used up, "
        f"before the heap says that it is full; make the budget smaller, with room for the rest of the process, or {remedy}"
    )


def _shown(size: int) -> str:
    return f"{size / _GIB:,.1f} GiB" if size >= _SHOWN_AS_GIB * _GIB else f"{size / _MIB:,.0f} MiB"


def control_groups(root: Path) -> list[ControlGroup]:
    """The groups of this process and those above them, of both versions. Inside a container a group's path may lie outside of what is
    mounted: then the mount itself is the group."""
    found: list[ControlGroup] = []
    for line in (read(root / "proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            found += _groups(
                root / "sys/fs/cgroup", path, ("memory.max", "memory.high", "memory.swap.max", "memory.current")
            )
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "", "", "memory.usage_in_bytes")
            found += _groups(root / "sys/fs/cgroup/memory", path, names)
    return found


def control_group(root: Path) -> ControlGroup | None:
    """The group with the lowest limit or throttle; None where no group has either."""
    limited = [
        group for group in control_groups(root) if group.limit_bytes is not None or group.throttle_bytes is not None
    ]
    return min(
        limited, key=lambda group: min(filter(None, (group.limit_bytes, group.throttle_bytes)), default=0), default=None
    )


def _groups(mount: Path, path: str, names: tuple[str, str, str, str]) -> list[ControlGroup]:
    """A group and those above it, by the names of their limit, throttle, swap and usage files."""
    relative = Path(path.lstrip("/"))
    folders = [mount / part for part in (relative, *relative.parents)]
    return [
        ControlGroup(str(folder.relative_to(mount)), *(_limit(folder, name) for name in names)) for folder in folders
    ]


def _limit(folder: Path, name: str) -> int | None:
    number = whole(read(folder / name)) if name else None
    return None if number is None or number >= _NO_LIMIT else number


def read(path: Path) -> str | None:
    """The text of a file without the white space around it; None where it cannot be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None


def read_fields(path: Path) -> dict[str, str]:
    """The lines "name: value" of a file."""
    lines = (line.partition(":") for line in (read(path) or "").splitlines())
    return {name: value.strip() for name, _, value in lines}


def whole(text: str | None) -> int | None:
    """The number that the text is, if it is one."""
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


def kib(text: str | None) -> int | None:
    """Bytes of a figure such as "4096 kB"."""
    number = whole(text.split()[0]) if text else None
    return None if number is None else number << 10
