"""Boot one kernel on the host's file system and have it run the checks."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kernels.failure import KernelsError

if TYPE_CHECKING:
    from kernels.archive import Kernel

_MEMORY = "3G"
_CPUS = 2
# All the guest's own time limits together, with the boot.
_TIMEOUT_S = 7_200
_POLL_S = 1.0
# The kernel patches its code while it runs, by way of a breakpoint that other processors may meet. Where the emulator shows
# one of them the breakpoint too late, the kernel finds no patch that belongs to it, and dies of the emulator's fault.
_EMULATOR_FAULT = re.compile(rb"\bint3: 0000 \[#1\]")
_STARTS_MAX = 3


@dataclass(frozen=True, slots=True)
class Guest:
    """How to boot: virtme-ng's programs, the repository, and the environment's interpreter in it."""

    programs: Path
    repository: Path
    python: Path

    def run(self, kernel: Kernel, results: Path, options: list[str]) -> int:
        """Boots the kernel, which writes its results into a folder and stops. The console's text stays beside them.

        Starts over when the emulator broke the kernel, and returns how many starts it took. Raises KernelsError when the
        guest did not come up.
        """
        for start in range(1, _STARTS_MAX + 1):
            self._start(kernel, results, options)
            if not is_emulator_fault((results / "console.log").read_bytes()):
                break
            print(f"  start {start} of at most {_STARTS_MAX}: the emulator broke the kernel (int3)", flush=True)
        if not (results / "boot.json").exists():
            raise KernelsError(f"Linux {kernel.release} did not come up: see {results / 'console.log'}")
        return start

    def _start(self, kernel: Kernel, results: Path, options: list[str]) -> None:
        shutil.rmtree(results, ignore_errors=True)
        results.mkdir(parents=True)
        checks = Path(__file__).with_name("guest.py")
        command = shlex.join([str(self.python), "-B", str(checks), str(results), *options])
        started = time.monotonic()
        with (results / "console.log").open("wb") as console:
            process = subprocess.Popen(
                self._command(kernel, results, command),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                env=self._environment(results),
                start_new_session=True,
            )
            try:
                _wait(process, results, started)
            finally:
                _end(process)

    def _command(self, kernel: Kernel, results: Path, command: str) -> list[str]:
        return [
            str(self.programs / "vng"),
            *("--run", str(kernel.image)),
            *("--disable-kvm", "--disable-microvm", "--force-9p", "--verbose"),
            *("--user", "root", "--cpus", str(_CPUS), "--memory", _MEMORY),
            *("--cwd", str(self.repository), "--rwdir", str(results)),
            *("--exec", command),
        ]

    def _environment(self, results: Path) -> dict[str, str]:
        # virtme-ng keeps settings at home, and modprobe is not on an ordinary user's search path.
        path = f"{self.programs}:{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
        return {**os.environ, "PATH": path, "HOME": str(results)}


def is_emulator_fault(console: bytes) -> bool:
    """Whether a guest's console shows that its kernel died of what the emulator did to it, and not of what was run on it."""
    return _EMULATOR_FAULT.search(console) is not None


def _wait(process: subprocess.Popen[bytes], results: Path, started: float) -> None:
    """Waits for the guest to stop, and tells of each result as it comes."""
    told: set[Path] = set()
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_POLL_S)
        for path in sorted(set(results.glob("*.json")) - told):
            told.add(path)
            print(f"  {time.monotonic() - started:6.0f} s  {path.stem}", flush=True)
        if process.returncode is not None:
            return
        if time.monotonic() - started > _TIMEOUT_S:
            print(f"  stopped after {_TIMEOUT_S} s", file=sys.stderr, flush=True)
            return


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the emulator and its helpers, which are alone in their session."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
