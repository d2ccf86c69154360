"""The workload on CPython's own objects, with its collector on."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from time import perf_counter_ns
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from peers.churn import churn, finish, parse


class Collections:
    """Measures every collection from the interpreter's own callbacks: generation and duration in nanoseconds."""

    def __init__(self) -> None:
        self._began_ns = 0
        self.found: list[tuple[int, int]] = []

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        """A collection begins or ends."""
        if phase == "start":
            self._began_ns = perf_counter_ns()
        else:
            self.found.append((info["generation"], perf_counter_ns() - self._began_ns))


def main() -> None:
    """Run the workload and print what it found."""
    parser = parse(__doc__ or "")
    parser.add_argument("--budget", type=int, help="ignored: CPython knows no limit")
    args = parser.parse_args()
    keys = 2 * (args.records // args.threads)
    tables: list[list[Any]] = [[None] * keys for _ in range(args.threads)]
    collections = Collections()
    gc.callbacks.append(collections)
    beacon = {"beacon": 1}
    result = churn(args, tables, lambda: beacon["beacon"])
    gc.callbacks.remove(collections)
    result["pauses_ns"] = [took_ns for _, took_ns in collections.found]
    result["cycles"] = sum(generation == 2 for generation, _ in collections.found)
    finish(result)


if __name__ == "__main__":
    main()
