"""One table, kernels by tests: as text for a terminal, and as the document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kernels.series import HOST

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernels.column import Column
    from kernels.trial import Trial

_NOT_RUN = "-"
# Of a digest, enough to tell one from another.
_DIGITS = 12

_HEAD = """\
# Real kernels

What `make kernels` found on {day} with subduct {version}. Each kernel but `{host}` is Debian's own image, booted by
virtme-ng under software emulation on the host's file system; `{host}` is the machine that ran it. The command writes
this file when every check passed on every kernel, and only then.

"""

_FOOT = """
The rows:

- **files of subduct**: the first digits of the SHA-256 of all files of the package that was tried.
- **boot**: from the start of the emulator to the first check, by the guest's clock. A start at which the emulator showed
  a processor the kernel's own breakpoints too late (`int3` in the console) is made again, and the start that counts is named.
- **DONTUNMAP of ...**: what `mremap(MREMAP_MAYMOVE | MREMAP_DONTUNMAP)` says to one populated page of this kind, asked with
  bare system calls. 5.10 has the flag for private anonymous memory only; the wider rule came with 5.13. A perf ring is
  `VM_DONTEXPAND`, `[vvar]` is `VM_PFNMAP`: these stay refused.
- **doctor**: the delivery that `subduct doctor` says heaps will use, and how many things it finds missing.
- **heap run**: `subduct run --seconds {seconds:g} --limit 50 --budget 256MiB`: documents loaded, churned by two threads while
  the heap compacts, traced by the verifier and compared with their source.
- **self-test**: `subduct selftest`, by result.
- **differential**: `python -m subduct.model.differential`: random sequences of calls on the kernel and on the executable
  model of its version; it stops at the first difference. The guest makes the calls and looks at its memory after each; choosing
  them, the model and the comparison run on the host (`--connect`).

Times are those of an emulated machine: they say nothing about speed.

## Repeat it

`make kernels` installs qemu, kmod and a static busybox when it is run as root and they are missing, and otherwise names
the packages. The images come from the mirror that this machine's apt uses, are unpacked below `target/kernels` and are
never installed; they stay there for the next run, and `make kernels ARGS=--refresh` fetches the newest ones. One kernel:
`make kernels ARGS="--only 5.10"`, which prints its column and leaves this file alone. Consoles, outputs and results are in
`target/kernels/logs`. What an earlier run found good with the same files of the package, the same kernel and the same numbers is
taken from there, so that a run can be interrupted and the kernels tried one by one; `ARGS=--again` tries them all, and
`ARGS=--any-package` only those that no package of this version was good on. A kernel that cannot be had, does not boot or fails a check
fails the command.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table: its name, and what to say about a kernel."""

    name: str
    cell: Callable[[Column], str]


def _probe(kind: str) -> Callable[[Column], str]:
    def cell(column: Column) -> str:
        answer = column.figures("probes").get(kind)
        return _NOT_RUN if answer is None else "accepted" if answer == "accepted" else f"refused ({answer})"

    return cell


def _boot(column: Column) -> str:
    if column.heading == HOST:
        return "runs"
    return f"{column.figures('boot')['up_s']:.0f} s" + (f", start {column.starts}" if column.starts > 1 else "")


def _doctor(column: Column) -> str:
    figures = column.figures("doctor")
    return f"{figures['delivery']}, {len(figures['missing'])} missing" if figures else _NOT_RUN


def _of_run(say: Callable[[dict[str, Any]], str]) -> Callable[[Column], str]:
    def cell(column: Column) -> str:
        figures = column.figures("run")
        return say(figures) if figures else _NOT_RUN

    return cell


def _selftest(column: Column) -> str:
    figures = column.figures("selftest")
    if not figures:
        return _NOT_RUN
    return " / ".join(str(figures[name]) for name in ("passed", "skipped", "todo", "failed"))


def _differential(column: Column) -> str:
    figures = column.figures("differential")
    if not figures:
        return _NOT_RUN
    return f"{figures['sequences']:,}, {figures['calls']:,}, {'one' if figures['difference'] else 'none'}"


def _seconds(column: Column) -> str:
    return f"{sum(result['seconds'] for name, result in column.results.items() if name != 'boot'):.0f} s"


ROWS = (
    Row("release", lambda column: column.release),
    Row("package", lambda column: column.package_version or _NOT_RUN),
    Row("files of subduct, SHA-256", lambda column: column.digest[:_DIGITS]),
    Row("tried on", lambda column: column.day.isoformat()),
    Row("boot", _boot),
    Row("DONTUNMAP of private anonymous memory", _probe("private_anonymous")),
    Row("DONTUNMAP of a shared memfd", _probe("shared_memfd")),
    Row("DONTUNMAP of a private memfd", _probe("private_memfd")),
    Row("DONTUNMAP of shared anonymous memory", _probe("shared_anonymous")),
    Row("DONTUNMAP of a perf ring", _probe("perf_ring")),
    Row("DONTUNMAP of [vvar]", _probe("vvar")),
    Row("doctor: delivery", _doctor),
    Row("heap run: delivery", _of_run(lambda figures: str(figures["delivery"]))),
    Row("heap run: cycles, of which moved", _of_run(lambda figures: f"{figures['cycles']:,}, {figures['moves']:,}")),
    Row("heap run: operations", _of_run(lambda figures: f"{figures['operations']:,}")),
    Row("heap run: faults served", _of_run(lambda figures: f"{figures['faults']:,}")),
    Row(
        "heap run: verified",
        _of_run(
            lambda figures: (
                f"{'yes' if figures['verified'] else 'NO'}, "
                f"{figures['sample_compared']} documents compared, {len(figures['mismatches'])} differ"
            )
        ),
    ),
    Row("self-test: passed / skipped / todo / failed", _selftest),
    Row("differential: sequences, calls, differences", _differential),
    Row("time of the checks", _seconds),
    Row("all as it must be", lambda column: "NO" if column.problems() else "yes"),
)


def cells(columns: list[Column]) -> list[list[str]]:
    """The table: a heading line, then one line for each row."""
    return [["", *(column.heading for column in columns)]] + [
        [row.name, *(row.cell(column) for column in columns)] for row in ROWS
    ]


def text(columns: list[Column]) -> str:
    """The table for a terminal."""
    lines = cells(columns)
    widths = [max(len(line[index]) for line in lines) for index in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def document(columns: list[Column], trial: Trial) -> str:
    """The document with the table, for one version of the package; its date is that of the oldest column."""
    heading, *lines = cells(columns)
    table = [heading, ["---"] * len(heading), *lines]
    body = "\n".join("| " + " | ".join(line) + " |" for line in table) + "\n"
    day = min(column.day for column in columns).isoformat()
    head = _HEAD.format(day=day, version=trial.version, host=HOST)
    return head + body + _FOOT.format(seconds=trial.seconds)
