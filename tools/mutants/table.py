"""What the command prints and writes."""

from dataclasses import dataclass
from datetime import date

from mutants.mutant import Mutant


@dataclass(frozen=True)
class Result:
    """What became of one mutant."""

    mutant: Mutant
    caught_by: str
    """The check, and how it noticed; empty where nothing did."""
    seconds: float
    """From its application to the verdict, without compiling."""
    problem: str = ""
    """Why it counts as a failure: it survived, no longer applies, or does not compile."""


def line(result: Result) -> str:
    """One row for the terminal."""
    name = f"{result.mutant.area}: {result.mutant.name}"
    return f"{name:44}  {result.seconds:6.1f} s  {result.caught_by or 'FAILED: ' + result.problem}"


def document(results: list[Result], day: date) -> str:
    """The text of `docs/mutants.md`."""
    rows = [
        f"| {each.mutant.area} | {each.mutant.breaks} (`{each.mutant.name}`) | {each.caught_by} | {each.seconds:.1f} |"
        for each in results
    ]
    return "\n".join(
        [
            "# Mutants",
            "",
            "Would the tests notice? Each row is a defect that was put into a copy of the collector on purpose, and what caught it.",
            f"All {len(results)} were caught on {day.isoformat()}; `make mutants` tries them again, and",
            "`make mutants ARGS=--document` writes this file. The defects are in `tools/mutants/mutants.toml`.",
            "",
            "A run that aborted or did not end within its time counts as caught, and its row says so. Seconds are those of the tests",
            "up to the verdict, without compiling.",
            "",
            "| area | defect | caught by | seconds |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )
