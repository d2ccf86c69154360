"""The budget is a hard limit on resident bytes, and memory that is not needed goes back."""

import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from harness.heaps import HeapMaker, checksum, document, fill, thin
from harness.process import heap_descriptors, resident_bytes
from subduct import Dict, Heap, HeapFull, KernelError, List, _native
from subduct._heap import _BUDGETS, parse_size

MIB = 1 << 20
BUDGET = 16 * MIB


@pytest.fixture
def files_before() -> set[int]:
    """The memfds of heaps that other tests left open: none of this test's business."""
    return heap_descriptors()


def fill_until_full(documents: Dict) -> tuple[int, HeapFull]:
    """Insert documents until there is no room; returns how many fitted, and the error."""
    number = len(documents)
    while True:
        try:
            documents[number] = document(number)
        except HeapFull as error:
            return number, error
        number += 1


def append_until_full(items: List, item: object) -> None:
    """Append an item over and over, until there is no room for it."""
    with suppress(HeapFull):
        while True:
            items.append(item)


def assert_intact(documents: Dict, count: int) -> None:
    """Check every document that was stored, and that there are no others."""
    assert len(documents) == count
    for expected, (number, found) in enumerate(documents.items()):
        assert number == expected
        assert found["check"] == checksum(expected, 0)


def test_a_full_heap_says_so_and_loses_nothing(make_heap: HeapMaker, files_before: set[int]) -> None:
    heap = make_heap(BUDGET)
    files = heap_descriptors() - files_before
    assert files
    documents = fill(heap, 0)
    stored, error = fill_until_full(documents)
    assert isinstance(error, MemoryError)
    assert error.budget_bytes == BUDGET
    assert 0 < error.requested_bytes <= BUDGET
    assert 0 < error.live_bytes <= error.resident_bytes <= BUDGET
    for figure in (error.requested_bytes, error.live_bytes, error.resident_bytes, error.budget_bytes):
        assert str(figure) in str(error)
    assert_intact(documents, stored)
    heap.verify()
    stats = heap.stats()
    assert stats.live_bytes > BUDGET // 2
    assert stats.resident_bytes <= BUDGET
    assert resident_bytes(files) <= BUDGET


def test_a_full_heap_can_be_read(make_heap: HeapMaker) -> None:
    """Reading needs a little of the heap: for proxies, and for the containers that a walk has met."""
    with make_heap(budget="8MiB") as heap:
        heap.root["kept"] = {}
        kept = heap.root["kept"]
        item = {"a": [1, {"b": [2, 3, {"c": "x"}]}, []], "t": ("x", [1]), "text": "x" * 1000}
        number = 0
        try:
            while True:
                kept[number] = item
                number += 1
        except HeapFull:
            assert number > 1000
        for _ in range(3):
            assert [kept[each].to_python() for each in range(number)] == [item] * number
            assert kept == kept.to_python()
            held = [kept[each] for each in range(number)]
            assert len(held) == len(kept.values()) == number
            del held
        kept.clear()
        kept[0] = item
        assert kept.to_python() == {0: item}


def fits(kept: List, value: object) -> bool:
    """Append a value, if there is room for it."""
    try:
        kept.append(value)
    except HeapFull:
        return False
    return True


def test_what_is_refused_is_refused_after_a_collection(make_heap: HeapMaker) -> None:
    """With values of all sizes: what a collection gives back was to be had before the heap said that it is full."""
    numbers = random.Random(42_000)
    heap = make_heap("40MiB", verify=False)
    heap.root["kept"] = []
    kept = heap.root["kept"]
    refused = 0
    while refused < 3:
        size = numbers.choice([8, 1000, 70_000, 300_000])
        shape = numbers.randrange(3)
        values: list[object] = [bytes(size), list(range(size // 8)), {key: key for key in range(max(1, size // 50))}]
        if not fits(kept, values[shape]):
            refused += 1
            heap.collect()
            assert not fits(kept, values[shape]), (refused, shape, size)
            for _ in range(numbers.randrange(1, 12)):
                del kept[numbers.randrange(len(kept))]
        if numbers.random() < 0.05 and len(kept) > 1:
            del kept[numbers.randrange(len(kept))]


@pytest.mark.parametrize("stress", [None, "64KiB"])
def test_what_is_copied_in_is_refused_after_a_collection_if_it_was_before(
    make_heap: HeapMaker, stress: str | None
) -> None:
    # Containers that grow while they are built, and moves under way that hold twice what they move.
    def strings() -> list[str]:
        return ["y" * rng.randrange(3000) for _ in range(20)]

    def records() -> list[dict[str, Any]]:
        return [{"id": i, "name": f"name {rng.random()}", "tags": ["a", "b"]} for i in range(rng.randrange(40))]

    for seed in range(6):
        rng = random.Random(seed)
        make = (strings, records)[seed % 2]
        heap = make_heap("8MiB", stress=stress, verify=False)
        heap.root["kept"] = []
        kept = heap.root["kept"]
        new: list[Any] = []
        while fits(kept, new):
            new = make()
        heap.collect()
        assert not fits(kept, new), seed
        heap.close()


def test_a_full_heap_is_usable_after_something_is_deleted(make_heap: HeapMaker) -> None:
    heap = make_heap(BUDGET)
    documents = fill(heap, 0)
    stored, _ = fill_until_full(documents)
    for number in range(stored // 2, stored):
        del documents[number]
    heap.collect()
    again, _ = fill_until_full(documents)
    assert again >= stored * 0.9
    assert_intact(documents, again)


GIVE_UP: dict[str, Callable[[List], Any]] = {
    "delete": lambda items: items.__delitem__(slice(0, 5)),
    "assign a list": lambda items: items.__setitem__(slice(0, 5), []),
    "assign a tuple": lambda items: items.__setitem__(slice(0, 5), ()),
    "pop": lambda items: items.pop(),
    "clear": lambda items: items.clear(),
}


def test_a_full_heap_gives_up_items_in_every_way(make_heap: HeapMaker) -> None:
    for name, give_up in GIVE_UP.items():
        with make_heap("8MiB") as heap:
            heap.root["items"] = []
            items = heap.root["items"]
            for item in ("x" * 1_000, 2.0**0.5):
                append_until_full(items, item)
            before = len(items)
            give_up(items)
            assert len(items) < before, name


def test_a_full_heap_can_always_compact(make_heap: HeapMaker) -> None:
    # Large beside the 8 MiB that may be resident beyond what is alive.
    budget = 24 * MIB
    heap = make_heap(budget)
    documents = fill(heap, 0)
    stored, _ = fill_until_full(documents)
    thin(documents, keep_every=3)
    # What is evacuated in one cycle makes room for the next; each must get on.
    resident = [heap.collect().resident_bytes for _ in range(4)]
    assert resident == sorted(resident, reverse=True)
    assert resident[-1] <= 1.25 * heap.stats().live_bytes + 8 * MIB
    assert list(documents) == list(range(0, stored, 3))
    assert heap.stats().resident_bytes <= budget


def test_one_value_larger_than_the_budget(make_heap: HeapMaker) -> None:
    heap = make_heap(BUDGET)
    documents = fill(heap, 1_000)
    with pytest.raises(HeapFull):
        heap.root["large"] = b"x" * (2 * BUDGET)
    with pytest.raises(HeapFull):
        heap.root["large"] = [[0.1, number] for number in range(500_000)]
    assert "large" not in heap.root
    assert_intact(documents, 1_000)


def test_a_value_with_several_large_parts_is_stored_or_refused(make_heap: HeapMaker) -> None:
    """Stored in one operation: each attempt at it must get further than the one before."""
    heap = make_heap("16MiB")
    names = tuple(letter * 300_000 for letter in "abc")
    heap.root[names] = 1
    assert heap.root[names] == 1
    with pytest.raises(HeapFull):
        heap.root[tuple(letter * 300_000 for letter in "abcdefghijklmnopqrstuvwxyz" * 3)] = 2
    assert list(heap.root) == [names]


def test_resident_never_exceeds_the_budget_under_churn(make_heap: HeapMaker, files_before: set[int]) -> None:
    heap = make_heap(BUDGET, verify=False)
    files = heap_descriptors() - files_before
    documents = fill(heap, 12_000)
    highest = 0
    for turn in range(40):
        for number in range(turn % 3, 12_000, 3):
            documents[number] = document(number, turn)
        highest = max(highest, heap.stats().resident_bytes, resident_bytes(files))
    assert heap.stats().cycles > 0
    assert 0 < highest <= BUDGET
    assert len(documents) == 12_000


def test_stats_agree_with_the_kernel(make_heap: HeapMaker, files_before: set[int]) -> None:
    heap = make_heap("128MiB")
    files = heap_descriptors() - files_before
    thin(fill(heap, 50_000), keep_every=2)
    for _ in range(3):
        heap.collect()
        assert heap.stats().resident_bytes == pytest.approx(resident_bytes(files), abs=MIB)


@pytest.mark.parametrize("recycle", ["pool", "release"])
def test_memory_is_given_back(make_heap: HeapMaker, files_before: set[int], recycle: str) -> None:
    heap = make_heap("256MiB", recycle=recycle)
    files = heap_descriptors() - files_before
    documents = fill(heap, 100_000)
    full = heap.collect().resident_bytes
    thin(documents, keep_every=10)
    heap.collect()
    stats = heap.stats()
    assert stats.resident_bytes <= 1.10 * stats.live_bytes + 4 * MIB
    assert resident_bytes(files) <= 1.10 * stats.live_bytes + 4 * MIB
    assert stats.resident_bytes < full / 2
    assert list(documents) == list(range(0, 100_000, 10))


def test_what_nobody_holds_is_freed(heap: Heap) -> None:
    heap.collect()
    before = heap.stats().live_bytes
    held: List = heap.list([[number, {"number": number}] for number in range(10_000)])
    held[0].append(held)
    heap.collect()
    grown = heap.stats().live_bytes
    assert grown > before + 500_000
    del held
    heap.collect()
    assert heap.stats().live_bytes <= before + 4096


@pytest.mark.parametrize("budget", ["0", -1, "lots", "8 parsecs", "1KiB"])
def test_budgets_that_make_no_sense(budget: str | int) -> None:
    with pytest.raises(ValueError):
        Heap(budget)


@pytest.mark.parametrize(("text", "size"), [("64MiB", 64 * MIB), ("0.125GiB", 128 * MIB), ("100MB", 100_000_000)])
def test_budgets_as_text(text: str, size: int) -> None:
    with Heap(text) as heap:
        budget = heap.stats().budget_bytes
        assert size - 2 * MIB < budget <= size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4096", 4096), ("4096B", 4096), ("8G", 8 << 30), ("8g", 8 << 30), ("8Gi", 8 << 30), ("8GiB", 8 << 30),
        ("8GB", 8 * 10**9), ("8 gb", 8 * 10**9), (" 64K ", 64 << 10), ("64kB", 64_000), ("1.5M", 3 << 19), ("2T", 2 << 40),
    ],
)  # fmt: skip
def test_sizes_as_people_write_them(text: str, size: int) -> None:
    """A letter alone is binary, as the tools have it that people set limits with."""
    assert parse_size(text, "a size") == size


@pytest.mark.parametrize("text", ["", "G", "8X", "8iB", "-1G", "1e9", "8GBs", "8 G B", "٣G"])
def test_sizes_that_are_none_are_refused_with_all_units(text: str) -> None:
    with pytest.raises(ValueError, match=r"such as '8GiB'.*K, M, G, T stand for KiB, MiB, GiB, TiB"):
        parse_size(text, "a size")


def test_sizes_out_of_range_are_refused() -> None:
    """Also those that Python does not convert, and does not print."""
    sizes: list[str | int] = ["0", "9" * 5_000, "8388608T", 0, -1, 1 << 63, 10**5_000, -(10**5_000)]
    for size in sizes:
        with pytest.raises(ValueError, match="a size must be more than 0 bytes and less than 8 EiB, not"):
            parse_size(size, "a size")


def test_what_is_too_long_to_be_read_is_not_shown() -> None:
    for text in ("9" * 10_000, "x" * 10_000):
        with pytest.raises(ValueError, match=r"not '(9{40}|x{40})' and 9960 characters more$"):
            parse_size(text, "a size")


@pytest.mark.parametrize(
    "budget", [0, -1, 1, "0", "0.5", (8 << 20) - 1, "8MB", (1 << 40) + 1, "2TiB", 1 << 63, -(1 << 99)]
)
def test_one_sentence_for_all_budgets_out_of_range(budget: int | str) -> None:
    with pytest.raises(ValueError, match=r"^budget must be between 8 MiB and 1 TiB, not "):
        Heap(budget)


@pytest.mark.parametrize("budget", [True, 8e6, float("nan"), None, b"8MiB"])
def test_budgets_that_are_no_sizes(budget: Any) -> None:
    with pytest.raises(TypeError, match=r"^budget must be an int or a str, not \w+$"):
        Heap(budget)


def test_the_native_module_has_the_same_limits() -> None:
    for size in (_BUDGETS.least - 1, _BUDGETS.most + 1):
        with pytest.raises(ValueError, match=f"between 8 MiB and 1 TiB, not {size} bytes"):
            _native.Heap(size)
    _native.Heap(_BUDGETS.least).close()


def test_sizes_may_have_any_number_of_digits() -> None:
    assert parse_size("0" * 5_000 + "1KiB", "a size") == parse_size("1." + "0" * 5_000 + "KiB", "a size") == 1024


def test_a_budget_beyond_the_address_space() -> None:
    with pytest.raises((ValueError, KernelError, OverflowError)):
        Heap(1 << 62)
