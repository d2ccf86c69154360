"""The comparison with other collectors: every implementation does the same operations, and the figures are worked out right."""

import json
import math
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.source import ROOT
from peers import measure, memory, pauses, peer, run, table, utilisation
from peers.latency import STALL_NS, Histogram, Recorder, bucket_end_ns, bucket_of
from peers.measure import PeerFailed, Run, Workload
from peers.peer import NotInstalled, Peer
from peers.results import Results
from peers.utilisation import Stalls

WORKLOAD = Workload(records=4_000, operations=40_000, threads=2, seed=1, budget_bytes=64 << 20)


def check_value() -> tuple[str, int]:
    """Digest and checksum that the definition gives for WORKLOAD."""
    text = (ROOT / "bench/peers/README.md").read_text()
    match = re.search(r"`N` = 4,000, `M` = 40,000, `T` = 2, `seed` = 1: digest `(\w+)`, checksum `(\d+)`", text)
    assert match is not None
    return match[1], int(match[2])


def java(folder: Path) -> list[Peer]:
    return peer.java(folder, WORKLOAD.budget_bytes)


def native(_: Path) -> list[Peer]:
    """The native mutator, unless it was built from other sources than those that are here."""
    sources = (ROOT / "crates/bench").rglob("*.rs")
    if peer.native_binary().stat().st_mtime < max(source.stat().st_mtime for source in sources):
        raise NotInstalled("the native mutator is older than its sources")
    return peer.native()


MAKERS: dict[str, Callable[[Path], list[Peer]]] = {
    "python": lambda _: peer.python(),
    "java": java,
    "go": lambda folder: [peer.go(folder)],
    "native": native,
}


def measured(each: Peer, folder: Path) -> Run:
    """A run in which the sleeper woke: on a busy machine it may not in so short a time."""
    runs = (measure.call(each, WORKLOAD, folder) for _ in range(50))
    return next(run for run in runs if sum(run.sleeper.counts) > 0)


@pytest.mark.parametrize("language", MAKERS)
def test_every_language_does_the_same_operations(language: str, tmp_path: Path) -> None:
    if language == "go" and shutil.which("go") is None:
        pytest.skip("no Go here: a peer only where it is installed")
    try:
        peers = MAKERS[language](tmp_path)
    except NotInstalled as missing:
        pytest.skip(str(missing))
    digest, checksum = check_value()
    for each in peers:
        found = measured(each, tmp_path)
        assert (found.result["digest"], found.result["checksum"]) == (digest, checksum), each.title
        counted = sum(found.operation.counts)
        assert counted == WORKLOAD.records + WORKLOAD.operations, each.title
        assert found.memory.peak_bytes > 0
        assert found.memory.final_pss_bytes > 0
        assert set(found.utilisation) == {1, 10, 100}
        assert all(0 <= share <= 1 for share in found.utilisation.values())
        assert (found.pauses is None) == (each.key == "malloc")


def test_another_seed_is_another_stream(tmp_path: Path) -> None:
    other = Workload(records=400, operations=2_000, threads=1, seed=2, budget_bytes=16 << 20)
    ours, theirs = (measure.call(each, other, tmp_path) for each in peer.python())
    assert ours.outcome == theirs.outcome
    again = measure.call(peer.python()[1], Workload(400, 2_000, 1, 3, 16 << 20), tmp_path)
    assert again.outcome != ours.outcome
    assert again.result["live_payload_bytes"] <= 400 * 240


def test_a_peer_that_fails_is_quoted(tmp_path: Path) -> None:
    broken = Peer("broken", "Broken", (sys.executable, "-c", "raise SystemExit('no such luck')"))
    with pytest.raises(PeerFailed, match=r"Broken: exit status 1: no such luck"):
        measure.call(broken, WORKLOAD, tmp_path)


def test_buckets_are_narrow_and_in_order() -> None:
    # The same points are checked for the native histogram.
    assert [bucket_of(ns) for ns in (31, 32, 63, 64, 65, 66, 127, 128)] == [31, 32, 63, 64, 64, 65, 95, 96]
    for ns in [*range(5_000), *(10**k for k in range(4, 13))]:
        end_ns = bucket_end_ns(bucket_of(ns))
        assert bucket_of(end_ns) == bucket_of(ns) != bucket_of(end_ns + 1)
        assert ns <= end_ns <= ns * 1.04


def test_percentiles_of_a_histogram(rng: random.Random) -> None:
    values = sorted(int(rng.lognormvariate(7, 2)) for _ in range(2_000))
    parts = Histogram.empty(), Histogram.empty()
    for i, value in enumerate(values):
        parts[i % 2].add(value)
    parts[0].merge(parts[1])
    histogram = Histogram.read(json.loads(json.dumps(parts[0].figures())))
    for percent in (10, 50, 99, 99.9, 100):
        exact = values[math.ceil(len(values) * percent / 100) - 1]
        assert exact <= histogram.percentile_ns(percent) <= exact * 1.04
    assert histogram.max_ns == histogram.percentile_ns(100) == values[-1]
    assert Histogram.empty().percentile_ns(50) == 0


def test_long_operations_are_kept_one_by_one(tmp_path: Path) -> None:
    recorder = Recorder(0)
    recorder.last_ns -= 5 * STALL_NS
    recorder.note()
    (tmp_path / "stalls").write_bytes(recorder.words(7).tobytes())
    (stalls,) = utilisation.read(tmp_path / "stalls")
    assert stalls.stalled_until(recorder.last_ns) >= 5 * STALL_NS
    (tmp_path / "stalls").write_bytes(bytes(8))
    with pytest.raises(ValueError, match="whole entries"):
        utilisation.read(tmp_path / "stalls")


def test_minimum_utilisation_is_that_of_the_worst_window(rng: random.Random) -> None:
    for _ in range(200):
        end, window = rng.randrange(30, 60), rng.randrange(1, 40)
        busy = [rng.random() < 0.3 for _ in range(end)]
        runs = [(i, busy[i:].index(False) if False in busy[i:] else end - i) for i in range(end)]
        begins = [i for i in range(end) if busy[i] and (i == 0 or not busy[i - 1])]
        stalls = Stalls(begins, [runs[i][1] for i in begins])
        size = min(window, end)
        worst = max(sum(busy[i : i + size]) for i in range(end - size + 1))
        assert stalls.minimum_utilisation(window, end) == pytest.approx(1 - worst / size)
    assert Stalls([], []).minimum_utilisation(10, 100) == 1


def test_pauses_are_read_from_a_java_log(tmp_path: Path) -> None:
    log = tmp_path / "java.log"
    line = 'Safepoint "G1Collect", Time since last: 5 ns, Reaching safepoint: 7 ns, At safepoint: 9 ns, Total:'
    log.write_text(
        f"[1ns][gc,start] GC(0) Pause\n[2ns][safepoint   ] {line} 3000 ns\n[gc] GC(1) x\n[3ns][safepoint] {line} 1000 ns\n"
    )
    assert pauses.of_java(log) == pauses.Pauses(2, 1.0, 3.0, 3.0, 2)
    log.write_text("[1ns][gc,init] Using Parallel\n")
    assert pauses.of_java(log) == pauses.Pauses(0, 0, 0, 0, 0)
    log.write_text("[1ns][gc,start] GC(0) Pause\n")
    with pytest.raises(ValueError, match="names no safepoint"):
        pauses.of_java(log)


def test_a_shared_page_counts_once() -> None:
    size = 8 << 20
    program = f"""
import mmap, os
number = os.memfd_create("peers-test")
twin = os.dup(number)
os.pwrite(number, bytes({size}), 0)
views = [mmap.mmap(number, {size}), mmap.mmap(twin, {size})]
seen = [len(bytes(view)) for view in views]
print("ready", flush=True)
input()
"""
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert memory.shared_files(process.pid) == size
        watch = memory.MemoryWatch(process.pid)
        watch.start()
        found = watch.finish()
    assert found.high_water_bytes >= 2 * size
    assert size < found.peak_bytes < found.high_water_bytes
    assert memory.fields("VmHWM:\t    12 kB\nThreads:\t3\n") == {"VmHWM": 12 * 1024}


def test_a_short_peak_is_not_missed() -> None:
    size = 64 << 20
    program = f"bytes([1]) * {size}; print('{{}}', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        line, found = measure.attend(process)
    assert line == b"{}\n"
    assert found is not None
    assert size < found.peak_bytes == found.high_water_bytes


SMALL = Workload(records=400, operations=2_000, threads=2, seed=1, budget_bytes=16 << 20)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Peer, Run]]:
    """Two rounds of the Python peers."""
    folder = tmp_path_factory.mktemp("peers")
    return [(each, measure.call(each, SMALL, folder)) for _ in range(2) for each in peer.python()]


@pytest.fixture
def results(runs: list[tuple[Peer, Run]]) -> Results:
    """These rounds and a peer that failed, as a measurement leaves them."""
    failed = Peer("zgc", "Java, ZGC", ())
    results = Results.begin(SMALL, [*peer.python(), failed], ["go: no Go found"])
    results.sleeper_alone_max_ms += [0.5, 0.25]
    results.interpreter_max_ms += [5.5, 6.5]
    for each, found in runs:
        results.add(each, found)
    results.of(failed).error = "exit status 1: a trace\nCaused by: out of luck\n  at somewhere"
    return results


def test_results_come_back_from_their_file(results: Results, tmp_path: Path) -> None:
    results.write(tmp_path / "results.json")
    assert Results.read(tmp_path / "results.json") == results


def test_the_table_has_every_peer_and_says_who_failed(results: Results) -> None:
    text = table.report(results)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 4
    assert len({row.count("|") for row in rows}) == 1
    assert "subduct, through Python [1]" in rows[2]
    assert "CPython, gc on [1]" in rows[3]
    assert "Java, ZGC: no figures, because it failed: Caused by: out of luck\n" in text
    assert table.reason("Traceback\n  line 3\nHeapFull: no room\n") == "HeapFull: no room"
    assert "Not here: go: no Go found" in text
    assert "at most 0.25 to 0.5 ms late" in text
    assert results.machine.kernel in text
    assert "seed 1, heap limit 16 MiB" in text


def test_the_report_says_where_a_peer_is_better(results: Results) -> None:
    ours, theirs = results.peers[:2]
    for name, value, better in (
        ("sleeper_max_ms", 9.0, 4.0),
        ("operations_per_s", 1e5, 3e5),
        ("peak_bytes", 2**20, 2**30),
    ):
        for figures, figure in ((ours, value), (theirs, better)):
            for each in figures.runs:
                each[name] = figure
    (line,) = table.better(results)
    assert "worst hiccup (CPython, gc on 4.00, against 9.00 ms)" in line
    assert "throughput (CPython, gc on 300, against 100 thousand operations/s)" in line
    assert "peak memory" not in line


def test_a_peer_that_did_something_else_ends_the_measurement(results: Results, tmp_path: Path) -> None:
    other = measure.call(peer.python()[1], Workload(400, 2_001 * 2, 2, 1, 16 << 20), tmp_path)
    with pytest.raises(ValueError, match="CPython, gc on did not do the same operations"):
        results.add(peer.python()[1], other)


def test_the_document_takes_a_new_table_and_keeps_the_rest() -> None:
    document = f"# Before\n\n{table.BEGIN}\nold\n{table.END}\n\n# After\n"
    made = table.into_document(document, "new\n", "new.svg")
    assert made.startswith(f"# Before\n\n{table.BEGIN}\n\nnew\n\n![")
    assert made.endswith(f"](new.svg)\n\n{table.END}\n\n# After\n")
    assert "old" not in made
    with pytest.raises(ValueError, match="needs the markers"):
        table.into_document("nothing", "new\n", "new.svg")
    real = (ROOT / "docs/performance.md").read_text()
    assert "](new.svg)" in table.into_document(real, "new\n", "new.svg")


def test_a_smaller_churn_gets_a_heap_in_proportion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["run.py"])
    assert run.workload_of(run.parse()) == Workload(4_000_000, 12_000_000, 2, 1, 5 << 30)
    monkeypatch.setattr(sys, "argv", ["run.py", "--records", "400000", "--operations", "7"])
    assert run.workload_of(run.parse()) == Workload(400_000, 7, 2, 1, (5 << 30) // 10)
    monkeypatch.setattr(sys, "argv", ["run.py", "--peers", "zgc,abacus"])
    with pytest.raises(SystemExit):
        run.parse()
