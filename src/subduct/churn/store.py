"""The documents of a source inside a heap, with their index of names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from subduct import Heap
    from subduct.load import Key, Source

#: Stands for a document that is not there: None may be one.
ABSENT = object()


class DocumentStore:
    """Documents under `heap.root["documents"]`, by key.

    Where the source has an index field, every document carries its own map from each name to the list of its parts
    that use the name, and `heap.root["names"]` maps the name to `{key of document: that same list}`. Taking a document
    out of the index so costs one removal for each of its names, whatever else uses them, and leaves no part of the
    document reachable.

    Threads may call every method at the same time, as long as no two of them change the same document.
    """

    def __init__(self, heap: Heap, source: Source) -> None:
        self.heap = heap
        self.source = source
        root = heap.root
        root["documents"] = {}
        self._documents: MutableMapping[Key, Any] = root["documents"]
        self._field = source.index_field
        self._index: MutableMapping[str, Any] | None = None
        if self._field is not None:
            root["names"] = {}
            self._index = root["names"]

    def __len__(self) -> int:
        return len(self._documents)

    @property
    def indexed(self) -> bool:
        """Whether there is an index of names."""
        return self._index is not None

    def get(self, number: int, default: Any = None) -> Any:
        """The stored document, a proxy of it where it is a container; `default` where it was deleted."""
        return self._documents.get(self.source.key(number), default)

    def contains(self, number: int) -> bool:
        """Whether the document is there."""
        return self._documents.get(self.source.key(number), ABSENT) is not ABSENT

    def users(self, name: str) -> Any:
        """The index entry of a name, `{key of document: list of parts}`, or None."""
        return None if self._index is None else self._index.get(name)

    def put(self, number: int, document: Any) -> None:
        """Stores a document made of plain values, or replaces the one that is there. Brings the index up to date."""
        key = self.source.key(number)
        if self._index is None or self._field is None:
            self._documents[key] = document
            return
        old = self._documents.get(key)
        self._documents[key] = document
        names = self._documents[key][self._field]
        for name, uses in names.items():
            users = self._index.get(name)
            if users is None:
                # Another thread may add the name just now: setdefault decides for both.
                users = self._index.setdefault(name, {})
            users[key] = uses
        if old is not None:
            self._unlink(key, (name for name in old[self._field] if name not in names))

    def delete(self, number: int) -> None:
        """Removes a document and its index entries. Does nothing when it is not there."""
        key = self.source.key(number)
        old = self._documents.pop(key, None)
        if old is not None and self._field is not None:
            self._unlink(key, old[self._field])

    def drop_unused_names(self) -> None:
        """Removes the names that no document uses any more. Nothing else may change the store meanwhile: `delete`
        leaves a name's empty entry, because another thread may be about to add to it."""
        if self._index is not None:
            unused = [name for name, users in self._index.items() if not users]
            for name in unused:
                del self._index[name]

    def index_is_exact(self) -> bool:
        """Whether the index holds the names of the documents that are there, and nothing else. To be called while
        nothing changes the store. Linear in the number of names of all documents."""
        if self._index is None:
            return True
        expected = sum(len(document[self._field]) for document in self._documents.values())
        found = 0
        for users in self._index.values():
            found += len(users)
            if not all(key in self._documents for key in users):
                return False
        return found == expected

    def _unlink(self, key: Key, names: Any) -> None:
        if self._index is None:
            return
        for name in names:
            users = self._index.get(name)
            if users is not None:
                users.pop(key, None)
