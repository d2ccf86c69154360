"""What a churning thread does to one document."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from subduct import Dict, List

if TYPE_CHECKING:
    from random import Random

    from subduct.churn.store import DocumentStore

# Enough to leave every cache, short enough that many documents get their turn.
_READ_LIMIT = 2_000
_FIELD_LIMIT = 16


class DamageError(Exception):
    """The heap gave back something that was never stored."""


def look_up(store: DocumentStore, number: int, random: Random) -> None:
    """Reads the first fields of a document one by one, and where there is an index, one name through it.

    Raises DamageError when what comes back contradicts the key it was found under.
    """
    document = store.get(number)
    if isinstance(document, Dict):
        for field in islice(document, _FIELD_LIMIT):
            document[field]
        if store.indexed:
            _look_up_name(store, number, document, random)
    elif isinstance(document, List) and document:
        _ = document[0], document[-1]


def _look_up_name(store: DocumentStore, number: int, document: Dict[str, Any], random: Random) -> None:
    key = store.source.key(number)
    if document["path"] != key:
        raise DamageError(f"document {key!r} says it is {document['path']!r}")
    names = document[str(store.source.index_field)]
    name = next(islice(names, random.randrange(min(len(names), _FIELD_LIMIT)), None), None) if names else None
    if name is None:
        return
    users = store.users(name)
    # Its owner may be deleting the document just now: then the index has lost it, and the proxy is the last user.
    uses = None if users is None else users.get(key)
    if uses is not None and not _uses_name(uses[0], name):
        raise DamageError(
            f"the index says that {key!r} uses {name!r} in a node of type {uses[0]['type']!r}, which does not"
        )


def _uses_name(node: Any, name: str) -> bool:
    return any(value == name or (isinstance(value, List) and name in value) for value in node.values())


def read_through(store: DocumentStore, number: int) -> None:
    """Walks a document from its root through what hangs from it, up to a limit; where there are parents, back up too.

    Raises DamageError when a tree has lost or gained a node, or a parent does not lead back to the root.
    """
    document = store.get(number)
    if not isinstance(document, Dict) or not store.indexed:
        _walk_record(document)
        return
    root = document["tree"]
    expected = document["nodes"]
    count, last = _walk_tree(root)
    if count != min(expected, _READ_LIMIT):
        raise DamageError(f"document {store.source.key(number)!r} has {expected} nodes, of which {count} were found")
    top = _climb(last)
    if top["type"] != root["type"]:
        raise DamageError(f"parents in {store.source.key(number)!r} lead to a {top['type']!r}, not to the root")


def _walk_record(record: Any) -> None:
    pending = [record]
    visited = 0
    while pending and visited < _READ_LIMIT:
        value = pending.pop()
        visited += 1
        if isinstance(value, Dict):
            pending.extend(value.values())
        elif isinstance(value, List):
            pending.extend(value)


def _walk_tree(root: Any) -> tuple[int, Any]:
    """How many nodes were visited (at most `_READ_LIMIT`), and the last. A node is a record with a parent; lists and
    the records of constants are looked through and not counted."""
    pending = [root]
    count = 0
    last = root
    while pending and count < _READ_LIMIT:
        container = pending.pop()
        if isinstance(container, List):
            pending.extend(item for item in container if isinstance(item, Dict))
            continue
        for field, value in container.items():
            if field == "parent":
                count += 1
                last = container
            elif isinstance(value, Dict | List):
                pending.append(value)
    return count, last


def _climb(node: Any) -> Any:
    """The topmost node above a node."""
    while (parent := node["parent"]) is not None:
        node = parent
    return node
