"""What is one step with builtins is one step for the other threads of a heap, and no call keeps other threads from running."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness.heaps import HeapMaker
from subduct import Heap, HeapFull

ROUNDS = 30
# More than one operation takes in place, so that results are built beside the old ones.
LONG = 9_000
SHORT = 300


@pytest.fixture
def eager_switching() -> Iterator[None]:
    """Let Python change threads far more often than it does by itself."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(before)


def lengths_seen(container: Any, write: Callable[[], object]) -> set[int]:
    """All lengths that another thread sees while this one writes."""
    seen: set[int] = set()
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.add(len(container))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for _ in range(ROUNDS):
            write()
    finally:
        stop.set()
        reader.join()
    return seen


def dict_writes(heap: Heap, size: int) -> Iterator[tuple[Any, Callable[[], object], set[int]]]:
    """Dicts, what is done to them, and the lengths that they have in between."""
    plain = {i: str(i) for i in range(size)}
    inside = heap.dict(plain)
    overlap = heap.dict(dict.fromkeys(range(size // 2, size + size // 2)))

    for other in (plain, inside):
        target = heap.dict()

        def write(target: Any = target, other: Any = other) -> None:
            target.update(other)
            target.clear()
            target |= other
            target.clear()

        yield target, write, {0, size}
    target = heap.dict()

    def update_twice() -> None:
        target.update(inside)
        target.update(overlap)
        target.clear()

    yield target, update_twice, {0, size, len(overlap) + size // 2}


def list_writes(heap: Heap, size: int) -> Iterator[tuple[Any, Callable[[], object], set[int]]]:
    """Lists, what is done to them, and the lengths that they have in between."""
    plain = list(range(size))
    for other in (plain, tuple(plain), heap.list(plain), heap.tuple(plain)):
        target = heap.list()

        def grow(target: Any = target, other: Any = other) -> None:
            target.extend(other)
            target += other
            target[3:-3] = other
            target *= 2
            target.clear()

        middle = size + 6
        yield target, grow, {0, size, 2 * size, middle, 2 * middle}
    target = heap.list(plain)

    def cut() -> None:
        del target[::2]
        target[:] = plain

    yield target, cut, {size, size // 2}


@pytest.mark.parametrize("size", [SHORT, LONG])
@pytest.mark.parametrize("stress", [None, 256 * 1024])
@pytest.mark.parametrize("writes", [dict_writes, list_writes])
@pytest.mark.usefixtures("eager_switching")
def test_no_thread_sees_half_a_change(make_heap: HeapMaker, size: int, stress: int | None, writes: Any) -> None:
    heap = make_heap("64MiB", stress=stress)
    for container, write, lengths in writes(heap, size):
        assert lengths_seen(container, write) <= lengths


@pytest.mark.usefixtures("eager_switching")
def test_copies_are_of_one_moment(heap: Heap) -> None:
    plain = list(range(LONG))
    numbers, entries = heap.list(), heap.dict()
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            numbers.extend(plain)
            entries.update(dict.fromkeys(plain))
            numbers.clear()
            entries.clear()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(ROUNDS):
            for copy in (numbers.copy(), numbers[:], numbers[::-1], heap.list(numbers), heap.tuple(numbers)):
                assert len(copy) in (0, LONG)
            for mapping in (entries.copy(), entries | {}, {} | entries, heap.dict(entries)):
                assert len(mapping) in (0, LONG)
            assert len(numbers + numbers) in (0, 2 * LONG)
            assert len(numbers * 3) in (0, 3 * LONG)
    finally:
        stop.set()
        writer.join()


@pytest.mark.usefixtures("eager_switching")
def test_a_list_of_a_large_dict_is_of_one_moment(heap: Heap) -> None:
    size = 40_000
    entries = heap.dict(dict.fromkeys(range(size)))
    numbers = heap.list(range(size))
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            entries["more"] = 1
            del entries["more"]
            numbers[0] = -1
            numbers.append(-1)
            del numbers[-1]
            numbers[0] = 0

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(ROUNDS // 3):
            assert [key for key in list(entries) if key != "more"] == list(range(size))
            first, *others = list(numbers)
            assert first in (0, -1)
            assert others[: size - 1] == list(range(1, size))
            assert others[size - 1 :] in ([], [-1])
    finally:
        stop.set()
        writer.join()


@pytest.mark.usefixtures("no_collections")
@pytest.mark.parametrize("read", [list, tuple, set, frozenset, sorted, len, sum, max])
def test_reading_a_view_runs_no_bytecode(heap: Heap, read: Callable[[Any], object]) -> None:
    # So no other thread runs in between, as with the builtins' views.
    entries = heap.dict({i: i for i in range(SHORT)})
    events: list[str] = []
    for view in (entries.keys(), entries.values()):
        sys.setprofile(lambda _frame, event, _argument: events.append(event))
        try:
            found = read(view)
        finally:
            sys.setprofile(None)
        assert found == read(range(SHORT))
    assert "c_call" in events
    assert "call" not in events


@pytest.mark.usefixtures("eager_switching", "no_collections")
def test_lists_of_views_are_of_one_moment(heap: Heap) -> None:
    entries = heap.dict({i: i for i in range(SHORT)})
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            entries["more"] = "more"
            del entries["more"]

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(ROUNDS * 20):
            assert list(entries.keys())[:SHORT] == list(range(SHORT))
            assert list(entries.values())[:SHORT] == list(range(SHORT))
            assert list(entries.items())[:SHORT] == [(i, i) for i in range(SHORT)]
    finally:
        stop.set()
        writer.join()


def test_a_loop_over_many_elements_sees_its_own_changes(heap: Heap) -> None:
    size = 60_000
    numbers, entries = heap.list(range(size)), heap.dict(dict.fromkeys(range(size), 0))
    seen = []
    for i, number in enumerate(numbers):
        seen.append(number)
        if i == size // 2:
            numbers[size - 1] = "last"
            numbers.append("more")
    assert seen == [*range(size - 1), "last", "more"]
    seen = []
    for key, value in entries.items():
        if key == size // 2:
            entries[size - 1] = "last"
        seen.append(value)
    assert seen == [0] * (size - 1) + ["last"]
    keys = iter(entries)
    for key in keys:
        if key == size // 2:
            entries["more"] = 1
            break
    with pytest.raises(RuntimeError, match="changed size"):
        next(keys)


def test_a_change_that_fails_leaves_everything_as_it_was(heap: Heap) -> None:
    entries, numbers = heap.dict({"a": 1}), heap.list([1, 2, 3])
    bad_entries: dict[Any, Any] = {**dict.fromkeys(range(LONG)), "bad": {"deep": [object()]}}
    bad_numbers = [*range(LONG), [object()]]
    with pytest.raises(TypeError):
        entries.update(bad_entries)
    with pytest.raises(TypeError):
        entries |= bad_entries
    with pytest.raises(TypeError):
        entries | bad_entries
    with pytest.raises(TypeError):
        numbers.extend(bad_numbers)
    with pytest.raises(TypeError):
        numbers += bad_numbers
    with pytest.raises(TypeError):
        numbers[1:2] = bad_numbers
    assert entries.to_python() == {"a": 1}
    assert numbers.to_python() == [1, 2, 3]


def test_a_change_without_room_leaves_everything_as_it_was(make_heap: HeapMaker) -> None:
    heap = make_heap("16MiB")
    entries, numbers = heap.dict({"a": 1}), heap.list(range(LONG))
    source = heap.dict(dict.fromkeys(range(4 * LONG), "a string that is longer than a slot"))
    hoard = heap.list()

    def fill() -> None:
        while True:
            hoard.append(b"x" * 20_000)

    with pytest.raises(HeapFull):
        fill()
    with pytest.raises(HeapFull):
        entries.update(source)
    with pytest.raises(HeapFull):
        numbers.extend(list(range(40 * LONG)))
    with pytest.raises(HeapFull):
        numbers *= 100
    with pytest.raises(HeapFull):
        entries.update({i: "another string that is longer than a slot" + str(i) for i in range(4 * LONG)})
    assert entries.to_python() == {"a": 1}
    assert numbers.to_python() == list(range(LONG))
    hoard.clear()
    entries.update(source)
    assert len(entries) == 1 + 4 * LONG


def test_a_source_is_read_at_once(heap: Heap) -> None:
    # Smaller than what may be read in pieces: other threads that change it meanwhile go unnoticed, and leave no gaps.
    source: dict[Any, int] = {i: i for i in range(100_000)}
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            source["more"] = 1
            del source["more"]

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(5):
            copy = heap.dict()
            copy.update(source)
            assert len(copy) - ("more" in copy) == 100_000
    finally:
        stop.set()
        writer.join()


def big_calls(heap: Heap) -> Iterator[tuple[str, Callable[[], object]]]:
    """Calls that take long, by name."""
    rows = {i: {"id": i, "name": f"n{i}"} for i in range(20_000)}
    stored = heap.dict({"rows": rows})["rows"]
    numbers = heap.list(range(200_000))
    entries = heap.dict(dict.fromkeys(range(100_000)))
    yield "copy in", lambda: heap.dict(rows)
    yield "to_python", stored.to_python
    yield "==", lambda: stored == rows
    yield "== of proxies", lambda: stored == heap.dict(rows)
    yield "update", lambda: heap.dict().update(rows)
    yield "update from a Dict", lambda: heap.dict({-1: 0}).update(entries)
    yield "|", lambda: entries | entries.copy()
    yield "list of a dict", lambda: list(entries)
    yield "list of a list", lambda: list(numbers)
    yield "in", lambda: -1 in numbers
    yield "count", lambda: numbers.count(7)
    yield "<", lambda: numbers < numbers.copy()
    yield "sort", lambda: numbers.sort(key=lambda number: number % 1000)
    yield "sort in C", lambda: numbers.sort(reverse=True)


@pytest.mark.usefixtures("eager_switching")
def test_other_threads_run_during_a_big_call(heap: Heap) -> None:
    turns = 0
    stop = threading.Event()

    def count_turns() -> None:
        nonlocal turns
        while not stop.is_set():
            turns += 1
            time.sleep(0)

    other = threading.Thread(target=count_turns)
    other.start()
    try:
        for name, call in big_calls(heap):
            most = 0
            for _ in range(20):
                before = turns
                call()
                most = max(most, turns - before)
                if most >= 5:
                    break
            # One at each end of a call need not be a turn during the call.
            assert most >= 5, name
    finally:
        stop.set()
        other.join()


def in_another_thread(work: Callable[[], object]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_remove_removes_what_it_found(heap: Heap) -> None:
    numbers = heap.list([1, 2, 3])

    class Two:
        is_first = True

        def __eq__(self, other: object) -> bool:
            if other == 2 and self.is_first:
                self.is_first = False
                in_another_thread(lambda: numbers.pop(0))
            return other == 2

        def __hash__(self) -> int:
            return 2

    numbers.remove(Two())
    assert numbers.to_python() == [3]


def test_remove_of_a_container_removes_what_it_found(heap: Heap) -> None:
    lists = heap.list([[1], [2], [3]])

    class Odd:
        is_first = True

        def __eq__(self, other: object) -> bool:
            if self.is_first:
                self.is_first = False
                in_another_thread(lambda: lists.insert(0, [0]))
            return True

        def __hash__(self) -> int:
            return 0

    lists.remove(Odd())
    assert lists.to_python() == [[1], [2], [3]]


def test_sort_notices_a_change_that_keeps_the_length(heap: Heap) -> None:
    numbers = heap.list([3, 1, 2])
    is_changed = False

    def key(number: int) -> int:
        nonlocal is_changed
        if not is_changed:
            is_changed = True
            in_another_thread(lambda: numbers.__setitem__(0, 7))
        return number

    with pytest.raises(ValueError, match="list modified during sort"):
        numbers.sort(key=key)
    assert numbers.to_python() == [7, 1, 2]


def test_sort_notices_an_element_that_was_set_to_what_it_was(heap: Heap) -> None:
    numbers = heap.list([3, 1, 2])

    def key(number: int) -> int:
        numbers[0] = 3
        return number

    with pytest.raises(ValueError, match="list modified during sort"):
        numbers.sort(key=key)
    assert numbers.to_python() == [3, 1, 2]


@pytest.mark.parametrize("reverse", [False, True])
def test_long_lists_sort_as_builtins_do(heap: Heap, reverse: bool) -> None:
    plain: list[Any] = [(i * 7919) % 5000 for i in range(20_000)]
    plain[::3] = [float(number) for number in plain[::3]]
    numbers = heap.list(plain)
    numbers.sort(reverse=reverse)
    plain.sort(reverse=reverse)
    # 1 and 1.0 are equal: their types show whether the sort was stable.
    assert [(number, type(number)) for number in numbers] == [(number, type(number)) for number in plain]


@pytest.mark.usefixtures("eager_switching")
def test_nothing_is_lost_between_pop_and_assignment(heap: Heap) -> None:
    slots = heap.list([0])
    entries = heap.dict({"slot": 0})
    found: list[int] = []
    stop = threading.Event()

    def take() -> None:
        while not stop.is_set() or len(slots) > 0:
            try:
                taken = slots.pop()
            except IndexError:
                continue
            found.append(taken if isinstance(taken, int) else taken[0])
            entries.pop("slot", None)

    taker = threading.Thread(target=take)
    taker.start()
    try:
        for number in range(1, 2_000):
            slots.append([number] if number % 2 else number)
            entries["slot"] = [number]
    finally:
        stop.set()
        taker.join()
    assert sorted(found) == list(range(2_000))
