"""A copy of the workspace in which defects are tried; the workspace itself is never changed."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mutants.mutant import Mutant

_COPIED = (".cargo", "Cargo.toml", "Cargo.lock", "crates")


class Tree:
    """The copy, in `home`/tree."""

    def __init__(self, repository: Path, home: Path) -> None:
        self._path = home / "tree"
        self._repository = repository

    def copy(self) -> None:
        """Brings the copy up to date. What is the same keeps its time, so that cargo does not build it again."""
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *_COPIED]
        listed = subprocess.run(command, cwd=self._repository, capture_output=True, text=True, check=True).stdout
        names = {name for name in listed.split("\0") if name and (self._repository / name).is_file()}
        for path in self._path.rglob("*"):
            if path.is_file() and str(path.relative_to(self._path)) not in names:
                path.unlink()
        for name in names:
            content, copied = (self._repository / name).read_bytes(), self._path / name
            if not copied.is_file() or copied.read_bytes() != content:
                copied.parent.mkdir(parents=True, exist_ok=True)
                copied.write_bytes(content)

    @contextmanager
    def mutated(self, mutant: Mutant) -> Iterator[None]:
        """The copy with a defect in it; raises `MutantsError` if that no longer applies."""
        path = self._path / mutant.file
        text = path.read_text()
        path.write_text(mutant.applied(text))
        try:
            yield
        finally:
            path.write_text(text)
