"""What a benchmark found: one object that can be saved, read again, and shown."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from subduct.bench.machine import Machine
from subduct.bench.suite import BENCHMARKS
from subduct.report.table import aligned

if TYPE_CHECKING:
    from pathlib import Path

    from subduct.bench.benchmark import Benchmark
    from subduct.bench.table import Row


@dataclass(frozen=True, slots=True)
class Result:
    """A run of a benchmark: where, how long it took in seconds, and its rows. Targets and tables follow from the rows."""

    benchmark: Benchmark
    machine: Machine
    seconds: float
    rows: list[Row]

    @property
    def missed(self) -> bool:
        """Whether a target was measured and not met."""
        return any(target.met is False for target in self.benchmark.targets(self.rows))

    def object(self) -> dict[str, Any]:
        """As JSON: `benchmark`, `machine`, `seconds`, `rows`, `targets`."""
        return {
            "benchmark": self.benchmark.name,
            "machine": self.machine.object(),
            "seconds": self.seconds,
            "rows": self.rows,
            "targets": [target.object() for target in self.benchmark.targets(self.rows)],
        }

    def json(self) -> str:
        """As JSON text."""
        return json.dumps(self.object(), indent=2)

    def lines(self) -> list[str]:
        """As text: machine, tables, targets."""
        lines = [f"subduct bench {self.benchmark.name}: {self.benchmark.summary}", "", *self.machine.lines()]
        for table in self.benchmark.tables(self.rows):
            if table.rows:
                lines += ["", *table.lines()]
        cells = [target.cells() for target in self.benchmark.targets(self.rows)]
        return [*lines, "", "targets", *aligned(cells), "", f"took {self.seconds:,.0f} s"]


def read_result(path: Path, expected: str) -> Result:
    """A result that was saved as JSON. Raises OSError when the file cannot be read, ValueError when it is not a result of the
    benchmark `expected`."""
    try:
        saved = json.loads(path.read_text())
        name, machine = saved["benchmark"], Machine(**saved["machine"])
        seconds, rows = float(saved["seconds"]), list(saved["rows"])
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not a saved benchmark, but no JSON: {error}") from None
    except (KeyError, TypeError):
        raise ValueError(f"{path} is JSON, but not a benchmark's, as `subduct bench --json` prints it") from None
    if name != expected:
        raise ValueError(f"{path} is a saved run of {name!r}, not of {expected!r}")
    return Result(BENCHMARKS[name], machine, seconds, rows)
