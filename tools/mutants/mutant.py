"""A seeded defect: one piece of one file, replaced."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from mutants.failure import MutantsError

LIST = Path(__file__).with_name("mutants.toml")


@dataclass(frozen=True)
class Mutant:
    """One entry of `mutants.toml`."""

    name: str
    area: str
    """The part of the collector that it damages."""
    file: str
    """Its file, relative to the repository."""
    old: str
    """Text that occurs once in the file."""
    new: str
    """What takes its place."""
    breaks: str
    """What goes wrong, in words."""
    caught_by: str
    """The check that is expected to notice, and the tests of it that are run."""

    def applied(self, text: str) -> str:
        """The file's text with the defect; raises `MutantsError` if the old text does not occur exactly once."""
        count = text.count(self.old)
        if count != 1:
            raise MutantsError(f"no longer applies: its old text occurs {count} times in {self.file}")
        return text.replace(self.old, self.new)


def load(path: Path = LIST) -> list[Mutant]:
    """All mutants, in the order of the file; raises `TypeError` for an entry with a missing or an unknown key."""
    return [Mutant(**entry) for entry in tomllib.loads(path.read_text())["mutant"]]
