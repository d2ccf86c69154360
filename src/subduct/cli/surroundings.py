"""What /proc and /sys say about where this process runs: container, filters, rights, limits, swap."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

# From linux/capability.h: those that open a door for userfaultfd, locked memory or other processes' memory.
_CAPABILITIES = {14: "CAP_IPC_LOCK", 19: "CAP_SYS_PTRACE", 21: "CAP_SYS_ADMIN", 24: "CAP_SYS_RESOURCE"}
_ENGINES = ("docker", "kubepods", "containerd", "libpod", "lxc", "garden", "machine.slice")
# gVisor says to be one build of Linux, made on this day, whatever it runs on.
_GVISOR = re.compile(r"gvisor|#1 SMP Sun Jan 10 15:06:54 PST 2016", re.IGNORECASE)
# The first version of control groups says "no limit" with a huge number.
_NO_LIMIT = 1 << 62


@dataclass(frozen=True, slots=True)
class ControlGroup:
    """A control group that limits this process's memory; sizes in bytes, None for no limit or not known."""

    path: str
    limit_bytes: int | None
    throttle_bytes: int | None
    swap_bytes: int | None
    used_bytes: int | None


@dataclass(frozen=True, slots=True)
class Device:
    """`/dev/userfaultfd`: its mode, and whether this process may open it to read and write."""

    mode: str
    openable: bool


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Everything that reading finds out; what could not be read is None."""

    #: The engine of the container this runs in, as far as traces of one can be seen.
    container: str | None
    #: Whether gVisor answers the system calls instead of Linux.
    gvisor: bool
    #: 0 without a filter for system calls, 1 for strict mode, 2 for filters.
    seccomp: int | None
    seccomp_filters: int | None
    user: int
    #: Names of the effective capabilities that matter here.
    capabilities: tuple[str, ...]
    unprivileged_userfaultfd: int | None
    memfd_noexec: int | None
    device: Device | None
    #: The group with the lowest limit among this process's and those above it; None where none has a limit.
    control_group: ControlGroup | None
    huge_pages: str | None
    shared_huge_pages: str | None
    swap_bytes: int | None
    swap_free_bytes: int | None
    swappiness: int | None
    #: What of this process is locked into memory, in bytes.
    locked_bytes: int | None

    @classmethod
    def read(cls, root: Path = Path("/")) -> Surroundings:
        """Reads them below `root`, which a test may have made up. Never fails: what is not there is None."""
        status = _fields(root / "proc/self/status")
        memory = _fields(root / "proc/meminfo")
        pages = root / "sys/kernel/mm/transparent_hugepage"
        return cls(
            container=_container(root),
            gvisor=_GVISOR.search(_text(root / "proc/version") or "") is not None,
            seccomp=_whole(status.get("Seccomp")),
            seccomp_filters=_whole(status.get("Seccomp_filters")),
            user=os.geteuid(),
            capabilities=_capabilities(status.get("CapEff")),
            unprivileged_userfaultfd=_whole(_text(root / "proc/sys/vm/unprivileged_userfaultfd")),
            memfd_noexec=_whole(_text(root / "proc/sys/vm/memfd_noexec")),
            device=_device(root / "dev/userfaultfd"),
            control_group=_control_group(root),
            huge_pages=_chosen(pages / "enabled"),
            shared_huge_pages=_chosen(pages / "shmem_enabled"),
            swap_bytes=_kib(memory.get("SwapTotal")),
            swap_free_bytes=_kib(memory.get("SwapFree")),
            swappiness=_whole(_text(root / "proc/sys/vm/swappiness")),
            locked_bytes=_kib(status.get("VmLck")),
        )


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None


def _fields(path: Path) -> dict[str, str]:
    """The lines "name: value" of a file."""
    lines = (line.partition(":") for line in (_text(path) or "").splitlines())
    return {name: value.strip() for name, _, value in lines}


def _whole(text: str | None) -> int | None:
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


def _kib(text: str | None) -> int | None:
    number = _whole(text.split()[0]) if text else None
    return None if number is None else number << 10


def _chosen(path: Path) -> str | None:
    """The word in brackets of a file that lists choices."""
    found = re.search(r"\[(\w+)\]", _text(path) or "")
    return found[1] if found else None


def _capabilities(mask: str | None) -> tuple[str, ...]:
    bits = int(mask, 16) if mask else 0
    return tuple(name for bit, name in _CAPABILITIES.items() if bits >> bit & 1)


def _container(root: Path) -> str | None:
    if (root / "run/.containerenv").exists():
        return "podman"
    # What an engine tells the first process, systemd hands down in a file.
    named = _text(root / "run/systemd/container")
    if named:
        return named
    groups = " ".join(filter(None, (_text(root / "proc/1/cgroup"), _text(root / "proc/self/cgroup"))))
    engine = next((engine for engine in _ENGINES if engine in groups), None)
    if engine is not None:
        return engine
    if (root / ".dockerenv").exists():
        return "docker"
    environment = _text(root / "proc/1/environ") or ""
    told = re.search(r"(?:^|\0)container=([\w-]+)", environment)
    return told[1] if told else None


def _device(path: Path) -> Device | None:
    try:
        mode = path.stat().st_mode
    except OSError:
        return None
    return Device(stat.filemode(mode), os.access(path, os.R_OK | os.W_OK, effective_ids=True))


def _control_group(root: Path) -> ControlGroup | None:
    """The group with the lowest memory limit. Inside a container a group's path may lie outside of what is mounted: then
    the mount itself is the group."""
    found = []
    for line in (_text(root / "proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            found += _groups(
                root / "sys/fs/cgroup", path, ("memory.max", "memory.high", "memory.swap.max", "memory.current")
            )
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "", "", "memory.usage_in_bytes")
            found += _groups(root / "sys/fs/cgroup/memory", path, names)
    limited = [group for group in found if group.limit_bytes is not None or group.throttle_bytes is not None]
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
    number = _whole(_text(folder / name)) if name else None
    return None if number is None or number >= _NO_LIMIT else number
