"""`subduct bench` as a person or a script meets it."""

import io
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from subduct.bench import BENCHMARKS, fault
from subduct.cli import bench as command
from subduct.cli import main

MACHINE = {"date", "kernel", "processor", "processors", "memory_bytes", "python", "subduct", "load"}
# As small as each still measures something.
SMALL = {
    "pause": ("--sizes", "16MiB", "32MiB", "--flips", "20", "--repetitions", "4", "--alternatives", "1"),
    "fault": ("--sizes", "64MiB", "--flips", "10"),
    "move": ("--sizes", "48MiB", "--repetitions", "1"),
    "mark": ("--sizes", "20000", "--repetitions", "2"),
    "hiccup": ("--sizes", "20k", "--repetitions", "1", "--seconds", "1"),
    "memory": ("--sizes", "20k", "--seconds", "0.5"),
    "delivery": ("--sizes", "2000", "--repetitions", "2", "--seconds", "0.5"),
}


@dataclass(frozen=True)
class Said:
    """What the command wrote."""

    stdout: str
    stderr: str


def bench(*arguments: str | Path, code: int = 0) -> Said:
    """The command in this process; its exit code is checked."""
    output, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(output), redirect_stderr(errors):
        try:
            ended = main(["bench", *map(str, arguments)])
        except SystemExit as exit_:
            ended = exit_.code if isinstance(exit_.code, int) else 1
    assert ended == code, (output.getvalue(), errors.getvalue())
    return Said(output.getvalue(), errors.getvalue())


def measure(*arguments: str | Path) -> Said:
    """The command in a process of its own, which is what is measured."""
    command = [sys.executable, "-m", "subduct", "bench", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done
    return Said(done.stdout, done.stderr)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A saved run of every benchmark."""
    folder = tmp_path_factory.mktemp("bench")
    saved = {name: folder / f"{name}.json" for name in BENCHMARKS}
    for name, path in saved.items():
        done = measure(name, *SMALL[name], "--save", path)
        assert done.stderr == ""
    return saved


def rows(results: dict[str, Path], name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(results[name].read_text())["rows"]
    return found


def test_every_benchmark_is_run_here() -> None:
    assert set(SMALL) == set(BENCHMARKS)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_result_says_what_where_and_whether(results: dict[str, Path], name: str) -> None:
    found = json.loads(results[name].read_text())
    assert found["benchmark"] == name
    assert set(found["machine"]) >= MACHINE
    assert found["rows"]
    assert found["seconds"] > 0
    for target in found["targets"]:
        measured, limit = target["measured"], target["limit"]
        expected = None if measured is None else measured >= limit if target["at_least"] else measured <= limit
        assert target["met"] is expected
        assert measured is not None or target["how"]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_same_is_shown_again_without_measuring(results: dict[str, Path], name: str) -> None:
    found = json.loads(results[name].read_text())
    assert json.loads(bench(name, "--saved", results[name], "--json").stdout) == found
    shown = bench(name, "--saved", results[name]).stdout
    for said in (found["machine"]["kernel"], found["machine"]["date"], "targets", found["targets"][0]["name"]):
        assert said in shown
    assert not re.search(r"\b(nan|inf|None)\b", shown)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_missed_target_is_an_exit_code_where_asked_for(results: dict[str, Path], name: str) -> None:
    missed = any(target["met"] is False for target in json.loads(results[name].read_text())["targets"])
    bench(name, "--saved", results[name], "--check", code=int(missed))


def test_a_pause_is_told_by_size_with_its_floor_and_alternatives(results: dict[str, Path]) -> None:
    found = rows(results, "pause")
    assert [row["size_bytes"] for row in found] == [16 << 20, 32 << 20]
    for row in found:
        assert row["count"] == 20
        assert 0 < row["median_us"] <= row["p99_us"] <= row["max_us"]
        assert row["spread_us"]["min"] <= row["spread_us"]["median"] <= row["spread_us"]["max"]
        assert row["spread_us"]["repetitions"] == 4
        assert row["ratio_to_bare"] == pytest.approx(row["median_us"] / row["bare"]["median_us"])
        # The threads are parked before the first call and let go after the second.
        assert row["bare"]["median_us"] <= row["bare_parked"]["median_us"]
        assert row["live_bytes"] >= row["size_bytes"]
        assert set(row["alternatives"]) == {
            "move_2mib_aligned", "misaligned_move", "register_first_move", "madv_dontneed", "map_fixed_over", "fork",
            "memcpy", "empty_continue",
        }  # fmt: skip
        for way in row["alternatives"].values():
            assert "unavailable" in way or way["ratio_to_pause"] == pytest.approx(way["median_us"] / row["median_us"])
        assert row["stalled"] <= row["count"]
        assert row["stalls"]["processors"] >= 1


def test_the_alternatives_are_told_by_size(results: dict[str, Path]) -> None:
    shown = bench("pause", "--saved", results["pause"]).stdout
    for way in ("MADV_DONTNEED", "memcpy of it all", "CONTINUE of every page"):
        for size in ("16 MiB", "32 MiB"):
            assert re.search(rf"^{re.escape(way)}, {size} +[\d,]+ ", shown, re.MULTILINE)


def test_a_fault_is_beside_its_floor(results: dict[str, Path]) -> None:
    (row,) = rows(results, "fault")
    for kind in ("bare", "bare_quiet", "bare_one", "first_touch", "heap_ready"):
        assert row[kind]["count"] > 0
    # Where the machine is busy, the worker may be through before the heap is touched.
    if "heap" in row:
        assert row["ratio_to_bare"] == pytest.approx(row["heap"]["median_us"] / row["bare"]["median_us"])
        assert row["heap"]["count"] <= row["faults"]
    else:
        assert row["ratio_to_bare"] is None
    assert 0 <= row["bytes_per_fault"] <= 65536


def test_a_kind_of_access_that_did_not_happen_is_left_out() -> None:
    samples = {f"{kind}_us": [1.0, 2.0, 3.0] for kind in fault.KINDS}
    figures = {"pages_per_fault": 0.0, "bytes_per_fault": 0.0, "faults": 0}
    row = fault._row(64 << 20, samples | {"heap_us": []} | figures, 2)
    assert set(fault.KINDS) - set(row) == {"heap"}
    assert row["ratio_to_bare"] is None
    assert next(target for target in fault.targets([row]) if "median fault" in target.name).met is None


def test_a_move_tells_worker_mutator_and_what_was_churned(results: dict[str, Path]) -> None:
    found = rows(results, "move")
    workers = {row["work"]: row for row in found if row["kind"] == "worker"}
    assert set(workers) == {"install", "fix_local", "build_local", "fix_random", "build_random"}
    for row in workers.values():
        assert row["ratio_to_memcpy"] == pytest.approx(row["page_us"] / row["memcpy_us"])
        assert row["pages"] == row["pages_fixed"] + row["pages_built"] + row["pages_installed"]
    (mutator,) = (row for row in found if row["kind"] == "mutator")
    # On a busy machine it may get nowhere before the move.
    if mutator["count"]:
        assert mutator["sound"]
        assert mutator["share"] == pytest.approx(mutator["moving_per_s"] / mutator["quiet_per_s"])
    everywhere, little, much = (row for row in found if row["kind"] == "churned")
    assert everywhere["where"] == "everywhere"
    assert everywhere["share"] == little["share"] < much["share"]
    assert everywhere["bytes_evacuated"] <= little["bytes_evacuated"] <= much["bytes_evacuated"]


def test_marking_is_told_for_each_object(results: dict[str, Path]) -> None:
    found = rows(results, "mark")
    assert [row["graph"] for row in found] == ["local", "random"]
    for row in found:
        assert row["object_ns"] == pytest.approx(row["mark_ms"] * 1e6 / row["objects"])
        assert row["objects"] >= 20_000
        assert row["ratio_to_cpython"] == pytest.approx(row["object_ns"] / row["cpython_ns"])


def test_hiccups_are_told_without_and_with_cycles(results: dict[str, Path]) -> None:
    (row,) = rows(results, "hiccup")
    assert row["sound"]
    for phase in row["phases"].values():
        assert phase["median_us"] <= phase["p99_us"] <= phase["p99_9_us"] <= phase["max_us"]
        assert 0 <= phase["utilisation"]["1ms"] <= phase["utilisation"]["100ms"] + 1e-6 <= 1 + 1e-6
    assert row["longest_us"] == row["phases"]["cycles"]["max_us"]


def test_memory_tells_policies_tables_and_records(results: dict[str, Path]) -> None:
    found = rows(results, "memory")
    policies = {row["policy"]: row for row in found if row["kind"] == "policy"}
    assert set(policies) == {"keep", "pool", "release"}
    for row in policies.values():
        assert row["collected_bytes"] >= row["live_bytes"] > 0
    for row in found:
        if row["kind"] == "tables":
            assert 0 < row["share"] < 1
        if row["kind"] == "records":
            assert row["ratio_to_dicts"] == pytest.approx(row["heap_bytes"] / row["dict_bytes"])
            assert row["heap_bytes"] > row["heap_file_bytes"] > 0


def test_each_delivery_is_measured_or_says_why_not(results: dict[str, Path]) -> None:
    found = {row["delivery"]: row for row in rows(results, "delivery")}
    assert set(found) == {"sigbus", "thread", "software", "pause", "dict"}
    for name, row in found.items():
        if "unavailable" in row:
            assert row["unavailable"]
            continue
        assert all(row[operation]["median_ns"] > 0 for operation in ("get", "field", "set"))
        assert name == "dict" or row["churn"]["sound"]
    assert found["dict"]["ratio_to_dict"]["get"] == 1


def test_the_plot_is_a_picture_of_every_size(results: dict[str, Path], tmp_path: Path) -> None:
    picture = tmp_path / "pause.svg"
    bench("pause", "--saved", results["pause"], "--plot", picture)
    root = ElementTree.fromstring(picture.read_text())
    texts = [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"16 MiB", "32 MiB"} <= set(texts)
    assert any(text.startswith("flip, median: ") for text in texts)
    lines = list(root.iter("{http://www.w3.org/2000/svg}polyline"))
    assert all(len((line.get("points") or "").split()) == 2 for line in lines)
    assert len(lines) >= 6


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("speed",),
        ("pause", "--sizes", "much"),
        ("pause", "--sizes", "0"),
        ("pause", "--flips", "0"),
        ("pause", "--saved", "/nowhere.json"),
        ("mark", "--sizes", "1GiB"),
        ("mark", "--flips", "3"),
        ("hiccup", "--seconds", "forever"),
        ("fault", "--plot", "x.svg"),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: tuple[str, ...]) -> None:
    done = bench(*arguments, code=2)
    assert "Traceback" not in done.stderr
    assert done.stderr


def test_a_file_that_is_no_result_is_refused(results: dict[str, Path], tmp_path: Path) -> None:
    assert "saved run of 'pause'" in bench("mark", "--saved", results["pause"], code=2).stderr
    other = tmp_path / "other.json"
    other.write_text("[]")
    assert "not a benchmark's" in bench("mark", "--saved", other, code=2).stderr


def test_a_result_that_cannot_be_saved_is_shown(results: dict[str, Path], tmp_path: Path) -> None:
    """No file may be longer than a page: as on a full disk, writing fails in the middle."""
    target = tmp_path / "result.json"
    target.write_text("what was measured before")
    done = subprocess.run(
        [sys.executable, "-m", "subduct", "bench", "pause", "--saved", results["pause"], "--save", target],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"subduct: {target} cannot be written: File too large; ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == bench("pause", "--saved", results["pause"]).stdout
    assert [each.read_text() for each in tmp_path.iterdir()] == ["what was measured before"]


def test_a_result_is_saved_that_nobody_reads(results: dict[str, Path], tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    target = tmp_path / "result.json"
    done = subprocess.run(
        [sys.executable, "-m", "subduct", "bench", "mark", "--saved", results["mark"], "--save", target],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (2, "")
    assert json.loads(target.read_text()) == json.loads(results["mark"].read_text())


def test_a_file_that_cannot_be_written_is_refused_before_measuring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[object] = []
    monkeypatch.setattr(command, "_measured", measured.append)
    for option in ("--save", "--plot"):
        said = bench("pause", option, tmp_path / "none" / "x", code=2).stderr
        assert "there is no such folder" in said
    assert not measured


def test_control_c_ends_a_measurement_between_two_steps() -> None:
    # A shell's background job would have it ignored.
    running = subprocess.Popen(
        [sys.executable, "-m", "subduct", "bench", "pause", "--sizes", "32MiB", "--flips", "1000000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        control = Path(f"/proc/{running.pid}/task")
        # The mutators and the control run: it measures.
        while running.poll() is None and len(list(control.iterdir())) < 4:
            time.sleep(0.01)
        running.send_signal(signal.SIGINT)
        output, errors = running.communicate(timeout=120)
    finally:
        running.kill()
    assert running.returncode == 130
    assert output == ""
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("mark", "--sizes", "7"), "expected a number from 8 to 200,000,000, not '7'"),
        (("hiccup", "--sizes", "1000M"), "expected a number from 1 to 200,000,000, not '1000M'"),
        (("pause", "--sizes", "100TiB"), "a size must be more than 0 bytes and at most 256 GiB, not '100TiB'"),
    ],
)
def test_sizes_that_nothing_measures_are_refused(arguments: tuple[str, ...], said: str) -> None:
    assert said in bench(*arguments, code=2).stderr


def test_the_least_graph_is_marked() -> None:
    rows = json.loads(bench("mark", "--sizes", "8", "--repetitions", "1", "--json").stdout)["rows"]
    assert rows
    assert all(row["objects"] >= 8 for row in rows)
