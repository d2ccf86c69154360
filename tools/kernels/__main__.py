"""`python -m kernels`: every kernel, every check, one table."""

from __future__ import annotations

import argparse
import platform
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from kernels.archive import Archive, Kernel
from kernels.boot import Guest
from kernels.column import CHECKS, Column
from kernels.failure import KernelsError
from kernels.series import HOST, SERIES, Series
from kernels.table import document, text
from kernels.tools import ensure_programs, ensure_virtme
from kernels.trial import Trial

_REPOSITORY = Path(__file__).parents[2]
_DOCUMENT = _REPOSITORY / "docs" / "kernels.md"
_HOST_TIMEOUT_S = 7_200


def main() -> int:
    """Runs the command; returns 0 when every check passed on every kernel, 1 otherwise."""
    arguments = _parse()
    cache: Path = arguments.cache
    if arguments.refresh:
        shutil.rmtree(cache / "images", ignore_errors=True)
    trial = Trial.here(arguments.sequences, arguments.seconds)
    checked = ["boot", *arguments.check] if arguments.check else CHECKS
    columns, failures = [], []
    wanted = [*(series.version for series in SERIES), HOST]
    for name in arguments.only or wanted:
        print("the kernel that runs here" if name == HOST else f"Linux {name}", flush=True)
        try:
            column = _column(name, cache, trial, arguments)
        except KernelsError as error:
            failures.append(f"{name}: {error}")
            print(f"  failed: {error}", flush=True)
            continue
        columns.append(column)
        problems = column.problems(checked)
        print(f"  {column.release}: {', '.join(checked)}: {len(problems) or 'no'} problems", flush=True)
        failures += [f"{name}: {problem}" for problem in problems]
    if columns and not arguments.check:
        print(f"\n{text(columns)}")
    for failure in failures:
        print(f"FAILED  {failure}", file=sys.stderr)
    if failures:
        return 1
    if not arguments.check and [column.heading for column in columns] == wanted:
        _DOCUMENT.write_text(document(columns, trial))
        print(f"\nwritten to {_DOCUMENT.relative_to(_REPOSITORY)}")
    return 0


def _column(name: str, cache: Path, trial: Trial, arguments: argparse.Namespace) -> Column:
    """Tries a kernel, or takes what an earlier run found with the same numbers and the same package, or any if that is wanted."""
    kernel = None if name == HOST else _image(Series(name), cache)
    package_version = "" if kernel is None else kernel.package_version
    results = cache / "logs" / name
    names = arguments.check or []
    kept = None
    if not arguments.again and not names:
        kept = Column.kept(name, package_version, results, trial, any_digest=arguments.any_package)
    release = platform.release() if kernel is None else kernel.release
    if kept is not None and kept.release == release:
        print(f"  tried on {kept.day}", flush=True)
        return kept
    day = datetime.now(UTC).date()
    if kernel is None:
        starts = _host(results, trial, names)
    else:
        print(f"  booting {kernel.release} ({kernel.package_version})", flush=True)
        starts = Guest(cache / "venv" / "bin", _REPOSITORY, Path(sys.executable)).run(kernel, results, trial, names)
    column = Column.read(name, package_version, results, starts, day, trial.digest)
    if column.release != release:
        raise KernelsError(f"the guest says it runs {column.release}, not {release}")
    if not names:
        column.keep(results, trial)
    return column


def _image(series: Series, cache: Path) -> Kernel:
    ensure_programs()
    ensure_virtme(cache / "venv", _REPOSITORY / "requirements" / "kernels.txt")
    return Archive(cache).kernel(series)


def _host(results: Path, trial: Trial, names: list[str]) -> int:
    """Runs the checks here, and returns that it took one start."""
    shutil.rmtree(results, ignore_errors=True)
    results.mkdir(parents=True)
    command = [sys.executable, "-B", str(Path(__file__).with_name("guest.py")), str(results), *trial.options]
    command += [part for name in names for part in ("--check", name)]
    try:
        subprocess.run(command, check=True, timeout=_HOST_TIMEOUT_S, stdin=subprocess.DEVNULL)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise KernelsError(f"the checks did not run here: {error}") from None
    return 1


def _kernel(text: str) -> str:
    if text != HOST and not re.fullmatch(r"\d+\.\d+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a series such as 6.12 nor `{HOST}`")
    return text


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make kernels", description="Try the package on Debian's kernels.")
    parser.add_argument("--cache", type=lambda path: Path(path).resolve(), default=_REPOSITORY / "target" / "kernels")
    parser.add_argument("--refresh", action="store_true", help="fetch the newest images instead of the cached ones")
    parser.add_argument(
        "--again",
        action="store_true",
        help="try also what an earlier run found good with this package and these numbers",
    )
    parser.add_argument(
        "--any-package",
        action="store_true",
        help="take what an earlier run found good also if files of the package have changed since; each column says of which it is",
    )
    parser.add_argument("--sequences", type=int, default=2_000, help="of the differential test (default: 2000)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of the heap run (default: 5)")
    parser.add_argument(
        "--only",
        action="append",
        type=_kernel,
        metavar="KERNEL",
        help="this kernel alone, without writing the document; any series that a suite has, or `host`; may be repeated",
    )
    parser.add_argument(
        "--check",
        action="append",
        choices=CHECKS[1:],
        help="this check alone, without a table; may be repeated",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
