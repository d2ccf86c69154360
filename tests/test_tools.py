"""What tools for Python's containers make of proxies: sizes, pretty printing, JSON, pytest's differences."""

import json
import pprint
import subprocess
import sys
from pathlib import Path

import pytest

from subduct import Dict, Heap, HeapClosed, List, Tuple


def test_the_size_of_a_proxy_is_that_of_the_container_without_what_it_refers_to(heap: Heap) -> None:
    for count in (10, 1_000, 100_000):
        numbers = heap.list([None] * count)
        sizes = [sys.getsizeof(each) for each in (numbers, heap.list(["x" * 100] * count), heap.list([[]] * count))]
        assert len(set(sizes)) == 1
        assert 8 * count < sizes[0] < 10 * count + 200
        assert 8 * count < sys.getsizeof(heap.tuple([None] * count)) < 8 * count + 200
        entries = sys.getsizeof(heap.dict(dict.fromkeys(range(count))))
        assert 16 * count < entries < 60 * count + 200
        assert sys.getsizeof(heap.dict(dict.fromkeys(range(count), "x" * 100))) == entries
    assert sys.getsizeof(heap.list()) < 200
    assert sys.getsizeof(heap.dict()) < 300


def test_the_size_follows_the_container(heap: Heap) -> None:
    mine, found = heap.list(), []
    for _ in range(4):
        found.append(sys.getsizeof(mine))
        mine.extend([0] * 1_000)
    mine.clear()
    assert found == sorted(set(found))
    assert sys.getsizeof(mine) == found[0]
    heap.close()
    with pytest.raises(HeapClosed):
        sys.getsizeof(mine)


def test_pretty_printing_shows_what_a_proxy_is_in_one_line(heap: Heap) -> None:
    records = heap.dict({f"key {i}": {"x": [i] * 50, "name": "n" * 30} for i in range(100)})
    first = "Dict(2 items: {'x': List(50 items), 'name': 'nnnnnnnnnnnnnnnnnnnnnnnnnnnnnn'})"
    assert pprint.pformat(records).startswith("Dict(100 items: {'key 0': Dict(2 items), ")
    assert pprint.pformat([records["key 1"]] * 2) == f"[{first},\n {first}]"
    assert pprint.pformat(heap.list(range(1_000))) == "List(1000 items: [0, 1, 2, 3, ...])"
    assert pprint.pformat(records["key 1"].to_python()).count("\n") == 50


def test_json_takes_proxies_with_a_default(heap: Heap) -> None:
    content = {"a": [1, {"b": None}], "c": "d"}
    mine = heap.dict(content)
    with pytest.raises(TypeError, match="Object of type Dict is not JSON serializable"):
        json.dumps(mine)
    assert json.dumps(mine.to_python()) == json.dumps(content)
    assert json.dumps({"inside": [mine]}, default=lambda proxy: proxy.to_python()) == json.dumps({"inside": [content]})
    for kind in (Dict, List, Tuple):
        assert callable(kind.to_python)


def test_pytest_says_what_differs(tmp_path: Path) -> None:
    (tmp_path / "test_proxies.py").write_text(
        """
from subduct import Heap
heap = Heap("16MiB")
def test_dict(): assert heap.dict({"a": 1, "b": [1, 2], "c": 3, "d": 4, "e": 5}) == {"a": 1, "b": [1, 3], "c": 3, "d": 4, "e": 5}
def test_list(): assert heap.list([1, 2, 3, 4, 5, 6]) == [1, 2, 3, 4, 5, 7]
def test_lists(): assert heap.list([1, 2, 3, 4, 5, 6]) == heap.list([1, 2, 3, 4, 5])
def test_tuple(): assert heap.tuple([1, 2, 3]) == (1, 2)
"""
    )
    arguments = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        str(tmp_path),
    ]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=120, cwd=tmp_path)
    assert "4 failed" in done.stdout, done.stdout + done.stderr
    for line in (
        "{'b': List(2 items: [1, 2])} != {'b': [1, 3]}",
        "At index 5 diff: 6 != 7",
        "Left contains one more item: 6",
        "Left contains one more item: 3",
    ):
        assert f"E     {line}\n" in done.stdout
