"""What a benchmark is: how it is asked for, run, judged and shown."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from subduct._heap import SizeLimits, parse_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from subduct.bench.native import Progress
    from subduct.bench.table import Row, Table
    from subduct.bench.target import Target

_THOUSANDS = {"k": 10**3, "m": 10**6}
# A heap for it has twice the budget and more, and a budget is at most 1 TiB.
_BYTES = SizeLimits(1, 256 << 30, "more than 0 bytes and at most 256 GiB")
# As many items as one list of a heap can hold, and a few less.
_COUNT_MAX = 200_000_000


@dataclass(frozen=True, slots=True)
class Sizes:
    """What `--sizes` means: numbers of bytes, or of things; those that are measured if none are given; what they are sizes of; the
    least of which there is something to measure."""

    unit: Literal["bytes", "count"]
    default: tuple[int, ...]
    of: str
    least: int = 1

    def parse(self, text: str) -> int:
        """One size. Raises argparse.ArgumentTypeError for what is none."""
        try:
            if self.unit == "bytes":
                return parse_size(int(text) if text.isdecimal() else text, "a size", _BYTES)
            number = int(text[:-1]) * _THOUSANDS[text[-1].lower()] if text[-1:].lower() in _THOUSANDS else int(text)
        except ValueError as error:
            expected = (
                str(error) if self.unit == "bytes" else f"expected a number such as 50000, 500k or 4M, not {text!r}"
            )
            raise argparse.ArgumentTypeError(expected) from None
        if not self.least <= number <= _COUNT_MAX:
            raise argparse.ArgumentTypeError(f"expected a number from {self.least} to {_COUNT_MAX:,}, not {text!r}")
        return number


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A benchmark. `run` makes rows from the arguments; `targets` and `tables` need nothing but the rows, so that they work on saved
    ones. `threads` and `seconds` are defaults, None where the option means nothing; `options` adds what only this one has."""

    name: str
    summary: str
    sizes: Sizes
    repetitions: int
    run: Callable[[argparse.Namespace, Progress], list[Row]]
    targets: Callable[[list[Row]], list[Target]]
    tables: Callable[[list[Row]], list[Table]]
    threads: int | None = None
    seconds: float | None = None
    options: Callable[[argparse.ArgumentParser], None] | None = None


def positive(text: str) -> int:
    """A whole number from 1. Raises argparse.ArgumentTypeError for anything else."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, not {text!r}")
    return int(text)
