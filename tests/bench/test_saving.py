"""Files that `subduct bench` writes: the old one or the new one, and nothing else."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from subduct.cli.refused import RefusedError
from subduct.cli.saving import check_writable, save

LONG = "x" * 100_000


@contextmanager
def short_files() -> Iterator[None]:
    """Writes fail in the middle, as on a full disk: no file may be longer than a page."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("old", [None, "what was there"])
def test_what_cannot_be_written_leaves_things_as_they_were(tmp_path: Path, old: str | None) -> None:
    path = tmp_path / "result.json"
    if old is not None:
        path.write_text(old)
    with short_files(), pytest.raises(RefusedError) as refused:
        save(path, LONG)
    assert str(refused.value) == f"{path} cannot be written: File too large; free some space, or name a file elsewhere"
    assert refused.value.code == 2
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == ([] if old is None else [(path.name, old)])


def test_a_file_is_replaced_as_it_was(tmp_path: Path) -> None:
    path, link = tmp_path / "result.json", tmp_path / "latest.json"
    path.write_text("what was there")
    path.chmod(0o640)
    link.symlink_to(path.name)
    save(link, "what is new")
    assert link.is_symlink()
    assert path.read_text() == "what is new"
    assert path.stat().st_mode & 0o777 == 0o640
    assert sorted(each.name for each in tmp_path.iterdir()) == ["latest.json", "result.json"]


def test_a_new_file_has_the_mode_of_any_other(tmp_path: Path) -> None:
    save(tmp_path / "result.json", "new")
    (tmp_path / "other").touch()
    assert (tmp_path / "result.json").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_what_is_no_file_is_written_to(tmp_path: Path) -> None:
    save(Path(os.devnull), LONG)
    assert not Path(os.devnull).is_file()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    save(fifo, "through a pipe")
    assert os.read(reader, 100) == b"through a pipe"
    os.close(reader)
    assert fifo.is_fifo()


def test_a_file_that_may_be_written_in_a_folder_that_may_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "result.json"
    path.write_text("old")
    number = path.stat().st_ino
    may = os.access
    monkeypatch.setattr(os, "access", lambda place, mode: Path(place) != tmp_path and may(place, mode))
    check_writable(path)
    save(path, "new")
    assert (path.read_text(), path.stat().st_ino) == ("new", number)
    with pytest.raises(RefusedError, match="the folder may not be written to"):
        check_writable(tmp_path / "other.json")


def test_what_can_be_seen_before_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path, said in (
        (tmp_path, "Is a directory"),
        (tmp_path / "none" / "x.json", "there is no such folder"),
    ):
        with pytest.raises(RefusedError, match=said):
            check_writable(path)
    (tmp_path / "old.json").touch()
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(RefusedError, match="Permission denied"):
        check_writable(tmp_path / "old.json")


@pytest.mark.parametrize("name", ["/dev/stdout", "/proc/self/fd/1", "out.txt"])
def test_standard_output_gets_both(tmp_path: Path, name: str) -> None:
    """Also where it is a regular file: opened again, it would be cut off."""
    program = """
import sys
from pathlib import Path
from subduct.cli.saving import save
print("shown", flush=True)
save(Path(sys.argv[1]), "saved\\n")
print("shown, too")
"""
    with (tmp_path / "out.txt").open("w") as out:
        command = [sys.executable, "-c", program, str(tmp_path / name)]
        subprocess.run(command, stdout=out, check=True, timeout=60)
    assert (tmp_path / "out.txt").read_text() == "shown\nsaved\nshown, too\n"
