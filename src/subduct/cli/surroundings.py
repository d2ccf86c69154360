"""What /proc and /sys say about where this process runs: container, filters, rights, limits, swap."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from subduct._limits import ControlGroup, control_group, kib, read, read_fields, whole

# From linux/capability.h: those that open a door for userfaultfd, locked memory or other processes' memory.
_CAPABILITIES = {14: "CAP_IPC_LOCK", 19: "CAP_SYS_PTRACE", 21: "CAP_SYS_ADMIN", 24: "CAP_SYS_RESOURCE"}
_ENGINES = ("docker", "kubepods", "containerd", "libpod", "lxc", "garden", "machine.slice")
# gVisor says to be one build of Linux, made on this day, whatever it runs on.
_GVISOR = re.compile(r"gvisor|#1 SMP Sun Jan 10 15:06:54 PST 2016", re.IGNORECASE)

_GROUPS = "sys/fs/cgroup"
# What is to be seen in a folder that the kernel shows something in.
_SIGNS = {"proc": "self", "proc/sys": "vm", "sys": "kernel", _GROUPS: "*"}


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
    capabilities: tuple[str, ...] | None
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
    #: Which of /proc, /proc/sys, /sys and /sys/fs/cgroup are not mounted, or not shown: what they would tell is not known.
    unmounted: tuple[str, ...]

    def hides(self, *folders: str) -> str | None:
        """Why nothing is known that these folders would tell; None where all of them can be read."""
        hidden = [folder for folder in folders if folder in self.unmounted]
        return f"{hidden[0]} is not mounted" if hidden else None

    @classmethod
    def read(cls, root: Path = Path("/")) -> Surroundings:
        """Reads them below `root`, which a test may have made up. Never fails: what is not there is None."""
        status = read_fields(root / "proc/self/status")
        memory = read_fields(root / "proc/meminfo")
        pages = root / "sys/kernel/mm/transparent_hugepage"
        return cls(
            container=_container(root),
            gvisor=_GVISOR.search(read(root / "proc/version") or "") is not None,
            seccomp=whole(status.get("Seccomp")),
            seccomp_filters=whole(status.get("Seccomp_filters")),
            user=os.geteuid(),
            capabilities=_capabilities(status.get("CapEff")),
            unprivileged_userfaultfd=whole(read(root / "proc/sys/vm/unprivileged_userfaultfd")),
            memfd_noexec=whole(read(root / "proc/sys/vm/memfd_noexec")),
            device=_device(root / "dev/userfaultfd"),
            control_group=control_group(root),
            huge_pages=_chosen(pages / "enabled"),
            shared_huge_pages=_chosen(pages / "shmem_enabled"),
            swap_bytes=kib(memory.get("SwapTotal")),
            swap_free_bytes=kib(memory.get("SwapFree")),
            swappiness=whole(read(root / "proc/sys/vm/swappiness")),
            locked_bytes=kib(status.get("VmLck")),
            unmounted=tuple(f"/{folder}" for folder, sign in _SIGNS.items() if not _shows(root, folder, sign)),
        )


def _shows(root: Path, folder: str, sign: str) -> bool:
    if folder == _GROUPS and not read(root / "proc/self/cgroup"):
        # A kernel without control groups mounts none.
        return True
    try:
        return any((root / folder).glob(sign))
    except OSError:
        return False


def _chosen(path: Path) -> str | None:
    """The word in brackets of a file that lists choices."""
    found = re.search(r"\[(\w+)\]", read(path) or "")
    return found[1] if found else None


def _capabilities(mask: str | None) -> tuple[str, ...] | None:
    if not mask:
        return None
    bits = int(mask, 16)
    return tuple(name for bit, name in _CAPABILITIES.items() if bits >> bit & 1)


def _container(root: Path) -> str | None:
    if (root / "run/.containerenv").exists():
        return "podman"
    # What an engine tells the first process, systemd hands down in a file.
    named = read(root / "run/systemd/container")
    if named:
        return named
    groups = " ".join(filter(None, (read(root / "proc/1/cgroup"), read(root / "proc/self/cgroup"))))
    engine = next((engine for engine in _ENGINES if engine in groups), None)
    if engine is not None:
        return engine
    if (root / ".dockerenv").exists():
        return "docker"
    environment = read(root / "proc/1/environ") or ""
    told = re.search(r"(?:^|\0)container=([\w-]+)", environment)
    return told[1] if told else None


def _device(path: Path) -> Device | None:
    try:
        mode = path.stat().st_mode
    except OSError:
        return None
    return Device(stat.filemode(mode), os.access(path, os.R_OK | os.W_OK, effective_ids=True))
