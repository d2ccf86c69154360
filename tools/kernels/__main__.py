"""`python -m kernels`: every kernel, every check, one table."""

from __future__ import annotations

import argparse
import importlib.metadata
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from kernels.archive import Archive
from kernels.boot import Guest
from kernels.column import CHECKS, Column
from kernels.failure import KernelsError
from kernels.series import HOST, SERIES, Series
from kernels.table import document, text
from kernels.tools import ensure_programs, ensure_virtme

_REPOSITORY = Path(__file__).parents[2]
_DOCUMENT = _REPOSITORY / "docs" / "kernels.md"
_HOST_TIMEOUT_S = 7_200


def main() -> int:
    """Runs the command; returns 0 when every check passed on every kernel, 1 otherwise."""
    arguments = _parse()
    cache: Path = arguments.cache
    if arguments.refresh:
        shutil.rmtree(cache / "images", ignore_errors=True)
    options = ["--sequences", str(arguments.sequences), "--seconds", str(arguments.seconds)]
    names = ["boot", *arguments.check] if arguments.check else CHECKS
    options += [part for name in arguments.check or () for part in ("--check", name)]
    columns, failures = [], []
    wanted = [*(series.version for series in SERIES), HOST]
    for name in arguments.only or wanted:
        try:
            column = _host(cache, options) if name == HOST else _guest(Series(name), cache, options)
        except KernelsError as error:
            failures.append(f"{name}: {error}")
            print(f"  failed: {error}", flush=True)
            continue
        columns.append(column)
        print(f"  {column.release}: {', '.join(names)}: {len(column.problems(names)) or 'no'} problems", flush=True)
        failures += [f"{name}: {problem}" for problem in column.problems(names)]
    if columns and not arguments.check:
        print(f"\n{text(columns)}")
    for failure in failures:
        print(f"FAILED  {failure}", file=sys.stderr)
    if failures:
        return 1
    if not arguments.check and [column.heading for column in columns] == wanted:
        version = importlib.metadata.version("subduct")
        today = datetime.now(UTC).date()
        _DOCUMENT.write_text(document(columns, version=version, day=today, seconds=arguments.seconds))
        print(f"\nwritten to {_DOCUMENT.relative_to(_REPOSITORY)}")
    return 0


def _guest(series: Series, cache: Path, options: list[str]) -> Column:
    print(f"Linux {series.version}", flush=True)
    ensure_programs()
    programs = ensure_virtme(cache / "venv", _REPOSITORY / "requirements" / "kernels.txt")
    kernel = Archive(cache).kernel(series)
    print(f"  booting {kernel.release} ({kernel.package_version})", flush=True)
    results = cache / "logs" / series.version
    starts = Guest(programs, _REPOSITORY, Path(sys.executable)).run(kernel, results, options)
    column = Column.read(series.version, kernel.package_version, results, starts)
    if column.release != kernel.release:
        raise KernelsError(f"the guest says it runs {column.release}, not {kernel.release}")
    return column


def _host(cache: Path, options: list[str]) -> Column:
    print("the kernel that runs here", flush=True)
    results = cache / "logs" / HOST
    shutil.rmtree(results, ignore_errors=True)
    results.mkdir(parents=True)
    command = [sys.executable, "-B", str(Path(__file__).with_name("guest.py")), str(results), *options]
    try:
        subprocess.run(command, check=True, timeout=_HOST_TIMEOUT_S, stdin=subprocess.DEVNULL)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise KernelsError(f"the checks did not run here: {error}") from None
    return Column.read(HOST, "", results)


def _kernel(text: str) -> str:
    if text != HOST and not re.fullmatch(r"\d+\.\d+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a series such as 6.12 nor `{HOST}`")
    return text


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make kernels", description="Try the package on Debian's kernels.")
    parser.add_argument("--cache", type=lambda path: Path(path).resolve(), default=_REPOSITORY / "target" / "kernels")
    parser.add_argument("--refresh", action="store_true", help="fetch the newest images instead of the cached ones")
    parser.add_argument("--sequences", type=int, default=100, help="of the differential test (default: 100)")
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
