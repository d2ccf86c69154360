"""Runs the benchmarks at full size, keeps their results, and puts them into docs/performance.md with the plot beside it."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

from subduct.bench import BENCHMARKS
from subduct.bench.result import Result, read_result

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "target/benchmarks"
DOCUMENT = ROOT / "docs/performance.md"
PLOT = ROOT / "docs/pause.svg"

# What differs from the defaults, which are for a look: sizes up to half of a machine with 24 GiB, and more repetitions.
OPTIONS: dict[str, tuple[str, ...]] = {
    "pause": ("--sizes", "64MiB", "256MiB", "1GiB", "4GiB", "8GiB", "12GiB", "--plot", str(PLOT)),
    "fault": ("--flips", "50"),
    "move": ("--sizes", "256MiB", "1GiB", "--repetitions", "5"),
    "hiccup": ("--repetitions", "3", "--seconds", "30"),
    "memory": ("--repetitions", "3"),
}


def main() -> int:
    """Measures what the command line names, everything by default; returns an exit code."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="BENCHMARK", help=f"of {', '.join(BENCHMARKS)}")
    parser.add_argument("--document-only", action="store_true", help="measure nothing, write what was kept")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(BENCHMARKS):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name in arguments.names or BENCHMARKS:
        kept = RESULTS / f"{name}.json"
        if not arguments.document_only:
            command = [sys.executable, "-m", "subduct", "bench", name, *OPTIONS.get(name, ()), "--save", str(kept)]
            if subprocess.run(command, check=False).returncode:
                return 1
        if kept.exists():
            result = read_result(kept, name)
            DOCUMENT.write_text(into_document(DOCUMENT.read_text(), name, section(result)))
    return 0


def section(result: Result) -> str:
    """A result as a part of the document, with the plot of the pauses in front of them."""
    lines = ["```text", *result.lines(), "```"]
    if result.benchmark.name == "pause":
        lines = [f"![How long threads stand still, by live heap]({PLOT.name})", "", *lines]
    return "\n".join(lines)


def into_document(document: str, name: str, text: str) -> str:
    """The document with the text between the markers of that benchmark. ValueError where they are missing."""
    begin, end = f"<!-- bench {name}: begin, written by `make bench` -->", f"<!-- bench {name}: end -->"
    pattern = re.compile(rf"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if len(pattern.findall(document)) != 1:
        raise ValueError(f"the document needs the markers {begin} and {end} once")
    return pattern.sub(lambda _: f"{begin}\n\n{text}\n\n{end}", document)


if __name__ == "__main__":
    sys.exit(main())
