"""What is tried on a kernel, and with which package."""

from __future__ import annotations

import hashlib
import importlib.metadata
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import subduct

PACKAGE = Path(subduct.__file__).parent


@dataclass(frozen=True, slots=True)
class Trial:
    """How many sequences of the differential test, how many seconds of a heap run, the version and the contents of the package."""

    sequences: int
    seconds: float
    version: str
    digest: str

    @classmethod
    def here(cls, sequences: int, seconds: float) -> Trial:
        """With the package that this process has imported."""
        return cls(sequences, seconds, importlib.metadata.version("subduct"), digest(PACKAGE))

    @property
    def options(self) -> list[str]:
        """The options of `guest.py`."""
        return ["--sequences", str(self.sequences), "--seconds", str(self.seconds)]

    @property
    def figures(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def digest(package: Path) -> str:
    """SHA-256 over the names and the contents of a package's files, in hexadecimal digits."""
    found = hashlib.sha256()
    for path in sorted(package.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            content = path.read_bytes()
            found.update(f"{path.relative_to(package)} {len(content)}\n".encode())
            found.update(content)
    return found.hexdigest()
