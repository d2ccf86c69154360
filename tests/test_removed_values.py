"""What is removed and returned is not lost where Python has no memory for its object."""

import pytest

from harness.heaps import Delivery
from harness.process import run_program

pytest.importorskip("_testcapi", reason="this interpreter cannot refuse memory on demand")

# In a process of its own: memory is refused to all threads of a process, those of the test runner too.
PROGRAM = """
import _testcapi
from subduct import Heap

# What fits a slot, short objects of the heap, containers, and what is copied in pieces.
VALUES = [
    1 << 40, 1.5, "sixteen", "text of the heap " * 9, b"sixteen", b"bytes of the heap" * 9, [1, 2], {{"a": 1}}, (1,),
    "é" * 200_000, b"x" * 400_000,
]
heap = Heap("64MiB", delivery={delivery!r})

def pop(value):
    container = heap.dict({{"a": 0, "k": value, "z": 1}})
    return container, lambda take=container.pop: take("k")

def popitem(value):
    container = heap.dict({{"a": 0, ("a", "tuple"): value}})
    return container, container.popitem

def pop_last(value):
    container = heap.list([0, value])
    return container, container.pop

def pop_first(value):
    container = heap.list([value, 0])
    return container, lambda take=container.pop: take(0)

def removed(value, make, number):
    # Whether the value was removed while the allocation of that number was refused.
    container, take = make(value)
    before = container.to_python()
    # CPython keeps some tuples of two for those who want one.
    hoard = [(None, each) for each in range(3_000)]
    taken = None
    _testcapi.set_nomemory(number, number + 1)
    try:
        taken = take()
    except MemoryError:
        pass
    finally:
        _testcapi.remove_mem_hooks()
    del hoard
    if taken is None:
        assert container.to_python() == before, (value, make)
    else:
        assert len(container) == len(before) - 1, (value, make)
    return taken is not None

refused = 0
for make in (pop, popitem, pop_last, pop_first):
    for value in VALUES:
        outcomes = [removed(value, make, number) for number in range(12)]
        assert any(outcomes), (value, make)
        refused += outcomes.count(False)
heap.verify()
print(refused > 3 * len(VALUES))
"""


def test_nothing_is_lost_when_memory_is_refused(delivery: Delivery) -> None:
    done = run_program(PROGRAM.format(delivery=delivery))
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")
