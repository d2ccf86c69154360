"""`subduct run` as a person or a script meets it."""

import json
import os
import platform
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import subduct
from harness.data_files import DOCUMENTS, KINDS, write_data
from harness.kernel import SYSCALL_NUMBERS, has_userfaultfd
from harness.seccomp import forbid
from subduct import Heap
from subduct.churn import Churn
from subduct.churn.worker import WEIGHTS
from subduct.cli import main

KEYS = {
    "documents", "objects", "operations", "cycles", "pause_us", "longest_operation_us", "faults", "pages_fixed",
    "pages_built", "pages_installed", "bytes_evacuated", "live_bytes", "resident_bytes", "budget_bytes", "window_unit_bytes", "delivery",
    "verified", "sample_compared",
}  # fmt: skip

COMMAND = [sys.executable, "-m", "subduct"]


def command(*arguments: str | Path, timeout: float = 300, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """A JSON file of 3,000 records."""
    path = tmp_path / "records.json"
    data = [{"id": number, "name": f"record {number}", "tags": ["ä", str(number) * 3]} for number in range(3_000)]
    path.write_text(json.dumps(data, ensure_ascii=False))
    return path


def refused(*arguments: str | Path) -> str:
    """What is said about bad input: one line, exit code 2, no traceback."""
    done = command("run", *arguments)
    assert done.returncode == 2, done
    assert done.stderr.startswith("subduct: ")
    assert done.stderr.count("\n") == 1
    return done.stderr.removeprefix("subduct: ").rstrip("\n")


def test_python_sources_from_load_to_report() -> None:
    done = command("run", "--limit", "60", "--seconds", "4", "--budget", "256MiB", "--keep", "0.1", "--json")
    assert done.returncode == 0, done
    assert done.stderr == ""
    report = json.loads(done.stdout)
    assert set(report) >= KEYS
    assert report["verified"] is True
    assert report["documents"] == 60
    assert report["objects"] > 60_000
    assert report["operations"] > 0
    assert report["cycles"] >= 3
    assert report["moves"] >= 1
    assert report["bytes_evacuated"] > 0
    assert report["pause_us"]["count"] >= 1
    assert 0 < report["pause_us"]["p50"] <= report["pause_us"]["p99"] <= report["pause_us"]["max"]
    assert report["sample_compared"] >= 50
    assert report["mismatches"] == []
    assert report["budget_bytes"] == 256 << 20
    assert report["delivery"] == ("sigbus" if has_userfaultfd() else "software")
    kept = report["kept"]["after"]
    assert kept["documents"] <= 6
    assert kept["resident_bytes"] <= 1.25 * kept["live_bytes"] + (8 << 20)
    assert report["resident_bytes"] == kept["resident_bytes"]
    assert report["churned"]["live_bytes"] > kept["live_bytes"]


def test_deleting_most_documents_frees_most_of_what_is_alive(tmp_path: Path) -> None:
    """Documents of one size: which of them are kept makes no difference to the figures."""
    path = tmp_path / "equal.json"
    path.write_text(json.dumps([{"id": str(number), "text": f"{number:>200}"} for number in range(20_000)]))
    done = command("run", path, "--seconds", "1", "--budget", "64MiB", "--keep", "0.1", "--json")
    assert done.returncode == 0, done
    report = json.loads(done.stdout)
    kept = report["kept"]["after"]
    assert kept["resident_bytes"] <= 1.25 * kept["live_bytes"] + (8 << 20)
    assert report["churned"]["live_bytes"] > 5 * kept["live_bytes"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_source_is_compared(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_data(tmp_path, kind)
    assert main(["run", str(path), "--seconds", "0.2", "--budget", "64MiB", "--json", "--seed", "5"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["documents"], report["seed"], report["verified"]) == (DOCUMENTS, 5, True)
    # At most a tenth of each thread's documents is deleted when the churn ends.
    assert DOCUMENTS * 0.9 <= report["sample_compared"] <= DOCUMENTS
    assert report["operations"] > 0


def test_a_document_that_is_compared_twice_counts_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_data(tmp_path, KINDS[0])
    assert main(["run", str(path), "--seconds", "0", "--budget", "64MiB", "--keep", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sample_compared"] == DOCUMENTS


def test_a_run_that_can_compare_nothing_fails(
    records: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A source that never gives the same key again: nothing is damaged, and nothing is found either."""
    numbers = count()
    monkeypatch.setattr("subduct.load.json.JsonSource.key", lambda *_: next(numbers))
    assert main(["run", str(records), "--seconds", "0", "--budget", "64MiB", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["documents"], report["sample_compared"], report["verified"]) == (3_000, 0, False)
    assert report["failure"] == "of 3,000 documents in the heap, 0 were found by key and could be compared"


def test_a_run_that_lost_documents_while_loading_fails(
    records: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("subduct.load.json.JsonSource.key", lambda _, number: number // 2)
    assert main(["run", str(records), "--seconds", "0", "--limit", "10", "--budget", "64MiB"]) == 1
    assert "10 documents were loaded, but the heap holds 5 documents" in capsys.readouterr().out


def test_a_single_document_is_compared_though_the_churn_has_deleted_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "one.json"
    path.write_text('[{"a": 1}]')
    stop = Churn.stop

    def stop_and_delete(churn: Churn) -> None:
        stop(churn)
        for worker in churn._workers:
            for number in worker._own:
                worker._delete(number)

    monkeypatch.setattr(Churn, "stop", stop_and_delete)
    assert main(["run", str(path), "--seconds", "0.1", "--budget", "64MiB", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["verified"], report["sample_compared"]) == (True, 1)


def test_the_delimiter_that_was_taken_is_said(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("a;b\n1;2\n")
    done = command("run", path, "--seconds", "0", "--budget", "64MiB")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1] == "note: 2 columns, separated by semicolons"
    done = command("run", path, "--seconds", "0", "--budget", "64MiB", "--json")
    assert json.loads(done.stdout)["notes"] == ["2 columns, separated by semicolons"]
    for given in (":", "tab"):
        path.write_text(f"a{given}b\n1{given}2\n".replace("tab", "\t"))
        done = command("run", path, "--seconds", "0", "--budget", "64MiB", "--delimiter", given)
        assert done.returncode == 0, done
        assert re.search(r"^note: 2 columns, separated by (':'|tabs)$", done.stdout, re.MULTILINE)
    for wrong in ("", "::", '"', "\n"):
        assert command("run", path, "--delimiter", wrong).returncode == 2


def test_plain_lines_in_a_pipe(records: Path) -> None:
    done = command("run", records, "--seconds", "0.5", "--budget", "64MiB", "--limit", "500")
    assert done.returncode == 0, done
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    lines = done.stdout.splitlines()
    assert lines[0] == f"loading {records}"
    assert re.fullmatch(r"churning 500 documents for 0\.5 s on 2 threads, seed \d+", lines[1])
    assert re.search(r"^loaded +500 documents, [\d,]+ objects, from ", done.stdout, re.MULTILINE)
    assert re.search(r"^verified +yes$", done.stdout, re.MULTILINE)


def test_the_pause_delivery_on_request(records: Path) -> None:
    done = command("run", records, "--seconds", "1", "--budget", "64MiB", "--delivery", "pause", "--json")
    assert done.returncode == 0, done
    report = json.loads(done.stdout)
    assert (report["delivery"], report["faults"]) == ("pause", 0)


def test_bad_input_gets_one_line(tmp_path: Path, records: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text('[{"a": 1},\n{"a" 2}]')
    assert refused(broken) == f"{broken}:2: Expecting ':' delimiter (column 6)"
    assert refused(tmp_path / "none.csv") == f"{tmp_path / 'none.csv'}: no such file or folder"
    unknown = tmp_path / "data.xml"
    unknown.touch()
    assert refused(unknown).startswith(f"{unknown}: unknown kind of file; expected .json")
    empty = tmp_path / "empty.ndjson"
    empty.touch()
    assert refused(empty) == f"{empty}: no documents in it"
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "bad.py").write_text("def")
    assert refused(folder).startswith(f"{folder}: no documents in it (bad.py: SyntaxError: ")
    assert refused(records, "--budget", "many").startswith("--budget: ")


def test_a_budget_that_is_too_small_gets_one_line() -> None:
    message = refused("--budget", "16MiB")
    assert message.startswith("--budget 16MiB is too small for this data: ")
    assert re.search(r"\d", message.partition(": ")[2]), "without figures nobody knows how much more"


def test_wrong_usage_is_explained() -> None:
    for arguments in (["run", "--threads", "0"], ["run", "--keep", "2"], ["run", "--delivery", "x"], ["walk"], []):
        done = command(*arguments)
        assert done.returncode == 2
        assert "usage: subduct" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["run", "soak"])
def test_an_empty_name_is_no_folder(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As "$FILE" is where FILE is not set."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "source.py").write_text("x = 1\n")
    done = command(name, "", "--seconds", "0.1", "--budget", "64MiB")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("'': no such file or folder\n")


@pytest.mark.parametrize("name", [["run"], ["doctor"], ["soak"], ["selftest"], ["bench", "pause"]], ids=" ".join)
def test_an_unknown_option_is_explained_by_its_own_command(name: list[str]) -> None:
    done = command(*name, "--secconds", "3")
    assert done.returncode == 2
    assert done.stderr.startswith(f"usage: subduct {' '.join(name)} ")
    assert "unrecognized arguments: --secconds" in done.stderr


def test_help_and_version() -> None:
    for arguments in (["--help"], ["run", "--help"], ["doctor", "--help"], ["soak", "--help"]):
        done = command(*arguments, COLUMNS="80")
        assert done.returncode == 0
        assert max(map(len, done.stdout.splitlines())) <= 80
    assert command("--version").stdout == f"subduct {subduct.__version__}\n"


def test_the_help_says_how_operations_are_chosen() -> None:
    output = command("run", "--help").stdout
    assert sum(WEIGHTS.values()) == 100
    for name, percent in WEIGHTS.items():
        assert re.search(rf"^  {name} +{percent} %  ", output, re.MULTILINE)


def test_the_installed_command_is_the_module(records: Path) -> None:
    script = Path(sys.executable).parent / "subduct"
    done = subprocess.run(
        [script, "run", records, "--seconds", "0", "--limit", "10", "--budget", "64MiB"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, "run", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def heap_blocks(process: int) -> int:
    """Blocks of the file of a process's heap; 0 while there is none."""
    blocks = 0
    for link in Path(f"/proc/{process}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            if "memfd:subduct" in str(link.readlink()):
                blocks += link.stat().st_blocks
    return blocks


def wait_for_use_of_heap(running: subprocess.Popen[str]) -> None:
    """Return when the heap of a process is of another size than now: something was stored in it."""
    before = heap_blocks(running.pid)
    while running.poll() is None and heap_blocks(running.pid) == before:
        time.sleep(0.01)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_churning_ends_with_the_report_so_far(records: Path, number: signal.Signals, code: int) -> None:
    with start(records, "--seconds", "600", "--budget", "64MiB") as running:
        assert running.stdout is not None
        assert running.stdout.readline().startswith("loading")
        assert running.stdout.readline().startswith("churning 3,000 documents")
        wait_for_use_of_heap(running)
        running.send_signal(number)
        output, errors = running.communicate(timeout=60)
    assert (running.returncode, errors) == (code, "")
    assert re.search(r"^operations +[1-9]", output, re.MULTILINE)
    assert re.search(r"^verified +not to the end: interrupted$", output, re.MULTILINE)


def test_a_signal_while_loading_ends_with_the_report_so_far() -> None:
    with start("--seconds", "600") as running:
        assert running.stdout is not None
        assert running.stdout.readline().startswith("loading the standard library of Python")
        for _ in range(20):
            wait_for_use_of_heap(running)
        running.send_signal(signal.SIGINT)
        output, errors = running.communicate(timeout=60)
    assert (running.returncode, errors) == (130, "")
    assert re.search(r"^loaded +[1-9][\d,]* documents, from ", output, re.MULTILINE)
    assert re.search(r"^verified +not to the end: interrupted$", output, re.MULTILINE)


def test_a_document_that_differs_fails_the_run(
    records: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The canary of the comparison: that a damaged document is seen is tested with the churn."""
    monkeypatch.setattr("subduct.cli.run.matches_source", lambda _, number: number != 1_234)
    assert main(["run", str(records), "--seconds", "0", "--sample", "3000", "--budget", "64MiB", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["verified"], report["mismatches"], report["sample_compared"]) == (False, ["1234"], 3_000)
    assert report["failure"] == "1 document not the same as the source"


def test_a_heap_that_is_not_verified_fails_the_run(
    records: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: Heap) -> None:
        raise RuntimeError("object 7 is lost")

    monkeypatch.setattr(Heap, "verify", broken)
    assert main(["run", str(records), "--seconds", "0", "--budget", "64MiB"]) == 1
    assert "verified" in capsys.readouterr().out


def test_a_machine_that_cannot_is_told_so(records: Path) -> None:
    if platform.machine() not in SYSCALL_NUMBERS:
        pytest.skip("system call number unknown")
    done = subprocess.run(
        [*COMMAND, "run", records, "--delivery", "sigbus", "--budget", "64MiB"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=forbid(SYSCALL_NUMBERS[platform.machine()]),
    )
    assert done.returncode == 2
    assert done.stderr.startswith("subduct: ")
    assert done.stderr.endswith("`subduct doctor` says what this machine allows\n")
    assert done.stderr.count("\n") == 1


def test_without_userfaultfd_it_runs_all_the_same(records: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "run", str(records), "--seconds", "0.5", "--budget", "64MiB", "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=forbid(SYSCALL_NUMBERS[platform.machine()]),
    )
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert report["delivery"] == "software"
    assert report["verified"] is True


def test_nobody_reads_the_output(records: Path) -> None:
    with start(records, "--seconds", "1", "--budget", "64MiB") as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        errors = running.stderr.read()
        running.wait(timeout=60)
    assert "Traceback" not in errors
    assert running.returncode == 2


def screen(*arguments: str | Path, columns: int = 100) -> str:
    """What the command writes to a terminal."""
    terminal, other_side = pty.openpty()
    termios.tcsetwinsize(terminal, (30, columns))
    with subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdin=other_side,
        stdout=other_side,
        stderr=other_side,
        env={**os.environ, "TERM": "xterm-256color"},
    ) as running:
        os.close(other_side)
        written = b""
        try:
            while data := os.read(terminal, 65_536):
                written += data
        except OSError:
            pass  # Linux says EIO once the other side is gone
        os.close(terminal)
    assert running.returncode == 0, written
    return written.decode()


@pytest.mark.parametrize("columns", [80, 140])
def test_a_terminal_shows_a_live_line_and_the_table(records: Path, columns: int) -> None:
    arguments = ["run", str(records), "--seconds", "2", "--budget", "64MiB"]
    text = screen(*arguments, columns=columns)
    seen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    live = re.findall(r"[\d.]+ s  [\d,]+ op/s  live [\d,]+, resident [\d,]+ MiB  [\d,]+ cycles  pause p50", seen)
    assert live
    assert re.search(r"verified +yes", seen)
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l"), "the cursor stays hidden"


def test_the_doctor_on_a_terminal_is_coloured() -> None:
    if not has_userfaultfd():
        pytest.skip("no userfaultfd on this kernel")
    assert "\x1b[32mok" in screen("doctor")


def figures(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_seed_repeats_what_a_thread_chooses(records: Path) -> None:
    arguments = [str(records), "--seconds", "0", "--seed", "9", "--sample", "7", "--json"]
    runs = [figures(command("run", *arguments)) for _ in range(2)]
    assert {run["seed"] for run in runs} == {9}
    assert {run["sample_compared"] for run in runs} == {7}
