"""What the commands do where their output goes nowhere, and where the machine shows nothing of itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from subduct.cli import main
from subduct.cli.soak import soak

COMMANDS = [
    ["explain", "flip", "--heap", "1GiB"],
    ["explain", "flip", "--heap", "1GiB", "--json"],
    ["selftest", "--list"],
    ["bench", "--help"],
    ["--version"],
    ["doctor"],
    ["run", "{data}", "--seconds", "0.1", "--budget", "16MiB"],
    ["run", "{data}", "--seconds", "0.1", "--budget", "16MiB", "--json"],
    ["soak", "{data}", "--seconds", "0.1", "--budget", "16MiB"],
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.ndjson"
    path.write_text('{"a": 1}\n' * 20)
    return path


def run(arguments: list[str], data: Path, redirection: str) -> subprocess.CompletedProcess[str]:
    """Run a command below a shell that redirects its streams."""
    command = [sys.executable, "-m", "subduct", *(each.format(data=data) for each in arguments)]
    return subprocess.run(
        ["sh", "-c", f'"$@" {redirection}', "sh", *command], capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(
    ("redirection", "reason"), [(">&-", "standard output is closed"), (">/dev/full", "No space left on device")]
)
def test_output_that_cannot_be_written(arguments: list[str], data: Path, redirection: str, reason: str) -> None:
    done = run(arguments, data, redirection)
    assert done.returncode == 2, done.stderr
    (said,) = done.stderr.splitlines()
    assert said.startswith(f"subduct: the output cannot be written: {reason}")


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_messages_go_nowhere_where_standard_error_is_closed(arguments: list[str], data: Path) -> None:
    done = run(arguments, data, "2>&-")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_a_refusal_does_not_go_to_the_output_where_standard_error_is_closed(data: Path) -> None:
    done = run(["run", f"{data}.missing"], data, "2>&-")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")


def test_nobody_reads(data: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        command = [sys.executable, "-m", "subduct", "run", str(data), "--seconds", "0.1", "--budget", "16MiB"]
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False, timeout=120)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (2, "")


def test_soak_says_what_it_needs_where_there_is_no_proc(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.modules[soak.__module__], "_PROCESS", tmp_path / "proc")
    assert main(["soak", str(data), "--seconds", "1"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.endswith("proc, which cannot be read: No such file or directory; mount /proc\n")


def test_more_threads_than_any_machine_churns_with(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run", "--threads", "30000000"])
    assert ended.value.code == 2
    assert "expected a whole number from 1 to 10000, not '30000000'" in capsys.readouterr().err
