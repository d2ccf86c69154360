"""Long strings, bytes and ints go in and out in pieces: whole, whatever happens between two of them."""

import copy
import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest

from harness.heaps import HeapMaker
from harness.process import run_program
from subduct import Heap, HeapClosed, HeapFull, Tuple

KIB = 1 << 10
# What is longer goes in pieces of half as much.
LONG = 256 * KIB

VALUES: dict[str, Callable[[int], Any]] = {
    "bytes": lambda length: bytes(range(256)) * (length // 256) + b"x" * (length % 256),
    "text": lambda length: "abcdefg" * (length // 7) + "z" * (length % 7),
    "wide text": lambda length: "é" * (length // 2) + "z" * (length % 2),
    "emoji": lambda length: "\U0001f600" * (length // 4) + "z" * (length % 4),
    "surrogates": lambda length: "\ud800" * (length // 3) + "z" * (length % 3),
    "int": lambda length: (1 << (8 * length - 2)) + 12_345,
    "negative int": lambda length: -(1 << (8 * length - 2)) + 12_345,
}
LENGTHS = [LONG, LONG + 128 * KIB + 3]


@pytest.fixture
def moving_heap(make_heap: HeapMaker) -> Heap:
    """One that moves all that is alive again and again, and checks it."""
    return make_heap("64MiB", stress=4 << 20, verify=True)


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("length", LENGTHS)
def test_every_way_in_and_out(moving_heap: Heap, kind: str, length: int) -> None:
    value = VALUES[kind](length)
    root = moving_heap.root
    root["d"] = {"v": value}
    d = root["d"]
    assert d["v"] == value
    assert d.get("v") == value
    assert d.setdefault("w", value) == value
    assert d.setdefault("w", 0) == value
    assert [*d.values()] == [value, value]
    assert d.popitem() == ("w", value)
    assert d.pop("v") == value
    root["l"] = [value, 1, (value, [value])]
    items = root["l"]
    items.append(value)
    items.insert(0, value)
    items.extend([value])
    items[2:3] = (value,)
    plain = [value, value, value, (value, [value]), value, value]
    assert items.to_python() == plain
    assert items == plain
    assert next(iter(items)) == value
    assert items.pop() == plain.pop()
    assert items[3][1][0] == value
    assert items.count(value) == 4
    assert copy.deepcopy(items) == plain
    assert moving_heap.tuple(iter([value]))[0] == value
    items.sort(key=lambda item: isinstance(item, Tuple))
    assert items[-1] == (value, [value])
    moving_heap.collect()
    assert items[0] == value


def test_what_is_shared_comes_out_as_one(heap: Heap) -> None:
    value = VALUES["bytes"](LONG + 1)
    heap.root["x"] = [value]
    heap.root["y"] = [heap.root["x"], heap.root["x"]]
    heap.root["x"].append(heap.root["x"][0])
    first, second = heap.root["y"].to_python()
    assert first is second
    assert first == [value, value]


def test_what_fails_leaves_nothing(make_heap: HeapMaker) -> None:
    heap = make_heap("16MiB")
    heap.root["kept"] = VALUES["text"](LONG + 5)
    handles = heap.stats().handles
    # Together far more than the heap has room for.
    for _ in range(100):
        for bad in (
            [VALUES["bytes"](LONG + 1), object()],
            {"a": [1] * 50, "b": VALUES["text"](LONG + 1), "c": object()},
        ):
            with pytest.raises(TypeError, match=r"^cannot store object at "):
                heap.root["bad"] = bad
    with pytest.raises(HeapFull):
        heap.root["bad"] = VALUES["bytes"](20 << 20)
    with pytest.raises(HeapFull):
        heap.root["bad"] = [VALUES["bytes"](LONG + 1) for _ in range(60)]
    gc.collect()
    assert heap.stats().handles == handles
    heap.root["good"] = [VALUES["bytes"](LONG + number) for number in range(1, 15)]
    assert heap.root.to_python() == {
        "kept": VALUES["text"](LONG + 5),
        "good": [VALUES["bytes"](LONG + number) for number in range(1, 15)],
    }
    heap.verify()


@pytest.mark.parametrize("remove", ["d.pop('k')", "d.popitem()", "d['l'].pop()", "d['l'].pop(0)"])
def test_what_there_is_no_memory_to_copy_is_not_removed(remove: str) -> None:
    program = f"""
    import resource
    from subduct import Heap
    heap = Heap("256MiB")
    d = heap.root
    d["l"], d["k"] = [b"y" * 30_000_000], b"x" * 30_000_000
    mapped = int(next(line for line in open("/proc/self/status") if line.startswith("VmSize")).split()[1]) << 10
    resource.setrlimit(resource.RLIMIT_AS, (mapped + (8 << 20), -1))
    try:
        {remove}
    except MemoryError as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
    print(d.to_python() == {{"l": [b"y" * 30_000_000], "k": b"x" * 30_000_000}})
    """
    done = run_program(program)
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        "the process has no 30000000 bytes left for a value\nTrue\n",
        "",
    )


def test_one_that_is_replaced_while_it_is_read_comes_out_whole(moving_heap: Heap) -> None:
    root = moving_heap.root
    candidates = [bytes([number]) * (2 * LONG + number) for number in range(4)]
    root["v"] = candidates[0]
    stop, torn = threading.Event(), []

    def write() -> None:
        number = 0
        while not stop.is_set():
            number = (number + 1) % 4
            root["v"] = candidates[number]

    def read() -> None:
        while not stop.is_set():
            if root["v"] not in candidates or root.to_python()["v"] not in candidates:
                torn.append("v")

    threads = [threading.Thread(target=each) for each in (write, read, read)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        moving_heap.collect()
    stop.set()
    for thread in threads:
        thread.join()
    assert not torn
    moving_heap.verify()


def test_a_heap_that_is_closed_meanwhile_says_so(make_heap: HeapMaker) -> None:
    heap = make_heap("64MiB")
    value = VALUES["bytes"](8 << 20)
    heap.root["v"] = value
    root, ends = heap.root, []
    begun = threading.Barrier(3)

    def use(action: Callable[[], object]) -> None:
        begun.wait()
        try:
            while True:
                action()
        except HeapClosed:
            ends.append("closed")

    threads = [
        threading.Thread(target=use, args=(lambda: root["v"],)),
        threading.Thread(target=use, args=(lambda: root.__setitem__("w", value),)),
    ]
    for thread in threads:
        thread.start()
    begun.wait()
    heap.close()
    for thread in threads:
        thread.join()
    assert ends == ["closed"] * 2
