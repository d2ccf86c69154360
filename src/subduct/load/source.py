"""What every data source offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Self

Key: TypeAlias = str | int


class LoadError(Exception):
    """Input that cannot be used. The text is the whole message for the person who gave it, file and line included."""


class Source(ABC):
    """A numbered set of documents, made of plain Python values.

    `documents` reads them once, in order, and remembers where each came from; after that `rebuild` makes any of them
    again from the same bytes. The numbers run from 0 in the order of reading. What is remembered is a few dozen bytes
    a document: the source itself stays on disk, where it must not change meanwhile.
    """

    #: One word for reports: "python", "json", "ndjson" or "csv".
    kind: ClassVar[str]
    #: The field of each document that maps names to the parts of it that use them; None where there is none.
    index_field: ClassVar[str | None] = None

    def __init__(self, path: Path, title: str | None = None) -> None:
        self.path = path
        self.title = title if title is not None else str(path)
        #: Bytes of input read so far.
        self.bytes_read = 0
        #: Input files or lines left out so far, with the reason.
        self.skipped: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Lets go of open files; no document can be rebuilt afterwards."""

    @property
    def expected(self) -> int | None:
        """How many documents `documents` will try to read, where that is known before."""
        return None

    @property
    def notes(self) -> list[str]:
        """What a person should read before the load begins, in one sentence each."""
        return []

    @abstractmethod
    def documents(self) -> Iterator[Any]:
        """Reads the documents in the order of their numbers. To be used once.

        Raises LoadError for input that is broken, naming file and line.
        """

    @abstractmethod
    def __len__(self) -> int:
        """How many documents have been read so far."""

    @abstractmethod
    def key(self, number: int) -> Key:
        """The key under which document `number` is stored: the same from the moment it was read. O(1)."""

    @abstractmethod
    def rebuild(self, number: int) -> Any:
        """Makes document `number` again from its source. Thread-safe.

        Raises LoadError when the source has changed since it was read.
        """
