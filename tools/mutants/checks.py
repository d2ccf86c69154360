"""The commands that try a tree, quickest first."""

import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from mutants.failure import MutantsError

#: How long tests may take whose time without a mutant is not known.
TIMEOUT_S = 600
_BUILD_TIMEOUT_S = 1_800


@dataclass(frozen=True)
class Outcome:
    """What one run of a check said."""

    caught: bool
    how: str
    """Which tests failed, or that the run aborted or did not end, and the invariant that it named; empty where all passed."""
    seconds: float


@dataclass(frozen=True)
class Check:
    """A group of tests of the heap."""

    name: str
    cargo: tuple[str, ...]
    """What `cargo test` is given to choose the tests' program."""
    tests: str = ""
    """The tests that are run unless a mutant names others."""
    environment: dict[str, str] = field(default_factory=dict, hash=False)
    target: str = "target"
    """The folder that cargo builds in: its own where flags differ, so that nothing is built twice."""

    def build(self, home: Path) -> str | None:
        """Compiles the tests in the tree of `home`; returns what the compiler said if it refuses."""
        code, output = self._cargo(home, ["--no-run"], _BUILD_TIMEOUT_S)
        if code is None:
            raise MutantsError(f"{self.name}: not built within {_BUILD_TIMEOUT_S} s")
        return output if code != 0 else None

    def run(self, home: Path, tests: str, timeout_s: int = TIMEOUT_S) -> Outcome:
        """Runs the built tests whose names contain `tests`; raises `MutantsError` if cargo runs none."""
        began = time.monotonic()
        code, output = self._cargo(home, [tests] if tests else [], timeout_s)
        seconds = time.monotonic() - began
        if code is None:
            return Outcome(True, f"did not end within {timeout_s} s", seconds)
        broken = re.search(r"\[(inv\.[a-z0-9.-]+)\]", output)
        invariant = f", {broken[1]}" if broken else ""
        if killed := re.search(r"\(signal: \d+, (\w+)", output):
            return Outcome(True, f"aborted with {killed[1]}{invariant}", seconds)
        if code == 0:
            if not re.search(r"^test result: ok\. [1-9]", output, re.MULTILINE):
                raise MutantsError(f"{self.name}: no test is called {tests!r}")
            return Outcome(False, "", seconds)
        failed = sorted(set(re.findall(r"^test (\S+)(?: - .*)? \.\.\. FAILED", output, re.MULTILINE)))
        if not failed:
            raise MutantsError(f"{self.name}: failed, but no test did:\n{output[-2_000:]}")
        more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
        return Outcome(True, f"{failed[0]}{more}{invariant}", seconds)

    def _cargo(self, home: Path, arguments: list[str], timeout_s: int) -> tuple[int | None, str]:
        command = ["cargo", "test", "--locked", "--package", "subduct-heap", *self.cargo]
        environment = os.environ | {
            "CARGO_TARGET_DIR": str(home / self.target),
            # A case that a mutant failed says nothing about the next one.
            "PROPTEST_DISABLE_FAILURE_PERSISTENCE": "true",
            **self.environment,
        }
        process = subprocess.Popen(
            [*command, *arguments],
            cwd=home / "tree",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            return None, ""
        else:
            return process.returncode, output
        finally:
            if process.poll() is None:
                # The tests are cargo's children: all of its session goes.
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()


CHECKS = {
    check.name: check
    for check in (
        Check(
            "simulator",
            ("--features", "simulate", "--test", "simulator"),
            tests="heaps",
            # No random seeds, so that a mutant is caught by the same one again; more of the others, because some show in few.
            environment={"SUBDUCT_SIM_SEEDS": "0", "SUBDUCT_SIM_FIXED": "300"},
        ),
        Check("lib", ("--lib",)),
        Check(
            "loom", ("--profile", "loom", "--lib"), tests="loom", environment={"RUSTFLAGS": "--cfg loom"}, target="loom"
        ),
        Check("degraded", ("--test", "degraded")),
        Check("takeover", ("--test", "takeover")),
        Check("fullness", ("--test", "fullness")),
        Check("memory", ("--test", "memory")),
        Check("churn", ("--test", "churn")),
    )
}


def plan(caught_by: str) -> list[tuple[Check, str]]:
    """The checks of a mutant with the tests to run of each: first the one that it names, then all, quickest first.

    Raises `KeyError` where it names a check that there is none of.
    """
    name, _, tests = caught_by.partition(" ")
    first = (CHECKS[name], tests or CHECKS[name].tests)
    return [first, *(each for each in ((check, check.tests) for check in CHECKS.values()) if each != first)]
