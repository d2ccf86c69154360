"""Documents in a heap: their index, the operations on them, and that damage is found."""

import threading
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest

from harness.data_files import DOCUMENTS, KINDS, write_data
from harness.heaps import HeapMaker
from subduct import Dict, Heap
from subduct.churn import Churn, DamageError, DocumentStore, ThreadsError, canonical
from subduct.churn.operations import look_up, read_through
from subduct.churn.sample import choose_sample, disagreement, matches_source
from subduct.churn.turns import Turns
from subduct.load import Source, open_source


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Small Python files that share some names."""
    for number in range(12):
        lines = [f"def f{number}(shared, own{number}):", "    return shared.attribute"]
        lines += [f"x{line} = f{number}({line}, 'text {line}')" for line in range(40)]
        (tmp_path / f"m{number:02}.py").write_text("\n".join(lines))
    return tmp_path


def fill(heap: Heap, source: Source) -> DocumentStore:
    store = DocumentStore(heap, source)
    for number, document in enumerate(source.documents()):
        store.put(number, document)
    return store


def index(heap: Heap) -> dict[str, set[str]]:
    """Names that somebody uses, and the documents that do."""
    return {name: set(users) for name, users in heap.root["names"].items() if users}


def expected_index(source: Source, numbers: set[int]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for number in numbers:
        for name in source.rebuild(number)["names"]:
            found.setdefault(name, set()).add(str(source.key(number)))
    return found


def test_the_index_follows_every_change(heap: Heap, folder: Path) -> None:
    with open_source(folder) as source:
        store = fill(heap, source)
        numbers = set(range(12))
        assert index(heap) == expected_index(source, numbers)
        assert store.index_is_exact()
        for number in (3, 4, 3):
            store.delete(number)
        assert index(heap) == expected_index(source, numbers - {3, 4})
        assert store.index_is_exact()
        assert len(store) == 10
        store.put(3, source.rebuild(3))
        store.put(5, source.rebuild(5))
        assert index(heap) == expected_index(source, numbers - {4})
        assert store.index_is_exact()
        # The index leads to the nodes of the document itself, not to copies.
        uses = heap.root["names"]["shared"]["m05.py"]
        uses[0]["marked"] = True
        assert heap.root["documents"]["m05.py"]["names"]["shared"][0]["marked"] is True


def test_a_replacement_takes_names_out_of_the_index(heap: Heap, folder: Path) -> None:
    with open_source(folder) as source:
        store = fill(heap, source)
        other = source.rebuild(7)
        store.put(6, other)
        assert "m06.py" not in heap.root["names"]["f6"]
        assert "m06.py" in heap.root["names"]["f7"]
        assert store.index_is_exact()


def test_names_that_nobody_uses_can_be_dropped(heap: Heap, folder: Path) -> None:
    with open_source(folder) as source:
        store = fill(heap, source)
        for number in range(1, 12):
            store.delete(number)
        assert "own5" in heap.root["names"]
        store.drop_unused_names()
        assert "own5" not in heap.root["names"]
        assert heap.root["names"].keys() == source.rebuild(0)["names"].keys()
        assert store.index_is_exact()


def test_a_deleted_document_leaves_nothing_alive(heap: Heap, folder: Path) -> None:
    with open_source(folder) as source:
        store = DocumentStore(heap, source)
        heap.collect()
        empty = heap.stats().live_bytes
        for number, document in enumerate(source.documents()):
            store.put(number, document)
        heap.collect()
        assert heap.stats().live_bytes > empty + 256 * 1024
        for number in range(12):
            store.delete(number)
        store.drop_unused_names()
        heap.collect()
        # What remains is room that the two dicts keep.
        assert heap.stats().live_bytes < empty + 64 * 1024


def test_an_index_that_is_not_exact_is_noticed(heap: Heap, folder: Path) -> None:
    with open_source(folder) as source:
        store = fill(heap, source)
        del heap.root["names"]["shared"]["m03.py"]
        assert not store.index_is_exact()
        heap.root["names"]["shared"]["m03.py"] = []
        assert store.index_is_exact()
        del heap.root["documents"]["m04.py"]
        assert not store.index_is_exact()


@pytest.mark.parametrize("seed", [1, 2])
def test_operations_pass_on_sound_documents(heap: Heap, folder: Path, seed: int) -> None:
    with open_source(folder) as source:
        store = fill(heap, source)
        store.delete(2)
        random = Random(seed)
        for _ in range(20):
            for number in range(12):
                look_up(store, number, random)
                read_through(store, number)


def read_often(store: DocumentStore, number: int) -> None:
    """Often enough that every name has been looked up."""
    random = Random(0)
    for _ in range(50):
        look_up(store, number, random)
        read_through(store, number)


def lose_a_node(document: Dict[str, Any]) -> None:
    document["tree"]["body"].pop()


def change_the_parent(document: Dict[str, Any]) -> None:
    document["tree"]["body"][0]["parent"] = {"type": "Stranger", "parent": None}


def change_the_path(document: Dict[str, Any]) -> None:
    document["path"] = "elsewhere.py"


def change_a_name(document: Dict[str, Any]) -> None:
    for name in document["names"]:
        node = document["names"][name][0]
        for field in list(node):
            if node[field] == name:
                node[field] = "another"


@pytest.mark.parametrize("damage", [lose_a_node, change_the_parent, change_the_path, change_a_name])
def test_damage_is_found(heap: Heap, folder: Path, damage: Any) -> None:
    """The canaries of the check that every reading thread makes."""
    with open_source(folder) as source:
        store = fill(heap, source)
        damage(heap.root["documents"]["m01.py"])
        with pytest.raises(DamageError):
            read_often(store, 1)
        assert not matches_source(store, 1)
        assert matches_source(store, 0)


def test_a_sample_is_of_documents_that_are_there(heap: Heap, folder: Path) -> None:
    with open_source(folder) as source:
        store = fill(heap, source)
        store.delete(5)
        everything = [number for number in range(12) if number != 5]
        assert choose_sample(store, 100, Random(0)) == everything
        sample = choose_sample(store, 4, Random(0))
        assert len(set(sample)) == 4
        assert set(sample) < set(everything)
        assert sample == choose_sample(store, 4, Random(0))
        assert disagreement(heap) is None


@pytest.mark.parametrize("limit", [None, 7])
@pytest.mark.parametrize("kind", KINDS)
def test_documents_are_found_under_the_keys_they_were_stored_under(
    tmp_path: Path, kind: str, limit: int | None
) -> None:
    """Also where reading ends early."""
    with Heap("16MiB", delivery="pause") as heap, open_source(write_data(tmp_path, kind)) as source:
        store = DocumentStore(heap, source)
        while_loading = []
        for number, document in enumerate(islice(source.documents(), limit)):
            store.put(number, document)
            while_loading.append(source.key(number))
        assert len(source) == len(store) == (limit or DOCUMENTS)
        assert [source.key(number) for number in range(len(source))] == while_loading
        assert list(heap.root["documents"]) == while_loading
        sample = choose_sample(store, DOCUMENTS, Random(0))
        assert sample == list(range(len(source)))
        assert all(matches_source(store, number) for number in sample)


def test_a_document_that_is_not_there_does_not_match(heap: Heap, tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text("[null, null]")
    with open_source(path) as source:
        store = fill(heap, source)
        store.delete(1)
        assert [matches_source(store, number) for number in range(2)] == [True, False]


@pytest.mark.parametrize("name", ["folder", "data.json", "data.ndjson", "data.csv"])
def test_a_churn_keeps_every_document(make_heap: HeapMaker, folder: Path, tmp_path: Path, name: str) -> None:
    path = folder if name == "folder" else tmp_path / name
    if name == "data.json":
        path.write_text(str([{"n": number, "list": [number] * 5} for number in range(300)]).replace("'", '"'))
    elif name == "data.ndjson":
        path.write_text("".join(f'[{number}, {{"x": "{number}"}}]\n{number}\n' for number in range(300)))
    elif name == "data.csv":
        path.write_text("a,b\n" + "".join(f"{number},{'x' * number}\n" for number in range(300)))
    heap = make_heap(verify=False)
    with open_source(path) as source:
        store = fill(heap, source)
        before = threading.active_count()
        churn = Churn(store, 3, seed=1)
        churn.start()
        while churn.operations < 300 and churn.running:
            heap.stats()
        churn.stop()
        assert threading.active_count() == before
        assert sum(churn.operations_by_name.values()) == churn.operations >= 300
        assert min(churn.operations_by_name.values()) > 0
        assert store.index_is_exact()
        present = [number for number in range(len(source)) if store.contains(number)]
        assert len(source) * 0.5 <= len(present) <= len(source)
        assert all(matches_source(store, number) for number in present)
        churn.restore()
        assert len(store) == len(source)
        assert store.index_is_exact()
        assert disagreement(heap) is None


def test_no_thread_works_before_all_are_there(
    make_heap: HeapMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data.ndjson"
    path.write_text('{"a": 1}\n' * 40)
    with open_source(path) as source:
        store = fill(make_heap(verify=False), source)
        churn = Churn(store, 40, seed=1)
        before: list[int] = []
        start = threading.Thread.start

        def counted(thread: threading.Thread) -> None:
            start(thread)
            before.append(churn.operations)

        monkeypatch.setattr(threading.Thread, "start", counted)
        churn.start()
        while churn.operations < 200 and churn.running:
            store.heap.stats()
        churn.stop()
        # One more makes the cycles.
        assert before == [0] * 41


def test_a_machine_without_so_many_threads(
    make_heap: HeapMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data.ndjson"
    path.write_text('{"a": 1}\n')
    with open_source(path) as source:
        churn = Churn(fill(make_heap(verify=False), source), 9, seed=1)
        before = threading.active_count()
        start = threading.Thread.start

        def limited(thread: threading.Thread) -> None:
            if threading.active_count() - before == 3:
                raise RuntimeError("can't start new thread")
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", limited)
        with pytest.raises(
            ThreadsError, match=r"no more than 3 threads for the churn: can't start new thread; .*ulimit -u"
        ):
            churn.start()
        assert threading.active_count() == before
        assert not churn.running
        assert churn.operations == 0


def test_turns_are_taken_by_so_many_at_a_time() -> None:
    turns, inside, most, taken = Turns(3), 0, 0, 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal inside, most, taken
        for _ in range(200):
            with turns:
                with lock:
                    inside += 1
                    most = max(most, inside)
                    taken += 1
                with lock:
                    inside -= 1

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert taken == 12 * 200
    assert 1 <= most <= 3
    assert inside == 0


def test_more_threads_than_documents(make_heap: HeapMaker, tmp_path: Path) -> None:
    path = tmp_path / "data.ndjson"
    path.write_text('{"a": 1}\n')
    heap = make_heap(verify=False)
    with open_source(path) as source:
        store = fill(heap, source)
        churn = Churn(store, 4, seed=1)
        churn.start()
        while churn.operations < 200 and churn.running:
            heap.stats()
        churn.stop()
        churn.restore()
        assert matches_source(store, 0)


def test_what_ends_a_thread_ends_the_churn(heap: Heap, folder: Path) -> None:
    with open_source(folder) as source:
        store = fill(heap, source)
        for number in range(12):
            change_the_path(heap.root["documents"][f"m{number:02}.py"])
        churn = Churn(store, 2, seed=1)
        churn.start()
        while churn.running:
            heap.stats()
        with pytest.raises(DamageError, match=r"says it is 'elsewhere\.py'"):
            churn.stop()


def test_a_canonical_form_tells_apart_what_equality_does_not() -> None:
    nan, shared = float("nan"), [1]
    cycle: list[Any] = []
    cycle.append(cycle)
    longer: list[Any] = [[]]
    longer[0].append(longer)
    values: list[Any] = [
        1, 1.0, True, "1", b"1", None, 0, -0.0, 0.0, False, "", b"", 2**70, -(2**70), nan, -nan, "\ud800", "s1;",
        [], {}, (), [[]], [[], []], [shared, shared], [[1], [1]], [()], ((),), {1: 2}, {1.0: 2}, {True: 2}, {"1": 2},
        {1: 2, 3: 4}, {3: 4, 1: 2}, {(1, 2): []}, {(1,): [2]}, cycle, longer, [cycle], "ab", ["a", "b"], ["ab"],
    ]  # fmt: skip
    forms = [canonical(value) for value in values]
    assert len(set(forms)) == len(values)
    assert forms == [canonical(value) for value in values]


def test_a_canonical_form_of_anything_else_is_refused() -> None:
    with pytest.raises(TypeError, match=r"no canonical form for builtins\.set"):
        canonical([{1}])
