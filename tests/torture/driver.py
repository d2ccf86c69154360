"""Runs slices, some side by side, and judges them."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

TESTS = Path(__file__).parents[1]
# After its grace a slice ends itself, with its stacks; if not even that works, it is killed so much later.
KILL_S = 60
PROBLEM_LENGTH_MAX = 400


@dataclass(frozen=True)
class Slice:
    """One torment over one delivery."""

    name: str
    delivery: str
    seed: int


@dataclass(frozen=True)
class Result:
    """What became of a slice."""

    slice: Slice
    seconds: float
    done: dict[str, int] = field(default_factory=dict)
    """What was done, if it went well."""
    notes: tuple[str, ...] = ()
    """What could not be done here."""
    said: str = ""
    """What it printed, if it failed."""
    problem: str = ""
    """What went wrong, in one line; empty if nothing did."""


@dataclass(frozen=True)
class Run:
    """How slices are run."""

    slice_s: float
    rounds: int
    jobs: int
    grace_s: float
    group: Path | None
    _running: set[int] = field(default_factory=set)

    def results(self, slices: Sequence[Slice]) -> Iterator[Result]:
        """Runs them all; yields results as they come. What still runs is killed if the caller gives up."""
        with ThreadPoolExecutor(self.jobs) as pool:
            futures = [pool.submit(self.result, each) for each in slices]
            try:
                for future in as_completed(futures):
                    yield future.result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
                for process_group in list(self._running):
                    _kill(process_group)

    def result(self, each: Slice) -> Result:
        """Runs one."""
        command = [sys.executable, "-B", "-m", "torture.slice", each.name, each.delivery, str(each.seed)]
        command += [str(self.slice_s), "--rounds", str(self.rounds), "--grace", str(self.grace_s)]
        command += ["--cgroup", str(self.group)] if self.group else []
        # The C library reserves address space for allocation one by one as threads come: let it have little.
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]),
            "MALLOC_ARENA_MAX": "2",
        }
        began = time.monotonic()
        # Not pipes: what a slice leaves behind would keep their other ends.
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            process = subprocess.Popen(command, stdout=out, stderr=err, env=environment, start_new_session=True)
            self._running.add(process.pid)
            try:
                code: int | None = process.wait(self.slice_s + self.grace_s + KILL_S)
            except subprocess.TimeoutExpired:
                code = None
            left = [name for pid, name in _members(process.pid) if pid != process.pid]
            _kill(process.pid)
            process.wait()
            self._running.discard(process.pid)
            seconds = time.monotonic() - began
            return _judged(each, seconds, code, left, (_text(out), _text(err)))


def _judged(each: Slice, seconds: float, code: int | None, left: list[str], said: tuple[str, str]) -> Result:
    problem = _problem(code, said[1]) or (f"processes left: {', '.join(left)}" if left else "")
    if not problem:
        report = json.loads(said[0])
        return Result(each, seconds, report["done"], tuple(report["notes"]))
    return Result(each, seconds, said="".join(said), problem=problem)


def _problem(code: int | None, said: str) -> str:
    lines = [line for line in said.splitlines() if line.strip()]
    last = lines[-1][:PROBLEM_LENGTH_MAX] if lines else "nothing"
    if code is None:
        return "did not end, and was killed"
    if "Timeout (" in said:
        return "did not end; see the threads' stacks"
    if code < 0:
        return f"killed by signal {-code} ({signal.Signals(-code).name})"
    if code:
        return last if lines else f"ended with {code}, and said nothing"
    return f"complained: {last}" if lines else ""


def _text(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


def _kill(process_group: int) -> None:
    try:
        os.killpg(process_group, signal.SIGKILL)
    except ProcessLookupError:
        return


def _members(process_group: int) -> Iterator[tuple[int, str]]:
    """The living processes of a group, with their names."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            before, _, after = (entry / "stat").read_text().rpartition(")")
        except (FileNotFoundError, ProcessLookupError):
            continue
        state, _, group = after.split()[:3]
        if int(group) == process_group and state not in "ZX":
            yield int(entry.name), before.partition("(")[2]
