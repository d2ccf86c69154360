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
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kernels.comparison import PORT, Comparison
from kernels.failure import KernelsError
from kernels.trial import PACKAGE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernels.archive import Kernel
    from kernels.trial import Trial

_MEMORY = "3G"
_CPUS = 2
# All the guest's own time limits together, with the boot.
_TIMEOUT_S = 7_200
_POLL_S = 1.0
# The kernel patches its code while it runs, by way of a breakpoint that other processors may meet. Where the emulator shows
# one of them the breakpoint too late, the kernel finds no patch that belongs to it, and dies of the emulator's fault.
_EMULATOR_FAULT = re.compile(rb"\bint3: 0000 \[#1\]")
_STARTS_MAX = 3
# With all the guest's processors in one thread of the emulator, none of them is late; on a busy machine those in threads of their
# own are often.
_ONE_THREAD = "-accel tcg,thread=single"
# The kernel waits some ticks of the timer for its interrupt, and panics without one; on a busy machine the emulator may not get
# the processor for as long.
_TIMER_IS_THERE = "no_timer_check"


@dataclass(frozen=True, slots=True)
class Guest:
    """How to boot: virtme-ng's programs, the repository, and the environment's interpreter in it."""

    programs: Path
    repository: Path
    python: Path

    def run(self, kernel: Kernel, results: Path, trial: Trial, names: Sequence[str] = ()) -> int:
        """Boots the kernel, which writes its results into a folder and stops: of the checks named, or of all. The console's text
        stays beside them.

        Starts over when the emulator broke the kernel, and returns how many starts it took. Raises KernelsError when the
        guest did not come up.
        """
        for start in range(1, _STARTS_MAX + 1):
            self._start(kernel, results, trial, names)
            if not is_emulator_fault((results / "console.log").read_bytes()):
                break
            print(f"  start {start} of at most {_STARTS_MAX}: the emulator broke the kernel (int3)", flush=True)
        if not (results / "boot.json").exists():
            raise KernelsError(f"Linux {kernel.release} did not come up: see {results / 'console.log'}")
        return start

    def _start(self, kernel: Kernel, results: Path, trial: Trial, names: Sequence[str]) -> None:
        shutil.rmtree(results, ignore_errors=True)
        results.mkdir(parents=True)
        options = [*trial.options, "--port", PORT, *(part for name in names for part in ("--check", name))]
        checks = Path(__file__).with_name("guest.py")
        # The guest imports the very package that this process does, wherever that came from.
        package = f"PYTHONPATH={PACKAGE.parent}"
        command = shlex.join(["env", package, str(self.python), "-B", str(checks), str(results), *options])
        started = time.monotonic()
        # Names of sockets are short.
        with (results / "console.log").open("wb") as console, tempfile.TemporaryDirectory() as sockets:
            comparison = Comparison(Path(sockets) / "port", results, trial.sequences)
            process = subprocess.Popen(
                self._command(kernel, results, command, comparison.emulator_options),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                env=self._environment(results),
                start_new_session=True,
            )
            try:
                _wait(process, results, started, comparison)
            finally:
                _end(process)
                comparison.end()

    def _command(self, kernel: Kernel, results: Path, command: str, emulator_options: str) -> list[str]:
        return [
            str(self.programs / "vng"),
            *("--run", str(kernel.image)),
            *("--disable-kvm", "--disable-microvm", "--force-9p", "--verbose"),
            *("--user", "root", "--cpus", str(_CPUS), "--memory", _MEMORY),
            *("--append", _TIMER_IS_THERE),
            *("--cwd", str(self.repository), "--rwdir", str(results)),
            f"--qemu-opts={_ONE_THREAD} {emulator_options}",
            *("--exec", command),
        ]

    def _environment(self, results: Path) -> dict[str, str]:
        # virtme-ng keeps settings at home, and modprobe is not on an ordinary user's search path.
        path = f"{self.programs}:{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
        return {**os.environ, "PATH": path, "HOME": str(results)}


def is_emulator_fault(console: bytes) -> bool:
    """Whether a guest's console shows that its kernel died of what the emulator did to it, and not of what was run on it."""
    return _EMULATOR_FAULT.search(console) is not None


def _wait(process: subprocess.Popen[bytes], results: Path, started: float, comparison: Comparison) -> None:
    """Waits for the guest to stop, compares once it is ready for it, and tells of each result as it comes."""
    told: set[Path] = set()
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_POLL_S)
        comparison.poll()
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
