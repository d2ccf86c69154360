"""What the host needs: an emulator, a static busybox and virtme-ng."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from kernels.failure import KernelsError

#: Programs and the Debian packages that have them.
_PROGRAMS = {"qemu-system-x86_64": "qemu-system-x86", "depmod": "kmod", "modprobe": "kmod"}
_BUSYBOX = "busybox-static"
# An interpreter path inside the file: the dynamic loader's. The first program of a guest has no libraries to load.
_LOADER = b"/ld-linux"


def ensure_programs() -> None:
    """Installs what is missing with apt when run as root; otherwise raises KernelsError that names the packages."""
    missing = _missing_packages()
    if not missing:
        return
    command = f"apt-get install --no-install-recommends {' '.join(missing)}"
    if os.geteuid() != 0:
        raise KernelsError(f"packages are missing; run as root: {command}")
    print(f"installing {', '.join(missing)}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for step in (["apt-get", "update"], [*command.split(), "--yes"]):
        done = subprocess.run(
            step, capture_output=True, text=True, check=False, env=environment, stdin=subprocess.DEVNULL
        )
        if done.returncode:
            raise KernelsError(f"`{' '.join(step)}` failed: {done.stderr.strip().splitlines()[-1:]}")
    if _missing_packages():
        raise KernelsError(f"still missing after `{command}`: {', '.join(_missing_packages())}")


def _missing_packages() -> list[str]:
    # kmod's programs are not on an ordinary user's search path.
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    missing = {package for program, package in _PROGRAMS.items() if shutil.which(program, path=path) is None}
    busybox = next(filter(None, (shutil.which(name, path=path) for name in ("busybox-static", "busybox"))), None)
    if busybox is None or _LOADER in Path(busybox).read_bytes():
        missing.add(_BUSYBOX)
    return sorted(missing)


def ensure_virtme(folder: Path, requirements: Path) -> Path:
    """The folder with virtme-ng's programs, in an environment of their own at the pinned versions.

    Raises KernelsError when it cannot be installed.
    """
    programs = folder / "bin"
    installed = folder / "installed.txt"
    # Programs of an environment name its folder: one that was moved is none.
    wanted = f"{folder}\n{requirements.read_text()}"
    if (programs / "vng").exists() and installed.exists() and installed.read_text() == wanted:
        return programs
    print("installing virtme-ng", flush=True)
    venv.create(folder, with_pip=True, clear=True)
    command = [str(programs / "python"), "-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(requirements)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise KernelsError(f"virtme-ng could not be installed for {sys.executable}: {done.stderr.strip()}")
    installed.write_text(wanted)
    return programs
