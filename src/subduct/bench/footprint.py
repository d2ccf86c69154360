"""How much memory small records take, as dicts or in a heap: each in a process of its own, so that nothing else is counted."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from subduct import Heap
from subduct.bench.record import record

_PROGRAM = "import sys; from subduct.bench.footprint import main; main(sys.argv[1], int(sys.argv[2]))"
# More than records and the lists that are loaded take, so that the budget decides nothing.
_BUDGET_PER_RECORD = 700
_LEAST_BUDGET = 64 << 20
# Records that are handed to the heap at a time.
_BATCH = 10_000


def footprint(kind: str, records: int) -> dict[str, Any]:
    """`bytes` that so many records take, private and of the heap's file, and `seconds` to make them. `kind` is "dicts" or "heap".

    Raises subprocess.CalledProcessError when the process fails: most likely there is not enough memory."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, kind, str(records)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _private_bytes() -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("RssAnon:")) << 10


def _dicts(records: int) -> dict[str, Any]:
    before, began = _private_bytes(), time.perf_counter()
    made = [record(number) for number in range(records)]
    seconds = time.perf_counter() - began
    return {"bytes": _private_bytes() - before, "file_bytes": 0, "seconds": seconds, "records": len(made)}


def _in_heap(records: int) -> dict[str, Any]:
    before, began = _private_bytes(), time.perf_counter()
    with Heap(max(_BUDGET_PER_RECORD * records, _LEAST_BUDGET)) as heap:
        heap.root["records"] = []
        made = heap.root["records"]
        for start in range(0, records, _BATCH):
            made.extend([record(number) for number in range(start, min(start + _BATCH, records))])
        seconds = time.perf_counter() - began
        heap.collect()
        gc.collect()
        file_bytes = heap.stats().resident_bytes
        taken = _private_bytes() - before + file_bytes
        return {"bytes": taken, "file_bytes": file_bytes, "seconds": seconds, "records": len(made)}


def main(kind: str, records: int) -> None:
    """What the process does: makes the records, and prints what they took as JSON."""
    print(json.dumps({"dicts": _dicts, "heap": _in_heap}[kind](records)))
