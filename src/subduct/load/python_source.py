"""A folder of Python sources, each file a document with its syntax tree."""

from __future__ import annotations

import ast
import os
import platform
import sysconfig
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from subduct.load.origin import Fingerprint
from subduct.load.source import LoadError, Source
from subduct.load.syntax import syntax_records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from subduct.load.source import Key

# Other people's packages and caches are no part of a source tree.
_FOREIGN_FOLDERS = frozenset({"site-packages", "dist-packages", "__pycache__", "node_modules"})


# CPython counts how deep the parser is for the interpreter, not for each thread: where another parses meanwhile, `ast.parse`
# raises SystemError now and then.
_PARSING = threading.Lock()


class PythonSource(Source):
    """The Python files below a folder, in order of their paths; without a folder, the standard library.

    Each document is `{"path", "source_bytes", "lines", "nodes", "tree", "names"}`: the tree as `syntax_records` makes
    it, and each name with the list of records in this tree that use it. Files that this interpreter cannot parse are
    skipped, and folders that it cannot search.
    """

    kind: ClassVar[str] = "python"
    index_field: ClassVar[str | None] = "names"

    def __init__(self, folder: Path | None = None) -> None:
        title = None
        if folder is None:
            folder = Path(sysconfig.get_path("stdlib"))
            title = f"the standard library of Python {platform.python_version()}"
        super().__init__(folder, title)
        self._found = sorted(self._python_files())
        if not self._found:
            raise LoadError(
                f"{folder}: no Python files (*.py) in this folder or below; other data are loaded file by file"
            )
        self._paths: list[str] = []
        self._fingerprints: list[Fingerprint] = []

    @property
    def expected(self) -> int | None:
        return len(self._found)

    def documents(self) -> Iterator[dict[str, Any]]:
        for name in self._found:
            try:
                status = (self.path / name).stat()
                data = (self.path / name).read_bytes()
                document = _document(name, data)
            except OSError as error:
                self.skipped.append(f"{name}: {error.strerror}")
            except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
                # MemoryError is how the parser reports brackets nested too deeply.
                self.skipped.append(f"{name}: {type(error).__name__}: {error}")
            else:
                self.bytes_read += len(data)
                self._paths.append(name)
                self._fingerprints.append(Fingerprint(status))
                yield document

    def close(self) -> None:
        """No file stays open."""

    def __len__(self) -> int:
        return len(self._paths)

    def key(self, number: int) -> Key:
        return self._paths[number]

    def _python_files(self) -> Iterator[str]:
        """Paths below the folder and relative to it, "/" between the parts. Folders that cannot be searched are skipped."""
        for parent, folders, files in os.walk(self.path, onerror=self._skip_folder):
            folders[:] = [name for name in folders if name not in _FOREIGN_FOLDERS and not name.startswith(".")]
            for name in files:
                if name.endswith(".py"):
                    yield (Path(parent) / name).relative_to(self.path).as_posix()

    def _skip_folder(self, error: OSError) -> None:
        if error.filename == os.fspath(self.path):
            raise LoadError(f"{self.path}: {error.strerror}") from None
        self.skipped.append(f"{error.filename}: {error.strerror}")

    def rebuild(self, number: int) -> dict[str, Any]:
        name = self._paths[number]
        path = self.path / name
        try:
            self._fingerprints[number].check(path.stat(), path)
            return _document(name, path.read_bytes())
        except OSError as error:
            raise LoadError(f"{path}: {error.strerror} (it was there when the load began)") from None


def _document(name: str, data: bytes) -> dict[str, Any]:
    with _PARSING:
        parsed = ast.parse(data, name)
    tree, names, count = syntax_records(parsed)
    return {
        "path": name,
        "source_bytes": len(data),
        "lines": data.count(b"\n"),
        "nodes": count,
        "tree": tree,
        "names": names,
    }
