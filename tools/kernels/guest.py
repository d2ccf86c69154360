"""Run the checks on the kernel that runs, here or in a guest, and write what each found as JSON into a folder.

    python guest.py FOLDER [--sequences N] [--seconds N] [--check NAME ...] [--port NAME]

Each check is a process of its own with a time limit; its whole output stays in FOLDER/NAME.log. A guest is an emulated
machine, tens of times slower than this one, which may be busy besides: the limits only end what hangs. With a virtio port, the
differential test only has its calls made here, for whoever compares at the port's other end and writes the result.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

#: The file that says that calls can be asked for at the port.
READY = "differential.ready"

_HERE = Path(__file__).parent
_PACKAGE = [sys.executable, "-B", "-m", "subduct"]
_TEST_RESULT = re.compile(r"^(?P<not>not )?ok\b(?P<text>[^#\n]*)(?:#\s*(?P<directive>skip|todo)\b)?", re.IGNORECASE)


@dataclass
class Outcome:
    """What a check found: figures of its own, and None for `problem` when it ran to its end."""

    name: str
    figures: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None
    exit_code: int | None = None
    seconds: float = 0.0

    def write(self, folder: Path) -> None:
        """Writes it in one step, so that nobody reads half of it."""
        path = folder / f"{self.name}.json"
        path.with_suffix(".new").write_text(json.dumps(asdict(self), indent=2))
        path.with_suffix(".new").rename(path)


def tap_figures(output: str) -> dict[str, Any]:
    """Counts the results of a TAP 13 stream: passed, failed, skipped, todo, and the names of those that failed."""
    counts: dict[str, Any] = {"passed": 0, "failed": 0, "skipped": 0, "todo": 0, "failures": []}
    for line in output.splitlines():
        result = _TEST_RESULT.match(line)
        if result is None:
            continue
        directive = (result["directive"] or "").lower()
        if directive:
            counts["skipped" if directive == "skip" else "todo"] += 1
        elif result["not"]:
            counts["failed"] += 1
            counts["failures"].append(re.sub(r"^\s*\d+\s*(?:-\s*)?", "", result["text"]).strip())
        else:
            counts["passed"] += 1
    planned = re.search(r"^1\.\.(\d+)", output, re.MULTILINE)
    counts["planned"] = int(planned[1]) if planned else None
    return counts


def doctor_figures(output: str) -> dict[str, Any]:
    """The delivery that the doctor names, and what it says is missing."""
    found = json.loads(output)
    return {
        "delivery": found["delivery"],
        "runs": found["runs"],
        "missing": [check["name"] for check in found["checks"] if check["status"] == "missing"],
    }


def run_figures(output: str) -> dict[str, Any]:
    """The figures of a heap run that the table shows or that are judged."""
    report = json.loads(output)
    names = ("delivery", "cycles", "moves", "operations", "faults", "verified", "mismatches", "sample_compared")
    return {name: report[name] for name in names} | {"pause_us": report["pause_us"]}


def differential_figures(output: str) -> dict[str, Any]:
    """What the differential test compared; `difference` is the first one that it found, after which it stops."""
    found = json.loads(output)
    return {name: found[name] for name in ("rules", "sequences", "calls", "difference", "seed")}


@dataclass(frozen=True)
class Check:
    """A command, how to read what it prints, and how long it may take."""

    name: str
    command: list[str]
    figures: Callable[[str], dict[str, Any]]
    timeout_s: float

    def run(self, folder: Path) -> Outcome:
        """Runs it; what it printed stays in the folder."""
        outcome = Outcome(self.name)
        log = folder / f"{self.name}.log"
        started = time.monotonic()
        try:
            with log.with_suffix(".err").open("wb") as errors:
                done = subprocess.run(
                    self.command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    timeout=self.timeout_s,
                    check=False,
                    cwd="/",
                    # The guest's root is read-only but for a few folders.
                    env={**os.environ, "HOME": "/tmp", "PYTHONDONTWRITEBYTECODE": "1"},
                )
            outcome.exit_code = done.returncode
            log.write_bytes(done.stdout)
            outcome.figures = self.figures(done.stdout.decode())
        except subprocess.TimeoutExpired as expired:
            log.write_bytes(expired.stdout or b"")
            outcome.problem = f"did not end within {self.timeout_s:.0f} s"
        except (ValueError, KeyError, TypeError) as error:
            outcome.problem = f"printed something unexpected ({error!r}), exit code {outcome.exit_code}"
        outcome.seconds = time.monotonic() - started
        return outcome


def checks(sequences: int, seconds: float, socket: Path | None = None) -> list[Check]:
    """All checks, the quickest first; with a socket, the differential test asks the kernel of the machine at its other end."""
    differential = [sys.executable, "-B", "-m", "subduct.model.differential", "--sequences", str(sequences), "--json"]
    differential += [] if socket is None else ["--connect", str(socket)]
    run = [*_PACKAGE, "run", "--seconds", str(seconds), "--limit", "50", "--budget", "256MiB", "--json"]
    return [
        Check("probes", [sys.executable, "-B", str(_HERE / "probes.py")], json.loads, 300),
        Check("doctor", [*_PACKAGE, "doctor", "--json"], doctor_figures, 600),
        Check("run", run, run_figures, 1_200 + 10 * seconds),
        Check("selftest", [*_PACKAGE, "selftest", "--timeout", "600"], tap_figures, 2_400),
        Check("differential", differential, differential_figures, 600 + 2 * sequences),
    ]


def answer(folder: Path, name: str, timeout_s: float) -> None:
    """Makes the calls that a comparison at the other end of a virtio port asks for, until it ends. Raises RuntimeError where this
    guest has no port of the name."""
    ports = Path("/sys/class/virtio-ports").glob("*/name")
    found = next((path.parent.name for path in ports if path.read_text().strip() == name), None)
    if found is None:
        raise RuntimeError(f"this guest has no virtio port with the name {name}")
    (folder / READY).touch()
    with open(f"/dev/{found}", "r+b", buffering=0) as port:  # noqa: PTH123 - a device
        command = [sys.executable, "-B", "-m", "subduct.model.differential.kernel_side"]
        subprocess.run(command, stdin=port, stdout=port, timeout=timeout_s, check=True, cwd="/")


def main() -> None:
    """Runs all checks."""
    parser = argparse.ArgumentParser(description="Run the checks on the kernel that runs.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sequences", type=int, default=100, help="of the differential test (default: 100)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of the heap run (default: 5)")
    parser.add_argument("--port", help="the name of the virtio port at whose other end the differential test is made")
    parser.add_argument("--check", action="append", help="this one only; may be repeated")
    arguments = parser.parse_args()
    up_s = float(Path("/proc/uptime").read_text().split()[0])
    boot = {
        "release": platform.release(),
        "version": platform.version(),
        "python": platform.python_version(),
        "up_s": up_s,
    }
    Outcome("boot", boot, exit_code=0, seconds=up_s).write(arguments.folder)
    for check in checks(arguments.sequences, arguments.seconds):
        if arguments.check is not None and check.name not in arguments.check:
            continue
        if check.name == "differential" and arguments.port is not None:
            answer(arguments.folder, arguments.port, check.timeout_s)
        else:
            check.run(arguments.folder).write(arguments.folder)


if __name__ == "__main__":
    main()
