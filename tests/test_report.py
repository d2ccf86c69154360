"""What a run looks like on a terminal, as plain lines and as JSON."""

import io
import json
import re
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

import subduct.report.plain
from subduct import Fallbacks, Pauses, Stats
from subduct.report import (
    CheckProgress,
    ChurnProgress,
    Kept,
    LoadProgress,
    Memory,
    Reporter,
    RunReport,
    make_reporter,
)
from subduct.report.checks import Check, Status, checks_object, write_checks
from subduct.report.plain import PlainReporter
from subduct.report.table import aligned
from subduct.report.terminal import TerminalReporter
from subduct.report.units import mib, plural

MIB = 1 << 20

STATS = Stats(
    budget_bytes=2048 * MIB,
    window_unit_bytes=1024 * MIB,
    resident_bytes=700 * MIB,
    live_bytes=512 * MIB,
    live_objects=7_000_000,
    live_estimate_bytes=530 * MIB,
    live_bytes_max=600 * MIB,
    allocated_bytes=9_000 * MIB,
    handles=3,
    cycles=41,
    moves=40,
    faults=41_233,
    worker_pages=2_870_000,
    pages_fixed=1_000_000,
    pages_built=500_000,
    pages_installed=1_411_233,
    bytes_evacuated=4_321 * MIB,
    longest_operation_us=351.25,
    longest_stall_us=902.5,
    stalls=3,
    rest_ms=12.5,
    held_back_ms=4.25,
    pauses=Pauses(p50=61.25, p99=113.9, max=240.4, count=40),
    delivery="sigbus",
    fallbacks=Fallbacks(0, 0, 0, 0, 0, 0),
)

LOADED = Memory(documents=1_781, objects=7_123_456, live_bytes=512 * MIB, resident_bytes=563 * MIB)
CHURNED = replace(LOADED, documents=1_700, live_bytes=500 * MIB, resident_bytes=550 * MIB)
KEPT = Kept(fraction=0.1, before=CHURNED, after=Memory(170, 700_000, 50 * MIB, 60 * MIB))

REPORT = RunReport(
    source="the standard library of Python 3.11.7",
    kind="python",
    notes=("3 columns, separated by semicolons",),
    bytes_read=30 * MIB,
    skipped=9,
    load_s=24.1,
    documents=1_781,
    seed=1234,
    threads=2,
    churn_s=30.0,
    operations=12_345,
    operations_by_name={"look up": 7_400, "read through": 4_945},
    loaded=LOADED,
    churned=CHURNED,
    kept=KEPT,
    sample_compared=1_170,
    mismatches=(),
    verified=True,
    failure=None,
    interrupted=False,
    stats=STATS,
)

LOAD = LoadProgress(documents=312, expected=1_790, bytes_read=5 * MIB, resident_bytes=120 * MIB, seconds=5.0)
CHURN = ChurnProgress(
    seconds=12.3,
    duration=30.0,
    operations=5_000,
    operations_per_s=411.4,
    live_bytes=512 * MIB,
    resident_bytes=700 * MIB,
    cycles=41,
    pause_p50_us=61.25,
    pause_max_us=240.4,
)
CHECK = CheckProgress(compared=400, sample=1_000)


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def show_everything(reporter: Reporter, report: RunReport = REPORT) -> None:
    reporter.note("loading the standard library")
    reporter.load(LOAD)
    reporter.load(replace(LOAD, expected=None))
    reporter.note("churning")
    reporter.churn(CHURN)
    reporter.note("verifying")
    reporter.check(CHECK)
    reporter.report(report)
    reporter.close()
    reporter.close()


def plain(report: RunReport) -> dict[str, str]:
    """The final table as plain text: values by label."""
    output = io.StringIO()
    PlainReporter(output).report(report)
    lines = [line for line in output.getvalue().splitlines() if line]
    assert max(map(len, lines)) <= 100
    return dict(re.split(r"  +", line, maxsplit=1) for line in lines if not line.startswith(" "))


def test_the_table_says_all_that_was_promised() -> None:
    table = plain(REPORT)
    assert table == {
        "source": "the standard library of Python 3.11.7",
        "loaded": "1,781 documents, 7,123,456 objects, from 30.0 MiB in 24.1 s",
        "skipped": "9 files that this Python cannot read or parse",
        "churn": "30.0 s on 2 threads, seed 1234",
        "operations": "12,345 (412/s)",
        "cycles": "41, of which 40 moved objects; delivery sigbus",
        "pause": "p50 61.2 us, p99 114 us, max 240 us, count 40",
        "longest operation": "351 us of one thread inside the heap",
        "waits for memory": "3, the longest 902 us",
        "held back": "4 ms, all threads together",
        "faults": "41,233 served by the threads; 2,870,000 pages by the worker",
        "pages": "fixed 1,000,000, built 500,000, installed 1,411,233",
        "evacuated": "4,321 MiB",
        "budget": "2,048 MiB",
        "after loading": "live 512 MiB, resident 563 MiB (1.10 x live)",
        "after the churn": "live 500 MiB, resident 550 MiB (1.10 x live)",
        "keeping 10 %": "live 50.0 MiB, resident 60.0 MiB (1.20 x live), 170 documents",
        "compared": "1,170 documents with the source, byte for byte: all the same",
        "verified": "yes",
    }


def test_the_table_of_a_run_that_ended_early() -> None:
    early = replace(
        REPORT,
        loaded=None,
        churned=None,
        kept=None,
        churn_s=0.0,
        operations=0,
        operations_by_name={},
        sample_compared=0,
        verified=False,
        failure="interrupted",
        interrupted=True,
    )
    table = plain(early)
    assert table["operations"] == "0 (0/s)"
    assert table["verified"] == "not to the end: interrupted"
    assert not {"after loading", "after the churn", "keeping 10 %", "compared"} & set(table)


def test_damage_is_named() -> None:
    keys = tuple(f"module_{number}.py" for number in range(5))
    table = plain(replace(REPORT, mismatches=keys, verified=False, failure="5 documents not the same as the source"))
    assert table["compared"].endswith("byte for byte: 5 DIFFER")
    assert table["damaged"] == "module_0.py, module_1.py, module_2.py and 2 more"
    assert table["verified"] == "no: 5 documents not the same as the source"


def test_progress_in_a_pipe_is_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subduct.report.plain, "_INTERVAL_S", 0.0)
    output = io.StringIO()
    show_everything(make_reporter(output, io.StringIO(), as_json=False))
    assert output.getvalue().splitlines()[:7] == [
        "loading the standard library",
        "  5.0 s  312 of 1,790 documents  62/s  5.0 MiB  1.0 MiB/s  resident 120 MiB",
        "  5.0 s  312 documents  62/s  5.0 MiB  1.0 MiB/s  resident 120 MiB",
        "churning",
        "  12.3 s  411 op/s  live 512, resident 700 MiB  41 cycles  pause p50 61, max 240 us",
        "verifying",
        "  400 of 1,000 documents compared with their source",
    ]
    assert "\x1b" not in output.getvalue()
    assert output.getvalue().isascii()


def test_plain_progress_is_rare() -> None:
    output = io.StringIO()
    reporter = PlainReporter(output)
    for _ in range(1000):
        reporter.churn(CHURN)
    assert output.getvalue() == ""


def terminal_of(columns: int, monkeypatch: pytest.MonkeyPatch) -> tuple[Screen, TerminalReporter]:
    """A terminal that wide, and what reports to it."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", str(columns))
    screen = Screen()
    reporter = make_reporter(screen, io.StringIO(), as_json=False)
    assert isinstance(reporter, TerminalReporter)
    return screen, reporter


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_a_terminal_gets_a_live_line_and_a_table(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    screen, reporter = terminal_of(columns, monkeypatch)
    show_everything(reporter)
    text = screen.getvalue()
    assert "\x1b[?25l" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l"), "the cursor stays hidden"
    seen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert "411 op/s  live 512, resident 700 MiB" in seen
    assert max(map(len, re.split(r"[\r\n]+", seen))) <= columns
    assert re.search(r"verified +yes", seen)


@pytest.mark.parametrize("columns", [1, 20, 39])
def test_a_narrow_terminal_gets_values_that_can_be_read(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    screen, reporter = terminal_of(columns, monkeypatch)
    reporter.report(REPORT)
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue()).splitlines()
    assert max(map(len, lines)) == 40
    assert any(re.fullmatch(r"pause +p50 61\.2 us, p99 .+", line) for line in lines)


@pytest.mark.parametrize("terminal", ["dumb", ""])
def test_a_dumb_terminal_gets_plain_lines(terminal: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", terminal)
    assert isinstance(make_reporter(Screen(), io.StringIO(), as_json=False), PlainReporter)


def test_without_rich_a_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert isinstance(make_reporter(Screen(), io.StringIO(), as_json=False), PlainReporter)


def json_of(report: RunReport) -> dict[str, Any]:
    output = io.StringIO()
    show_everything(make_reporter(output, io.StringIO(), as_json=True), report)
    found: dict[str, Any] = json.loads(output.getvalue())
    return found


def test_json_is_one_object_with_the_promised_keys() -> None:
    found = json_of(REPORT)
    promised = {
        "notes": ["3 columns, separated by semicolons"],
        "documents": 1_781,
        "objects": 7_123_456,
        "operations": 12_345,
        "cycles": 41,
        "pause_us": {"p50": 61.25, "p99": 113.9, "max": 240.4, "count": 40},
        "longest_operation_us": 351.25,
        "faults": 41_233,
        "pages_fixed": 1_000_000,
        "pages_built": 500_000,
        "pages_installed": 1_411_233,
        "bytes_evacuated": 4_321 * MIB,
        "live_bytes": 50 * MIB,
        "resident_bytes": 60 * MIB,
        "budget_bytes": 2048 * MIB,
        "window_unit_bytes": 1024 * MIB,
        "delivery": "sigbus",
        "fallbacks": {
            "flips_in_pause": 0,
            "installs_again": 0,
            "runs_unregistered": 0,
            "descriptors_lost": 0,
            "handlers_restored": 0,
            "shadows_left": 0,
        },
        "verified": True,
        "sample_compared": 1_170,
    }
    assert {name: found[name] for name in promised} == promised
    assert found["kept"]["before"]["live_bytes"] == 500 * MIB
    assert found["kept"]["after"]["overhead"] == 1.2
    assert found["loaded"]["resident_bytes"] == 563 * MIB


def test_json_of_a_run_that_ended_early() -> None:
    found = json_of(replace(REPORT, loaded=None, churned=None, kept=None, verified=False, failure="interrupted"))
    assert found["loaded"] is None
    assert found["kept"] is None
    assert found["live_bytes"] == 512 * MIB
    assert found["verified"] is False
    assert found["failure"] == "interrupted"


def test_with_json_progress_goes_to_a_terminal_on_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    output, errors = io.StringIO(), Screen()
    show_everything(make_reporter(output, errors, as_json=True))
    json.loads(output.getvalue())
    assert "churning" in errors.getvalue()


CHECKS = [
    Check("page size", Status.OK, "4,096 bytes", "Objects are moved a page at a time.", "a kernel."),
    Check("membarrier", Status.MISSING, "membarrier failed: Operation not permitted", "The fence " * 30, "Linux 4.14."),
    Check("memory", Status.WARN, "little", "It must hold the heap.", "more memory."),
]


@pytest.mark.parametrize("width", [40, 80, 300])
def test_findings_are_readable_at_any_width(width: int) -> None:
    output = io.StringIO()
    write_checks(CHECKS, output, width=width, colour=False)
    lines = output.getvalue().splitlines()
    assert max(map(len, lines)) <= min(width, 100)
    assert lines[0] == "ok        page size: 4,096 bytes"
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == ["ok", "missing", "warn"]
    joined = " ".join(output.getvalue().split())
    assert "What to do: Linux 4.14." in joined
    assert "a kernel." not in joined


def test_findings_are_coloured_on_request_only() -> None:
    output = io.StringIO()
    write_checks(CHECKS, output, width=80, colour=True)
    assert "\x1b[31mmissing" in output.getvalue()
    assert checks_object(CHECKS)[1]["status"] == "missing"


def test_units() -> None:
    assert [mib(size) for size in (0, MIB // 2, 99 * MIB, 100 * MIB, 12_345 * MIB)] == [
        "0.0 MiB",
        "0.5 MiB",
        "99.0 MiB",
        "100 MiB",
        "12,345 MiB",
    ]
    assert [plural(number, "file") for number in (0, 1, 2_000)] == ["0 files", "1 file", "2,000 files"]
    assert aligned([]) == []
    assert aligned([["a", "1"], ["bbb", "22"]], right=frozenset({1})) == ["a     1", "bbb  22"]


def test_rich_draws_as_wide_as_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The widths above mean something: rich takes them from the environment."""
    monkeypatch.setenv("COLUMNS", "60")
    assert Console(file=Screen()).width == 60
