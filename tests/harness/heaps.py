"""Data that makes a heap move: documents by the thousand, and holes between them."""

from collections.abc import Callable
from typing import Any, Literal

from subduct import Dict, Heap

HeapMaker = Callable[..., Heap]
Delivery = Literal["sigbus", "thread", "software", "pause"]


def document(number: int, version: int = 0) -> dict[str, Any]:
    """A small document that can tell whether it was mixed up with another."""
    return {
        "id": number,
        "version": version,
        "name": f"document number {number}, version {version}",
        "tags": [f"tag {number % 7}", number * 2**61, float(number)],
        "check": checksum(number, version),
    }


def checksum(number: int, version: int) -> int:
    """What `check` must be in a document."""
    return number * 1_000_003 ^ version * 8_191


def fill(heap: Heap, count: int, *, at: str = "documents") -> Dict:
    """Put documents 0 to count-1 under one key of the root; returns the dict that holds them."""
    heap.root[at] = {number: document(number) for number in range(count)}
    documents = heap.root[at]
    assert isinstance(documents, Dict)
    return documents


def thin(documents: Dict, keep_every: int) -> None:
    """Delete all but every n-th document, which leaves holes all over the heap."""
    for number in list(documents):
        if isinstance(number, int) and number % keep_every:
            del documents[number]


def assert_documents(documents: Dict, numbers: range) -> None:
    """Check that exactly these documents are there, unharmed."""
    assert documents.to_python() == {number: document(number) for number in numbers}
