"""The results of one kernel: read back, judged, and said in a few words each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, TypeAlias

from kernels.series import widened

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from kernels.trial import Trial

#: What a check's JSON holds: name, figures, problem, exit_code, seconds.
Result: TypeAlias = dict[str, Any]

#: The checks, in the table's order.
CHECKS = ("boot", "probes", "doctor", "run", "selftest", "differential")

_REFUSED = "EINVAL"
# Not named as results are.
_RECORD = "trial.record"


@dataclass(frozen=True, slots=True)
class Column:
    """One kernel of the table: its heading, the version of its package, each check's result, how many starts it took, when it was
    tried, and with what: the digest of `Trial`."""

    heading: str
    package_version: str
    results: dict[str, Result]
    starts: int = 1
    day: date = date.min
    digest: str = ""

    @classmethod
    def read(cls, heading: str, package_version: str, folder: Path, starts: int, day: date, digest: str) -> Column:
        """Reads the results that a guest left in a folder."""
        found = (json.loads(path.read_text()) for path in sorted(folder.glob("*.json")))
        return cls(heading, package_version, {result["name"]: result for result in found}, starts, day, digest)

    def keep(self, folder: Path, trial: Trial) -> None:
        """Leaves beside the results what they are of, for `kept`."""
        record = trial.figures | {
            "day": self.day.isoformat(),
            "package_version": self.package_version,
            "starts": self.starts,
        }
        (folder / _RECORD).write_text(json.dumps(record, indent=2))

    @classmethod
    def kept(
        cls, heading: str, package_version: str, folder: Path, trial: Trial, *, any_digest: bool = False
    ) -> Column | None:
        """The column of an earlier run, if it tried the same on the same kernel and all was as it must be; with `any_digest`, also
        another package of the same version."""
        path = folder / _RECORD
        record = json.loads(path.read_text()) if path.exists() else {}
        wanted = trial.figures | {"package_version": package_version}
        if any(record.get(name) != value for name, value in wanted.items() if not (any_digest and name == "digest")):
            return None
        day = date.fromisoformat(record["day"])
        found = cls.read(heading, package_version, folder, record["starts"], day, record["digest"])
        return None if found.problems() else found

    @property
    def release(self) -> str:
        """The kernel's exact release."""
        return str(self.results["boot"]["figures"]["release"])

    def problems(self, names: Sequence[str] = CHECKS) -> list[str]:
        """What is not as it must be in these checks, each with its check's name; empty where the kernel passes."""
        found = []
        for name in names:
            result = self.results.get(name)
            if result is None:
                found.append(f"{name}: no result, the guest ended before")
            elif result["problem"] is not None:
                found.append(f"{name}: {result['problem']}")
            elif name in _JUDGES:
                found += [f"{name}: {problem}" for problem in _JUDGES[name](result, self)]
        return found

    def figures(self, name: str) -> dict[str, Any]:
        """The figures of a check, none where it did not end."""
        result = self.results.get(name)
        return result["figures"] if result is not None and result["problem"] is None else {}

    @property
    def widened(self) -> bool:
        """Whether this kernel has the widened rule."""
        return widened(self.release)


def _judge_probes(result: Result, column: Column) -> list[str]:
    figures = result["figures"]
    expected = dict.fromkeys(
        ("shared_anonymous", "shared_memfd", "private_memfd"), "accepted" if column.widened else _REFUSED
    )
    expected |= {"private_anonymous": "accepted", "perf_ring": _REFUSED, "vvar": _REFUSED}
    return [f"{kind}: {figures[kind]}, not {answer}" for kind, answer in expected.items() if figures[kind] != answer]


def _judge_doctor(result: Result, column: Column) -> list[str]:
    figures, problems = result["figures"], []
    if (figures["delivery"] == "sigbus") is not column.widened:
        problems.append(f"delivery {figures['delivery']}")
    if figures["delivery"] is None:
        problems.append("heaps would not run")
    if result["exit_code"] != (0 if column.widened else 1):
        problems.append(f"exit code {result['exit_code']}")
    if not column.widened and not figures["missing"]:
        problems.append("nothing is said to be missing")
    return problems


def _judge_run(result: Result, column: Column) -> list[str]:
    figures, problems = result["figures"], []
    if result["exit_code"] != 0:
        problems.append(f"exit code {result['exit_code']}")
    if figures["verified"] is not True:
        problems.append("not verified")
    if figures["mismatches"] or not figures["sample_compared"]:
        problems.append(f"{len(figures['mismatches'])} of {figures['sample_compared']} documents differ")
    if not figures["moves"]:
        problems.append("no cycle moved objects")
    doctor = column.figures("doctor")
    if doctor and figures["delivery"] != doctor["delivery"]:
        problems.append(f"delivery {figures['delivery']}, which is not what the doctor says")
    return problems


def _judge_selftest(result: Result, _column: Column) -> list[str]:
    figures, problems = result["figures"], []
    if figures["failed"]:
        problems.append(f"{figures['failed']} failed: {', '.join(figures['failures'])}")
    if not figures["passed"]:
        problems.append("nothing passed")
    ran = sum(figures[name] for name in ("passed", "failed", "skipped", "todo"))
    if figures["planned"] != ran:
        problems.append(f"{ran} results of {figures['planned']} planned")
    if result["exit_code"] != 0 and not problems:
        problems.append(f"exit code {result['exit_code']}")
    return problems


def _judge_differential(result: Result, _column: Column) -> list[str]:
    figures, problems = result["figures"], []
    if not figures["sequences"]:
        problems.append("no sequence was run")
    if figures["difference"] is not None:
        problems.append(f"with seed {figures['seed']}: {figures['difference']}")
    if result["exit_code"] != 0 and not problems:
        problems.append(f"exit code {result['exit_code']}")
    return problems


_JUDGES: dict[str, Callable[[Result, Column], list[str]]] = {
    "probes": _judge_probes,
    "doctor": _judge_doctor,
    "run": _judge_run,
    "selftest": _judge_selftest,
    "differential": _judge_differential,
}
