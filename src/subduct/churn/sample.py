"""The comparison of stored documents with their source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from subduct.churn.canonical import canonical
from subduct.churn.store import ABSENT

if TYPE_CHECKING:
    from random import Random

    from subduct import Heap
    from subduct.churn.store import DocumentStore


def disagreement(heap: Heap) -> str | None:
    """What the heap's second tracer has found wrong, None if nothing is."""
    try:
        heap.verify()
    except RuntimeError as error:
        return f"the second tracer disagrees: {error}"
    return None


def choose_sample(store: DocumentStore, size: int, random: Random) -> list[int]:
    """Numbers of `size` documents that are in the store, or of all when there are fewer, in order. O(size), unless most
    of the documents are deleted."""
    count = len(store.source)
    some = random.sample(range(count), min(count, 2 * size))
    present = [number for number in some if store.contains(number)]
    if len(present) < size:
        present = [number for number in range(count) if store.contains(number)]
    return sorted(random.sample(present, min(size, len(present))))


def matches_source(store: DocumentStore, number: int) -> bool:
    """Whether a stored document, copied out, is the same in every byte as one made from the source just now. A document
    that is not there is not."""
    stored = store.get(number, ABSENT)
    return stored is not ABSENT and canonical(_plain(stored)) == canonical(store.source.rebuild(number))


def _plain(value: Any) -> Any:
    return value.to_python() if hasattr(value, "to_python") else value
