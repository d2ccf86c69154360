"""The man pages: they render without complaint, their examples run, and they name what the command line has."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.roff import PAGES, Example, example, options, plain, section, subsections
from harness.source import ROOT
from subduct.kernel import MapFlag, MemfdFlag, Prot, RemapFlag, calls

SUBDUCT = ROOT / "man" / "subduct.1"
DONTUNMAP = ROOT / "man" / "mremap_dontunmap.7"
LINTERS = {
    "groff": ["groff", "-t", "-ww", "-z", "-man", "-Tutf8"],
    "mandoc": ["mandoc", "-T", "lint", "-W", "style"],
    "man": ["man", "--warnings=w", "-l"],
}


def run(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, env={**os.environ, **environment}
    )


def moves_shared_memory() -> bool:
    """Whether this kernel has the widened rule, by trying."""
    file = calls.memfd_create("test_man", MemfdFlag.CLOEXEC)
    calls.ftruncate(file, 4096)
    old = calls.mmap(0, 4096, Prot.READ, MapFlag.SHARED, file)
    os.close(file)
    try:
        new = calls.mremap(old, 4096, 4096, RemapFlag.MAYMOVE | RemapFlag.DONTUNMAP)
    except OSError:
        return False
    else:
        calls.munmap(new, 4096)
        return True
    finally:
        calls.munmap(old, 4096)


def test_both_pages_are_there() -> None:
    assert sorted(PAGES, key=lambda page: page.suffix) == [SUBDUCT, DONTUNMAP]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
@pytest.mark.parametrize("linter", LINTERS)
def test_a_page_renders_without_complaint(linter: str, page: Path) -> None:
    if shutil.which(linter) is None:
        pytest.skip(f"{linter} is not installed")
    done = run([*LINTERS[linter], str(page)], MANWIDTH="80", LC_ALL="C.UTF-8", MANPAGER="cat")
    # mandoc's index of the machine's other pages is no matter of ours.
    complaints = [line for line in done.stderr.splitlines() if "mandoc.db" not in line]
    assert (done.returncode, complaints) == (0, [])
    if linter == "man":
        assert max(len(line) for line in re.sub(".\b", "", done.stdout).splitlines()) <= 80
        assert section(page, "NAME").split()[0] in done.stdout
    else:
        assert done.stdout == ""


def test_at_least_one_linter_is_there() -> None:
    assert any(shutil.which(linter) for linter in LINTERS), "install groff-base or mandoc"


def check_example(ran: subprocess.CompletedProcess[str], told: Example, refused: str) -> None:
    """What a page says is printed must be; an old kernel refuses, which the page says too."""
    if moves_shared_memory():
        assert (ran.returncode, ran.stderr) == (0, "")
        assert ran.stdout == told.printed
    else:
        assert refused in ran.stdout + ran.stderr


def test_the_example_in_c_compiles_and_runs(tmp_path: Path) -> None:
    told = example(DONTUNMAP, "In C")
    source, program = tmp_path / "example.c", tmp_path / "example"
    source.write_text(told.code)
    built = run(["cc", "-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-o", str(program), str(source)])
    assert (built.returncode, built.stderr) == (0, "")
    check_example(run([str(program)]), told, "mremap: Invalid argument")


def test_the_example_in_python_runs() -> None:
    told = example(DONTUNMAP, "In Python")
    check_example(run([sys.executable, "-c", told.code]), told, "shared was refused")


def test_examples_fit_a_terminal() -> None:
    for page in PAGES:
        for block in re.findall(r"^\.EX\n(.*?)^\.EE$", page.read_text(), re.MULTILINE | re.DOTALL):
            assert max(len(line) for line in plain(block).splitlines()) <= 72


def help_of(*words: str) -> str:
    """What a command says of itself."""
    done = run([sys.executable, "-m", "subduct", *words, "--help"], COLUMNS="100")
    assert done.returncode == 0, done.stderr
    return done.stdout


def listed(help_text: str) -> list[str]:
    """The commands, or the parts of a command, that a help text lists below a line with their placeholder."""
    below = re.split(r"^  [A-Z]+\n", help_text, maxsplit=1, flags=re.MULTILINE)
    return re.findall(r"^    ([a-z]+)\b", below[1].partition("\n\n")[0], re.MULTILINE) if len(below) == 2 else []


def commands() -> list[str]:
    """The commands that the program lists."""
    found = listed(help_of())
    assert "run" in found
    return found


def test_each_command_has_its_part() -> None:
    assert sorted(subsections(SUBDUCT)) == sorted(f"subduct {command}" for command in commands())
    synopsis = re.findall(r"^\.SY subduct\n\.B ([a-z]+)$", section(SUBDUCT, "SYNOPSIS"), re.MULTILINE)
    assert set(synopsis) == set(commands())


def test_each_option_is_explained_and_there_are_no_others() -> None:
    for command in commands():
        help_text = help_of(command)
        wanted = options(help_text).union(*(options(help_of(command, part)) for part in listed(help_text)))
        assert options(section(SUBDUCT, f"subduct {command}")) == wanted - {"--help"}, command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_pages_are_installed_with_the_package(page: Path) -> None:
    place = f"share/man/man{page.suffix[1:]}/{page.name}"
    listed = importlib.metadata.files("subduct") or []
    installed = [Path(str(path.locate())) for path in listed if str(path).endswith(place)]
    assert len(installed) == 1, f"the distribution has no {place}"
    assert installed[0].read_text() == page.read_text()
