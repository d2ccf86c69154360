"""`subduct soak`: a short one passes, and growth is found."""

import errno
import os
import re
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path

import pytest

from subduct.cli import soak as module
from subduct.cli.refused import RefusedError
from subduct.cli.soak import TOLERANCES, Sample, growth

MIB = 1 << 20
STEADY = Sample(
    live_bytes=50 * MIB,
    resident_bytes=60 * MIB,
    handles=3,
    private_bytes=80 * MIB,
    mappings=200,
    descriptors=12,
    threads=4,
)
NAMES = [field.name for field in fields(Sample)]


def test_everything_that_is_sampled_has_a_tolerance() -> None:
    assert list(TOLERANCES) == NAMES


def test_a_steady_process_passes() -> None:
    assert growth([STEADY] * 6) == []
    # One odd sample decides nothing, nor does shrinking.
    assert growth([*[STEADY] * 5, replace(STEADY, handles=500), *[STEADY] * 6]) == []
    assert growth([*[replace(STEADY, resident_bytes=100 * MIB)] * 6, *[STEADY] * 6]) == []


@pytest.mark.parametrize("name", NAMES)
def test_growth_is_found(name: str) -> None:
    samples = [replace(STEADY, **{name: int(getattr(STEADY, name) * (1 + round_ / 20))}) for round_ in range(30)]
    assert growth(samples) == [name]


@pytest.mark.parametrize("name", NAMES)
def test_one_odd_sample_of_two_decides_nothing(name: str) -> None:
    grown = replace(STEADY, **{name: getattr(STEADY, name) * 2})
    shrunk = replace(STEADY, **{name: getattr(STEADY, name) // 2})
    assert growth([STEADY] * 5 + [grown]) == []
    assert growth([shrunk] + [STEADY] * 5) == []
    assert growth([STEADY] * 4 + [grown] * 2) == [name]


@pytest.mark.parametrize("ends", [True, False])
def test_a_joined_thread_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: bool) -> None:
    for name in ("fd", "task", "task/1", "task/2", "task/3"):
        (tmp_path / name).mkdir()
    (tmp_path / "status").write_text("RssAnon:\t  12 kB\n")
    (tmp_path / "maps").write_bytes(b"of a\rfile \xff\nof none\n")
    looks = []

    def give_way(_: float) -> None:
        looks.append(len(list((tmp_path / "task").iterdir())))
        if ends and len(looks) == 5:
            (tmp_path / "task" / "3").rmdir()

    monkeypatch.setattr(module, "_PROCESS", tmp_path)
    monkeypatch.setattr(time, "sleep", give_way)
    figures = module._settled_figures(2)
    monkeypatch.undo()
    assert figures["mappings"] == 2
    assert figures["threads"] == (2 if ends else 3)
    assert looks == [3] * (5 if ends else module._MOST_LOOKS)


@pytest.mark.parametrize(
    ("number", "remedy"), [(errno.EMFILE, "ulimit -n"), (errno.ENFILE, "fs.file-max"), (errno.EACCES, "mount /proc")]
)
def test_what_to_do_where_the_figures_cannot_be_read(monkeypatch: pytest.MonkeyPatch, number: int, remedy: str) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(RefusedError, match=remedy) as caught:
        module._figures()
    assert ("mount /proc" in str(caught.value)) is (number == errno.EACCES)


def test_a_short_soak_passes() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "subduct", "soak", "--seconds", "5", "--limit", "40", "--budget", "128MiB"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done
    assert done.stderr == ""
    assert re.search(r"^resident +[\d.,]+ MiB +[\d.,]+ MiB +[\d.,]+ MiB$", done.stdout, re.MULTILINE)
    assert done.stdout.endswith("\nnothing grew\n")


def test_the_shortest_soak_churns_in_each_round() -> None:
    done = soak("1e-9")
    assert done.returncode == 0, done
    rounds = re.findall(r"^  [\d.]+ s  ([\d,]+) operations?, ", done.stderr + done.stdout, re.MULTILINE)
    assert len(rounds) == 7, done
    assert "0" not in rounds
    assert done.stdout.endswith("\nnothing grew\n")


def test_a_soak_of_no_time_is_refused() -> None:
    done = soak("0")
    assert (done.returncode, done.stdout) == (2, "")
    assert "a number of seconds more than 0" in done.stderr


def soak(seconds: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "subduct", "soak", "--seconds", seconds, "--limit", "10", "--budget", "64MiB"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
