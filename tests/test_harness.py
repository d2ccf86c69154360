"""What the tests themselves rely on: processes that share them have one seed and one evidence, and some files are run whole."""

import json
import os
import subprocess
import sys
from pathlib import Path

from harness.evidence import Run
from harness.seed import SEED
from harness.sharing import WHOLE_FILES, Sharing
from harness.source import ROOT
from subduct import Heap


def test_the_evidence_of_several_processes_adds_up(tmp_path: Path) -> None:
    with Heap("64MiB", delivery="pause") as heap:
        for count in (20_000, 100):
            heap.root["x"] = [[number] for number in range(count)]
        heap.collect()
        stats = heap.stats()
    ours, theirs = Run(), Run()
    for run in (ours, theirs):
        run.record(stats)
    alone = theirs.sums()["pause"]
    assert alone["heaps"] == 1
    ours.merge(theirs.sums())
    ours.write(tmp_path / "evidence.json")
    found = json.loads((tmp_path / "evidence.json").read_text())
    assert found == {"pause": {name: 2 * figure for name, figure in alone.items()}}


def test_files_that_are_run_whole() -> None:
    assert {file for file in WHOLE_FILES if not (ROOT / file).exists()} == set()
    sharing = Sharing.__new__(Sharing)
    whole, apart = "tests/test_large.py", "tests/test_list.py"
    assert {sharing._split_scope(f"{whole}::{name}") for name in "ab"} == {whole}
    assert {sharing._split_scope(f"{apart}::{name}") for name in "ab"} == {f"{apart}::a", f"{apart}::b"}


def test_every_process_has_the_seed_of_the_run() -> None:
    program = "from harness.seed import SEED; print(SEED)"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests")}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert int(done.stdout) == SEED
