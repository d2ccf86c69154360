"""`make kernels`: how it chooses kernels, reads and judges results, and what its document says."""

import copy
import importlib.metadata
import json
import platform
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from harness.source import ROOT
from kernels import archive, guest, tools
from kernels.__main__ import _parse
from kernels.archive import Archive, Kernel, image_below, parts
from kernels.boot import Guest
from kernels.column import CHECKS, Column
from kernels.comparison import Comparison
from kernels.failure import KernelsError
from kernels.series import SERIES, Series, newest, widened
from kernels.table import document, text
from kernels.trial import Trial, digest

DOCUMENT = ROOT / "docs" / "kernels.md"
HEADINGS = [*(series.version for series in SERIES), "host"]
# A table older than half a year speaks of kernels that nobody runs any more.
MOST_DAYS = 180


def results(release: str, **changed: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What a guest writes where everything is as it must be, with the figures of some checks changed."""
    new = widened(release)
    shared = "accepted" if new else "EINVAL"
    delivery = "sigbus" if new else "software"
    figures: dict[str, dict[str, Any]] = {
        "boot": {"release": release, "version": "#1 SMP", "python": "3.11.2", "up_s": 21.0},
        "probes": {
            "private_anonymous": "accepted",
            "shared_anonymous": shared,
            "shared_memfd": shared,
            "private_memfd": shared,
            "perf_ring": "EINVAL",
            "vvar": "EINVAL",
        },
        "doctor": {"delivery": delivery, "runs": new, "missing": [] if new else ["userfaultfd features"]},
        "run": {
            "delivery": delivery,
            "cycles": 12,
            "moves": 4,
            "operations": 28,
            "faults": 9,
            "verified": True,
            "mismatches": [],
            "sample_compared": 48,
            "pause_us": {"p50": 900.0},
        },
        "selftest": {"passed": 170, "failed": 0, "skipped": 8, "todo": 1, "planned": 179, "failures": []},
        "differential": {"rules": "6.1", "sequences": 150, "calls": 4_000, "difference": None, "seed": 7},
    }
    for name, values in changed.items():
        figures[name] |= values
    codes = {"doctor": 0 if new else 1}
    return {
        name: {
            "name": name,
            "figures": copy.deepcopy(values),
            "problem": None,
            "exit_code": codes.get(name, 0),
            "seconds": 3.0,
        }
        for name, values in figures.items()
    }


TRIAL = Trial(2_000, 5.0, "1.2.3", "0123abcd")
DAY = date(2026, 1, 2)


def column(heading: str, release: str, **changed: dict[str, Any]) -> Column:
    return Column(heading, "1.2-3", results(release, **changed), 1, DAY, TRIAL.digest)


def test_the_newest_full_image_is_chosen() -> None:
    names = [
        "linux-image-6.1.0-9-amd64",
        "linux-image-6.1.0-56-amd64",
        "linux-image-6.1.0-56-cloud-amd64",
        "linux-image-6.1.0-57-rt-amd64",
        "linux-image-6.1.0-99-amd64-unsigned",
        "linux-image-6.12.90+deb12.1-amd64",
        "linux-image-6.12.117+deb12-amd64",
        "linux-image-6.12-amd64",
        "linux-image-5.10.0-32-amd64",
        "linux-image-7.2.12+deb14-amd64",
        "linux-image-7.2.13+deb14-amd64",
    ]
    assert newest(Series("6.1"), names) == "linux-image-6.1.0-56-amd64"
    assert newest(Series("6.12"), names) == "linux-image-6.12.117+deb12-amd64"
    assert newest(Series("5.10"), names) == "linux-image-5.10.0-32-amd64"
    assert newest(Series("7.2"), names) == "linux-image-7.2.13+deb14-amd64"
    assert newest(Series("5.1"), names) is None


def test_a_kernel_that_cannot_be_had_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"pkgnames": "linux-image-6.1.0-56-amd64\n", "indextargets": "mirror: bookworm main\n"}
    found = Archive(tmp_path)
    monkeypatch.setattr(found, "_update", lambda: None)
    monkeypatch.setattr(found, "_apt", lambda _program, verb, *_rest: answers[verb])
    with pytest.raises(KernelsError, match=r"no kernel 5\.10: .*bullseye"):
        found.kernel(Series("5.10"))


def test_an_unpacked_kernel_is_taken_from_the_cache(tmp_path: Path) -> None:
    home = tmp_path / "images" / "6.1"
    home.mkdir(parents=True)
    (home / "kernel.json").write_text(json.dumps({"release": "6.1.0-56-amd64", "package_version": "6.1.192-2"}))
    (home / "root" / "boot").mkdir(parents=True)
    (home / "root" / "boot" / "vmlinuz-6.1.0-56-amd64").touch()
    kernel = Archive(tmp_path).kernel(Series("6.1"))
    assert (kernel.release, kernel.package_version) == ("6.1.0-56-amd64", "6.1.192-2")
    assert kernel.image == home / "root" / "boot" / "vmlinuz-6.1.0-56-amd64"


def test_an_image_is_found_where_debian_has_put_it(tmp_path: Path) -> None:
    release = "7.2.13+deb14-amd64"
    with pytest.raises(KernelsError, match=rf"{re.escape(release)} have no image: not boot/vmlinuz-"):
        image_below(tmp_path, release)
    for place in (f"usr/lib/modules/{release}/vmlinuz", f"boot/vmlinuz-{release}"):
        (tmp_path / place).parent.mkdir(parents=True)
        (tmp_path / place).touch()
        assert image_below(tmp_path, release) == Path(place)


DEPENDS = """\
linux-image-7.2.13+deb14-amd64
  PreDepends: linux-base
 |Depends: dracut
  Depends: <linux-initramfs-tool>
    dracut
  Depends: kmod
  Depends: linux-base-7.2.13+deb14-amd64
  Depends: linux-modules-7.2.13+deb14-amd64
"""


def test_the_packages_that_an_image_was_split_into_come_with_it() -> None:
    release = "7.2.13+deb14-amd64"
    assert parts(release, DEPENDS) == [f"linux-base-{release}", f"linux-modules-{release}"]
    assert parts("6.1.0-56-amd64", "linux-image-6.1.0-56-amd64\n  Depends: kmod\n") == []
    without_lists = DEPENDS.replace(f"linux-base-{release}", f"<linux-base-{release}>")
    assert parts(release, without_lists) == [f"linux-modules-{release}"]
    lacking = DEPENDS.replace(f"linux-modules-{release}", f"<linux-modules-{release}>")
    with pytest.raises(KernelsError, match=rf"^no suite has linux-modules-{re.escape(release)}, without which"):
        parts(release, lacking)


def test_an_ordinary_user_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "_missing_packages", lambda: ["busybox-static", "qemu-system-x86"])
    monkeypatch.setattr("os.geteuid", lambda: 1_000)
    with pytest.raises(KernelsError, match=r"apt-get install --no-install-recommends busybox-static qemu-system-x86"):
        tools.ensure_programs()


def test_a_busybox_that_needs_libraries_does_not_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("qemu-system-x86_64", "depmod", "modprobe", "busybox"):
        (tmp_path / name).write_bytes(b"\x7fELF")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert tools._missing_packages() == []
    (tmp_path / "busybox").write_bytes(b"\x7fELF /lib64/ld-linux-x86-64.so.2")
    assert tools._missing_packages() == ["busybox-static"]


def test_the_older_suites_come_from_this_machines_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = "mirror:/debian/ trixie main\nmirror:/debian/ trixie contrib\nmirror:/security/ trixie-security main\n"
    monkeypatch.setattr(archive, "_call", lambda _command: listed)
    monkeypatch.setattr(archive, "_codename", lambda: "trixie")
    assert archive._sources() == [
        ("mirror:/debian/", "trixie"),
        ("mirror:/security/", "trixie-security"),
        ("mirror:/debian/", "bullseye"),
        ("mirror:/debian/", "bookworm"),
        ("mirror:/debian/", "bookworm-backports"),
        ("mirror:/debian/", "trixie-backports"),
        ("mirror:/debian/", "testing"),
        ("mirror:/debian/", "sid"),
    ]
    monkeypatch.setattr(archive, "_codename", lambda: "noble")
    with pytest.raises(KernelsError, match="noble"):
        archive._sources()


@pytest.mark.parametrize(
    ("release", "expected"),
    [("5.10.0-32-amd64", False), ("5.12.19", False), ("5.13.0", True), ("6.1.0-56-amd64", True), ("junk", False)],
)
def test_the_widened_rule_came_with_5_13(release: str, expected: bool) -> None:
    assert widened(release) is expected


def test_tap_is_counted() -> None:
    output = """\
TAP version 13
1..6
ok 1 - mremap.simple
not ok 2 - uffd.move
  ---
  what: "not ok 3 - inside of a block"
  ...
ok 3 - mremap.seal # SKIP needs Linux 6.10
not ok 4 - mremap.locked # Todo leaks since 6.15
ok 5 - with a number 7 in it
not ok 6 # todo
"""
    assert guest.tap_figures(output) == {
        "passed": 2,
        "failed": 1,
        "skipped": 1,
        "todo": 2,
        "failures": ["uffd.move"],
        "planned": 6,
    }


def test_a_check_that_prints_nonsense_has_a_problem(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('Traceback'); raise SystemExit(3)"]
    outcome = guest.Check("doctor", command, guest.doctor_figures, 60).run(tmp_path)
    assert outcome.problem is not None
    assert "exit code 3" in outcome.problem
    assert (tmp_path / "doctor.log").read_text() == "Traceback\n"


def test_a_check_that_never_ends_has_a_problem(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import threading; threading.Event().wait()"]
    outcome = guest.Check("run", command, guest.run_figures, 1).run(tmp_path)
    assert outcome.problem == "did not end within 1 s"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the probes know the system calls of x86-64")
def test_the_kernel_that_runs_answers_the_probes_as_it_must(tmp_path: Path) -> None:
    (probes,) = [check for check in guest.checks(1, 1) if check.name == "probes"]
    outcome = probes.run(tmp_path)
    assert outcome.problem is None
    found = results(platform.release()) | {"probes": {**vars(outcome)}}
    problems = Column("host", "", found).problems()
    # Rings need a right that a container may lack; then there was none to move.
    assert [problem for problem in problems if "no ring" not in problem] == []


def test_checks_are_those_of_the_table() -> None:
    assert {"boot", *(check.name for check in guest.checks(1, 1))} == set(CHECKS)


@pytest.mark.parametrize("release", ["5.10.0-32-amd64", "6.1.0-56-amd64", "6.18.44"])
def test_a_kernel_where_all_is_as_it_must_be_passes(release: str) -> None:
    assert column("any", release).problems() == []


@pytest.mark.parametrize(
    ("release", "check", "change", "problem"),
    [
        ("5.10.0", "probes", {"shared_memfd": "accepted"}, "probes: shared_memfd: accepted, not EINVAL"),
        ("6.1.0", "probes", {"shared_memfd": "EINVAL"}, "probes: shared_memfd: EINVAL, not accepted"),
        ("6.1.0", "probes", {"perf_ring": "accepted"}, "probes: perf_ring: accepted, not EINVAL"),
        ("6.1.0", "doctor", {"delivery": "software"}, "doctor: delivery software"),
        ("5.10.0", "doctor", {"missing": []}, "doctor: nothing is said to be missing"),
        ("6.1.0", "run", {"verified": False}, "run: not verified"),
        ("6.1.0", "run", {"mismatches": ["a"]}, "run: 1 of 48 documents differ"),
        ("6.1.0", "run", {"sample_compared": 0}, "run: 0 of 0 documents differ"),
        ("6.1.0", "run", {"moves": 0}, "run: no cycle moved objects"),
        ("5.10.0", "run", {"delivery": "sigbus"}, "run: delivery sigbus, which is not what the doctor says"),
        ("6.1.0", "selftest", {"failed": 1, "passed": 169, "failures": ["uffd.flip"]}, "selftest: 1 failed: uffd.flip"),
        ("6.1.0", "selftest", {"planned": 180}, "selftest: 179 results of 180 planned"),
        ("6.1.0", "differential", {"difference": "mremap: EINVAL"}, "differential: with seed 7: mremap: EINVAL"),
        ("6.1.0", "differential", {"sequences": 0}, "differential: no sequence was run"),
    ],
)
def test_what_is_not_as_it_must_be_is_a_problem(release: str, check: str, change: dict[str, Any], problem: str) -> None:
    assert problem in column("any", release, **{check: change}).problems()


def test_a_guest_that_ended_early_does_not_pass(tmp_path: Path) -> None:
    for name in ("boot", "probes"):
        (tmp_path / f"{name}.json").write_text(json.dumps(results("6.1.0")[name]))
    found = Column.read("6.1", "", tmp_path, 1, DAY, TRIAL.digest)
    assert "selftest: no result, the guest ended before" in found.problems()
    assert "-" in text([found])


def test_a_kernel_that_was_tried_with_the_same_package_is_not_tried_again(tmp_path: Path) -> None:
    def keep(found: Column) -> None:
        for name, result in found.results.items():
            (tmp_path / f"{name}.json").write_text(json.dumps(result))
        replace(found, day=DAY).keep(tmp_path, TRIAL)

    assert Column.kept("6.1", "1.2-3", tmp_path, TRIAL) is None
    good = replace(column("6.1", "6.1.0"), starts=2)
    keep(good)
    assert Column.kept("6.1", "1.2-3", tmp_path, TRIAL) == good
    assert Column.kept("6.1", "1.2-4", tmp_path, TRIAL) is None
    for changed in ({"sequences": 1_999}, {"seconds": 6.0}, {"version": "1.2.4"}, {"digest": "0123abce"}):
        assert Column.kept("6.1", "1.2-3", tmp_path, replace(TRIAL, **changed)) is None
        any_digest = Column.kept("6.1", "1.2-3", tmp_path, replace(TRIAL, **changed), any_digest=True)
        assert any_digest == (good if "digest" in changed else None)
    keep(column("6.1", "6.1.0", differential={"difference": "mremap: EINVAL"}))
    assert Column.kept("6.1", "1.2-3", tmp_path, TRIAL) is None


def test_a_package_is_told_by_the_names_and_contents_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "a.py").write_text("1")
    before = digest(tmp_path)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.pyc").write_text("compiled")
    assert digest(tmp_path) == before
    (tmp_path / "model" / "a.py").write_text("2")
    changed = digest(tmp_path)
    (tmp_path / "model" / "a.py").rename(tmp_path / "model" / "b.py")
    assert len({before, changed, digest(tmp_path)}) == 3


def test_the_differential_test_of_a_guest_is_made_here(tmp_path: Path) -> None:
    """It starts once the guest is ready, and asks what is at the other end of the guest's port."""
    address = tmp_path / "port"
    comparison = Comparison(address, tmp_path, 1)
    comparison.poll()
    comparison.end()
    assert not (tmp_path / "differential.json").exists()
    with listening(address) as listener:
        (tmp_path / guest.READY).touch()
        comparison.poll()
        connection, _ = listener.accept()
        with connection:
            command = [sys.executable, "-m", "subduct.model.differential.kernel_side"]
            subprocess.run(command, stdin=connection.fileno(), stdout=connection.fileno(), check=True, timeout=300)
        comparison.end()
    outcome = json.loads((tmp_path / "differential.json").read_text())
    assert outcome["problem"] is None, (tmp_path / "differential.err").read_text()
    assert outcome["figures"]["sequences"] >= 1
    assert outcome["figures"]["difference"] is None


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        yield listener


def test_a_guest_that_ends_during_the_differential_test_has_a_problem(tmp_path: Path) -> None:
    address = tmp_path / "port"
    comparison = Comparison(address, tmp_path, 1)
    with listening(address) as listener:
        (tmp_path / guest.READY).touch()
        comparison.poll()
        listener.accept()[0].close()
        comparison.end()
    outcome = json.loads((tmp_path / "differential.json").read_text())
    assert "exit code 2" in outcome["problem"]
    assert "the process that asks the kernel has ended" in (tmp_path / "differential.err").read_text()


# The first start, like the guest's, leaves what it found; the number of starts is counted outside of it.
EMULATOR = """\
#!/bin/sh
echo start >> {count}
if [ $(wc -l < {count}) -le {broken} ]; then
    echo '[   15.395397] Oops: int3: 0000 [#1] PREEMPT SMP NOPTI'
else
    echo '[   15.395397] all is well'
    echo '{{"name": "boot"}}' > {results}/boot.json
fi
"""


def start(folder: Path, *, broken: int) -> int:
    """Runs a guest on an emulator that breaks the kernel at its first starts."""
    kernel = Kernel(Series("6.1"), "6.1.0-1-amd64", "6.1.1-1", folder / "vmlinuz")
    script = EMULATOR.format(count=folder / "starts", broken=broken, results=folder / "results")
    (folder / "vng").write_text(script)
    (folder / "vng").chmod(0o755)
    return Guest(folder, ROOT, Path(sys.executable)).run(kernel, folder / "results", TRIAL)


def test_a_kernel_that_the_emulator_broke_is_started_again(tmp_path: Path) -> None:
    assert start(tmp_path, broken=1) == 2
    assert (tmp_path / "results" / "console.log").read_text() == "[   15.395397] all is well\n"
    found = replace(column("6.1", "6.1.0"), starts=2)
    assert table(document([found], TRIAL))["boot"] == ["21 s, start 2"]


def test_a_kernel_that_comes_up_is_started_once(tmp_path: Path) -> None:
    assert start(tmp_path, broken=0) == 1
    assert len((tmp_path / "starts").read_text().splitlines()) == 1


def test_a_kernel_that_is_always_broken_did_not_come_up(tmp_path: Path) -> None:
    with pytest.raises(KernelsError, match=r"^Linux 6\.1\.0-1-amd64 did not come up: see "):
        start(tmp_path, broken=99)


def test_the_document_has_the_table() -> None:
    releases = {"5.10": "5.10.0", "6.1": "6.1.0", "7.2": "7.2.13", "host": "6.18.4"}
    columns = [column(heading, release) for heading, release in releases.items()]
    columns[1] = replace(columns[1], day=date(2026, 1, 1), digest="89abcdef" * 8)
    written = document(columns, TRIAL)
    assert "found on 2026-01-01 with subduct 1.2.3." in written
    rows = table(written)
    assert rows["DONTUNMAP of a shared memfd"] == ["refused (EINVAL)", "accepted", "accepted", "accepted"]
    assert rows["files of subduct, SHA-256"] == ["0123abcd", "89abcdef89ab", "0123abcd", "0123abcd"]
    assert rows["tried on"] == ["2026-01-02", "2026-01-01", "2026-01-02", "2026-01-02"]
    assert rows["heap run: delivery"] == ["software", "sigbus", "sigbus", "sigbus"]
    assert rows["all as it must be"] == ["yes"] * 4
    assert len(text(columns).splitlines()) == len(rows)


def table(markdown: str) -> dict[str, list[str]]:
    """The rows of a document's table by their names; the heading is in the row ""."""
    lines = [line.strip("|").split("|") for line in markdown.splitlines() if line.startswith("|")]
    return {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in lines if "---" not in cells[0]}


def test_the_document_is_of_this_version_and_not_old() -> None:
    found = re.search(r"found on (\d{4}-\d\d-\d\d) with subduct ([^ ]+)\. ", DOCUMENT.read_text())
    assert found is not None
    assert found[2] == importlib.metadata.version("subduct"), "run `make kernels` again"
    age = datetime.now(UTC).date() - date.fromisoformat(found[1])
    assert timedelta(days=-1) <= age <= timedelta(days=MOST_DAYS), "run `make kernels` again"


def test_the_document_shows_where_the_rule_was_widened() -> None:
    rows = table(DOCUMENT.read_text())
    assert rows[""] == HEADINGS
    for heading, release in zip(HEADINGS, rows["release"], strict=True):
        assert heading == "host" or release.startswith(f"{heading}.")
    assert HEADINGS[0] == "5.10"
    assert rows["DONTUNMAP of a shared memfd"] == ["refused (EINVAL)", *["accepted"] * len(HEADINGS[1:])]
    assert set(rows["DONTUNMAP of a perf ring"]) == {"refused (EINVAL)"}
    assert set(rows["all as it must be"]) == {"yes"}


@pytest.mark.parametrize(
    ("name", "known"), [("7.2", True), ("5.10", True), ("host", True), ("7", False), ("sid", False)]
)
def test_one_kernel_can_be_any_series(name: str, known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that is not in the table."""
    monkeypatch.setattr("sys.argv", ["kernels", "--only", name])
    if known:
        assert _parse().only == [name]
    else:
        with pytest.raises(SystemExit):
            _parse()


def test_the_command_explains_itself() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kernels", "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT / "tools",
        timeout=60,
    )
    assert "--refresh" in done.stdout
    assert "--only" in done.stdout
