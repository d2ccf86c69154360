"""Ten million entries: growth, shifts and rehashing that are interrupted by cycles, and large objects."""

import pytest

from harness.heaps import HeapMaker

pytestmark = pytest.mark.large

TEN_MILLION = 10_000_000


@pytest.fixture
def delivery() -> str | None:
    """The default delivery only: what is large here takes long."""
    return None


def test_a_list_of_ten_million(make_heap: HeapMaker) -> None:
    heap = make_heap("2GiB", verify=False)
    numbers = heap.list(range(TEN_MILLION))
    assert len(numbers) == TEN_MILLION
    numbers.insert(0, "first")
    heap.collect()
    assert numbers[0] == "first"
    assert numbers[TEN_MILLION] == TEN_MILLION - 1
    assert numbers[-5_000_000] == 5_000_000
    del numbers[1:9_000_001]
    assert numbers[1] == 9_000_000
    numbers.reverse()
    assert numbers[0] == TEN_MILLION - 1
    numbers.extend(range(100))
    heap.collect()
    assert numbers[-3:].to_python() == [97, 98, 99]
    assert len(numbers) == 1_000_101
    numbers.clear()
    assert heap.collect().live_bytes < 1 << 20


def test_a_dict_of_ten_million(make_heap: HeapMaker) -> None:
    heap = make_heap("4GiB", verify=False)
    numbers = heap.dict()
    numbers.update((number, -number) for number in range(TEN_MILLION))
    assert len(numbers) == TEN_MILLION
    heap.collect()
    for number in range(0, TEN_MILLION, 99_991):
        assert numbers[number] == -number
    assert TEN_MILLION not in numbers
    assert next(reversed(numbers)) == TEN_MILLION - 1
    assert numbers.popitem() == (TEN_MILLION - 1, 1 - TEN_MILLION)
    total = sum(1 for _ in numbers)
    assert total == TEN_MILLION - 1
    numbers.clear()
    assert heap.collect().live_bytes < 1 << 20


def test_large_objects_that_point_at_moving_ones(make_heap: HeapMaker) -> None:
    heap = make_heap("2GiB", verify=True)
    pairs = heap.list([[number, str(number)] for number in range(600_000)])
    for start in range(200):
        del pairs[start : start + 2_000]
    assert len(pairs) == 200_000
    expected = [pair[0] for pair in (pairs[0], pairs[100_000], pairs[-1])]
    report = heap.collect()
    assert report.verified
    assert report.bytes_evacuated > 0
    assert [pair[0] for pair in (pairs[0], pairs[100_000], pairs[-1])] == expected
    assert pairs[777].to_python() == [pairs[777][0], str(pairs[777][0])]


def test_large_texts_and_bytes(make_heap: HeapMaker) -> None:
    heap = make_heap("1GiB")
    text, data = "é" * 20_000_000, bytes(range(256)) * 200_000
    heap.root["text"], heap.root["data"] = text, data
    heap.collect()
    assert heap.root["text"] == text
    assert heap.root["data"] == data
    del heap.root["text"]
    live = heap.stats().live_bytes
    assert heap.collect().live_bytes <= live - 40_000_000
