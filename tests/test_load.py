"""Sources: what documents they make, that they can make each of them again, and what they say of broken input."""

import ast
import errno
import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.graph import difference
from harness.process import Footprint
from subduct.churn import canonical
from subduct.load import LoadError, Source, open_source
from subduct.load.syntax import syntax_records

SOURCE = """\
import os.path as p, sys
from . import sibling

class Pear(Fruit, metaclass=Meta):
    weight: float = 1.5e3

    async def eat(self, *bites, how=b'fast'):
        global hunger, thirst
        hunger = [*bites, ..., 3j, 10**30, -1, None, True]
        return {**self, 'k': (yield)}

match Pear():
    case Pear(weight=w, colour=c) | {'x': _, **rest}:
        print(f"{w!r:>10} {c}")
"""


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def load(path: Path) -> list[Any]:
    """All documents of a file or folder, each checked against one that was made again."""
    with open_source(path) as source:
        documents = list(source.documents())
        assert len(source) == len(documents)
        # Out of order and more than once, as a churn would.
        for number in [*reversed(range(len(documents))), *range(len(documents))]:
            assert difference(source.rebuild(number), documents[number]) is None
            assert canonical(source.rebuild(number)) == canonical(documents[number])
    return documents


def refusal(path: Path) -> str:
    with pytest.raises(LoadError) as caught, open_source(path) as source:
        list(source.documents())
    message = str(caught.value)
    assert "\n" not in message
    return message.removeprefix(f"{path}")


def kind(path: Path) -> str:
    with open_source(path) as source:
        return source.kind


def keys(path: Path) -> list[str | int]:
    with open_source(path) as source:
        list(source.documents())
        return [source.key(number) for number in range(len(source))]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_json_records_in_an_array(tmp_path: Path, encoding: str) -> None:
    records: list[Any] = [{"a": 1, "ä": "ß€𝄞"}, [], 7, None, {"deep": [[{"x": [1.5, "\u2028"]}]]}, "text", {}]
    for indent in (None, 3):
        text = json.dumps(records, ensure_ascii=False, indent=indent)
        path = write(tmp_path, "data.json", f" \n{text}\r\n\t".encode(encoding))
        assert load(path) == records
        assert keys(path) == list(range(len(records)))
    assert load(write(tmp_path, "empty.JSON", "[ ]")) == []


def test_json_records_by_key(tmp_path: Path) -> None:
    path = write(tmp_path, "data.json", '{"ä\\n": {"x": 1} ,\n "b": [2],"": null}')
    assert load(path) == [{"x": 1}, [2], None]
    assert keys(path) == ["ä\n", "b", ""]
    assert load(write(tmp_path, "none.json", "{}")) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"a": 1},\n{"a": 2}\n{"a": 3}]', ":3: expected ',' or ']' after a record (column 1)"),
        ('[{"a": 1},\n {"a" 2}]', ":2: Expecting ':' delimiter (column 7)"),
        ('[{"a": 1},\n', ":2: Expecting value (column 1)"),
        ("[1, 2]\n\nx", ":3: unexpected text after the end of the records (column 1)"),
        ('{"a": 1,\n b: 2}', ":2: expected a key in double quotes (column 2)"),
        ('{"a": 1,\n "a": 2}', ":2: key 'a' appears twice (column 2)"),
        ('{"a" 1}', ":1: expected ':' after a key (column 6)"),
        ("17", ":1: expected an array or an object of records at the top level (column 1)"),
        ("", ":1: expected an array or an object of records at the top level (column 1)"),
        (b'["a",\n"\xff"]', ":2: not UTF-8 (byte 0xff: invalid start byte)"),
        ('["a",\n"\0"]', ":2: a zero byte (column 2), which no text has; write the file anew"),
        (
            '{"a": 1}{"a": 2}',
            ":1: unexpected text after the end of the records: one JSON value may follow another only where",
        ),
        ("[\n" + "[" * 200_000 + "]" * 200_000 + "]", ":2: nested too deeply for Python's JSON reader (column 1)"),
    ],
)
def test_broken_json_is_refused_with_its_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    assert refusal(write(tmp_path, "data.json", text)).startswith(message)


def test_ndjson(tmp_path: Path) -> None:
    lines = ['\ufeff{"a": "ä\\ud800"}', "", "  \t", "[1,\t2]\r", "3", '{"last": "\u2028 no line feed"}']
    for name in ("data.ndjson", "data.jsonl"):
        path = write(tmp_path, name, "\n".join(lines))
        assert load(path) == [{"a": "ä\ud800"}, [1, 2], 3, {"last": "\u2028 no line feed"}]
        assert keys(path) == [0, 1, 2, 3]


@pytest.mark.parametrize("name", ["data.json", "data.jsonl"])
def test_integers_of_any_length(tmp_path: Path, name: str) -> None:
    """Python's own conversion ends at 4300 digits."""
    text = f'[9, {{"a": -{"12" * 2_500}}}, [{"7" * 30_001}]]'
    expected = [9, {"a": -(12 * (100**2_500 - 1) // 99)}, [7 * (10**30_001 - 1) // 9]]
    documents = load(write(tmp_path, name, text))
    assert documents == (expected if name == "data.json" else [expected])


VALUES = '{"a": 1}\n\n{"b": [2]}\n'


@pytest.mark.parametrize("name", ["data.ndjson", "data.json", "data.txt", "data", "data.csv", "data.json.gz"])
def test_what_kind_of_json_it_is_the_content_tells(tmp_path: Path, name: str) -> None:
    for text in (VALUES, "\ufeff" + VALUES, "\n \n" + VALUES, VALUES.replace("\n", "\r\n"), VALUES.replace("\n", "\r")):
        path = write(tmp_path, name, text)
        assert load(path) == [{"a": 1}, {"b": [2]}]
        assert kind(path) == "ndjson"
    for indent in (1, None):
        path = write(tmp_path, name, json.dumps([{"a": 1}, {"b": [2]}], indent=indent))
        if indent is not None or name != "data.ndjson":
            assert load(path) == [{"a": 1}, {"b": [2]}]
            assert kind(path) == "json"


def test_one_line_of_json_is_what_its_name_says(tmp_path: Path) -> None:
    assert load(write(tmp_path, "data.ndjson", '{"a": {"x": 1}}')) == [{"a": {"x": 1}}]
    assert load(write(tmp_path, "data.json", '{"a": {"x": 1}}')) == [{"x": 1}]
    assert load(write(tmp_path, "data.json", "1\ntrue\n")) == [1, True]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1}\n\n{"a": 2\n', ":3: Expecting ',' delimiter (column 8)"),
        ("1\n2 3\n", ":2: Extra data (column 3)"),
        (b"1\n\xc3\n", ":2: not UTF-8 (byte 0xc3"),
        ('1\n["ä\0"]\n', ":2: a zero byte (column 4), which no text has; write the file anew"),
        ("1\n\0", ":2: a zero byte (column 1)"),
        ("[" * 200_000 + "]" * 200_000, ":1: nested too deeply"),
    ],
)
def test_broken_ndjson_is_refused_with_its_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    assert refusal(write(tmp_path, "data.ndjson", text)).startswith(message)


def test_csv(tmp_path: Path) -> None:
    text = '\ufeff\nname,text,name\r\nä,"two\nlines, ""quoted""",1\r\n\r\n"x\u2028\x0b",,\r\n'
    assert load(write(tmp_path, "data.csv", text)) == [
        {"name": "ä", "text": 'two\nlines, "quoted"', "name.2": "1"},
        {"name": "x\u2028\x0b", "text": "", "name.2": ""},
    ]


def test_csv_rows_of_other_lengths_are_kept_as_the_csv_module_keeps_them(tmp_path: Path) -> None:
    documents = load(write(tmp_path, "data.csv", "a,b\n1\n1,2,3,4\n"))
    assert documents == [{"a": "1", "b": None}, {"a": "1", "b": "2", None: ["3", "4"]}]


def test_csv_fields_may_be_long(tmp_path: Path) -> None:
    assert load(write(tmp_path, "data.csv", "a\n" + "x" * 200_000)) == [{"a": "x" * 200_000}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('a,b\n1,2\n"3,\n4\n', ":3: a quote that is never closed, in the row that begins here"),
        ('a\n"x"y\n', ":2: a quote inside a quoted field, where it must be written twice"),
        ("a,b\r\n1,2\r3,4\r\n", ":2: a carriage return outside quotes, where other lines end with a line feed"),
        (b"a\n1\n\xe4\n", ":3: not UTF-8 (byte 0xe4"),
        ("a,b\n1,2\0\n", ":2: a zero byte (column 4), which no text has; write the file anew"),
        ("a,b\n" + 300 * "1,2\n" + "ä\0", ":302: a zero byte (column 2)"),
        ("a\0,b\0\n1,2\n", ":1: a zero byte (column 2)"),
        ("", ":1: expected a header row"),
        ("\n\n", ":1: expected a header row"),
    ],
)
def test_broken_csv_is_refused_with_its_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    assert refusal(write(tmp_path, "data.csv", text)).startswith(message)


def test_what_cannot_be_loaded_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "missing.json") == ": no such file or folder"
    assert refusal(write(tmp_path, "notes.txt", "")).startswith(": unknown kind of file; expected .json")
    assert refusal(write(tmp_path, "list.txt", "name,age\nann,3\n")).endswith("--delimiter reads any file as CSV")
    assert refusal(tmp_path).startswith(": no Python files (*.py) in this folder or below; ")
    assert refusal(tmp_path / ("x" * 300)) == ": File name too long"
    assert refusal(write(tmp_path, "file", "[1]") / "data.json") == ": Not a directory"
    assert refusal(Path("/proc/self/mem")) == ": cannot be read: Input/output error"
    os.mkfifo(tmp_path / "pipe.json")
    assert refusal(tmp_path / "pipe.json").startswith(": not a file; documents are read more than once")


def test_folders_that_cannot_be_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "a.py", "x = 1\n")
    closed = write(tmp_path, "closed/b.py", "x = 1\n").parent
    scandir = os.scandir

    def scan(path: str) -> Any:
        if os.fspath(path) == os.fspath(closed):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)
    with open_source(tmp_path) as source:
        assert [document["path"] for document in source.documents()] == ["a.py"]
        assert source.skipped == [f"{closed}: Permission denied"]
    assert refusal(closed) == ": Permission denied"


def test_a_delimiter_is_for_csv(tmp_path: Path) -> None:
    for path in (write(tmp_path, "data.json", "[1]"), tmp_path, None):
        with pytest.raises(LoadError, match="--delimiter is for CSV files"):
            open_source(path, ";")


def test_a_source_that_changed_is_noticed(tmp_path: Path) -> None:
    for name, content in (("data.json", "[1, 2]"), ("data.ndjson", "1\n2\n"), ("data.csv", "a\n1\n2\n")):
        path = write(tmp_path, name, content)
        with open_source(path) as source:
            list(source.documents())
            write(tmp_path, name, content + "\n")
            with pytest.raises(LoadError, match="changed on disk"):
                source.rebuild(1)
    path = write(tmp_path, "code/module.py", "x = 1\n")
    with open_source(path.parent) as source:
        list(source.documents())
        write(tmp_path, "code/module.py", "x = 11\n")
        with pytest.raises(LoadError, match="changed on disk"):
            source.rebuild(0)
        path.unlink()
        with pytest.raises(LoadError, match="it was there when the load began"):
            source.rebuild(0)


def nodes(root: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The nodes of a tree of records, parents first."""
    pending = [root]
    while pending:
        node = pending.pop()
        if "parent" in node:
            yield node
        for field, value in node.items():
            if field != "parent":
                pending.extend(each for each in (value if type(value) is list else [value]) if type(each) is dict)


def test_a_folder_of_python_sources(tmp_path: Path) -> None:
    write(tmp_path, "b.py", SOURCE)
    write(tmp_path, "a/inner.py", b"# coding: latin-1\ns = '\xe4'\n")
    write(tmp_path, "broken.py", "def\n")
    write(tmp_path, "nul.py", "x = '\0'\n")
    write(tmp_path, "deep.py", "(" * 5_000 + ")" * 5_000)
    for ignored in ("site-packages/x.py", "__pycache__/y.py", ".hidden/z.py", "notes.txt"):
        write(tmp_path, ignored, "x = 1\n")
    (tmp_path / "gone.py").symlink_to(tmp_path / "nowhere")
    documents = load(tmp_path)
    assert keys(tmp_path) == ["a/inner.py", "b.py"] == [document["path"] for document in documents]
    assert documents[0]["tree"]["body"][0]["value"]["value"] == "ä"
    assert documents[1]["source_bytes"] == len(SOURCE)
    assert documents[1]["lines"] == SOURCE.count("\n")
    with open_source(tmp_path) as source:
        assert source.expected == 6
        list(source.documents())
        assert [reason.partition(":")[0] for reason in source.skipped] == ["broken.py", "deep.py", "gone.py", "nul.py"]
        assert source.bytes_read == sum(document["source_bytes"] for document in documents)


def test_trees_are_linked_both_ways(tmp_path: Path) -> None:
    write(tmp_path, "module.py", SOURCE)
    (document,) = load(tmp_path)
    found = list(nodes(document["tree"]))
    assert len(found) == document["nodes"]
    assert found[0]["type"] == "Module"
    assert found[0]["parent"] is None
    for node in found[1:]:
        above = node["parent"]
        assert any(node is value or (type(value) is list and any(node is each for each in value))
                   for field, value in above.items() if field != "parent")  # fmt: skip
    values = {repr(node["value"]) for node in found if node["type"] == "Constant" and "value" in node}
    assert {"1500.0", "b'fast'", "{'type': 'Ellipsis'}", "{'type': 'complex', 'text': '3j'}", "30", "True"} <= values


def test_trees_say_what_the_parser_says(tmp_path: Path) -> None:
    """Field by field against a naive conversion."""

    def naive(value: Any) -> Any:
        if isinstance(value, list):
            return [naive(each) for each in value]
        if value is ... or isinstance(value, complex):
            return {"type": "Ellipsis"} if value is ... else {"type": "complex", "text": repr(value)}
        if not isinstance(value, ast.AST):
            return value
        if not value._fields and not hasattr(value, "lineno"):
            return type(value).__name__
        fields = {field: naive(each) for field, each in ast.iter_fields(value) if each is not None and each != []}
        line = {"line": value.lineno} if hasattr(value, "lineno") else {}
        return {"type": type(value).__name__, **line, **fields}

    def without_parents(value: Any) -> Any:
        if isinstance(value, dict):
            return {field: without_parents(each) for field, each in value.items() if field != "parent"}
        return [without_parents(each) for each in value] if isinstance(value, list) else value

    write(tmp_path, "module.py", SOURCE)
    (document,) = load(tmp_path)
    assert difference(without_parents(document["tree"]), naive(ast.parse(SOURCE))) is None


def test_every_name_leads_to_the_nodes_that_use_it() -> None:
    tree, names, _ = syntax_records(ast.parse(SOURCE))
    used = {name: [node["type"] for node in users] for name, users in names.items()}
    assert used["Pear"] == ["ClassDef", "Name", "Name"]
    assert used["hunger"] == ["Global", "Name"]
    assert used["thirst"] == ["Global"]
    assert used["os.path"] == ["alias"]
    assert used["p"] == ["alias"]
    assert used["how"] == ["arg"]
    assert used["rest"] == ["MatchMapping"]
    assert used["colour"] == ["MatchClass"]
    assert used["metaclass"] == ["keyword"]
    assert "fast" not in used
    assert "k" not in used
    ids = {id(node) for node in nodes(tree)}
    assert all(id(node) in ids for users in names.values() for node in users)


def test_a_deep_tree_needs_no_stack() -> None:
    depth = 100_000
    tree: ast.expr = ast.Name(id="x", ctx=ast.Load())
    for _ in range(depth):
        tree = ast.UnaryOp(op=ast.Not(), operand=tree)
    record, names, count = syntax_records(tree)
    assert count == depth + 1
    node = names["x"][0]
    for _ in range(depth):
        node = node["parent"]
    assert node is record


def test_the_standard_library_is_the_default() -> None:
    with open_source(None) as source:
        assert source.title.startswith("the standard library of Python 3.")
        assert source.expected is not None
        assert source.expected > 500
        first: Any = next(iter(source.documents()))
        assert first["path"] == "__future__.py"
        assert difference(source.rebuild(0), first) is None


def test_a_source_holds_one_descriptor_until_it_is_closed(tmp_path: Path) -> None:
    path = write(tmp_path, "data.ndjson", '{"a": 1}\n' * 1000)
    before = Footprint.now().descriptors
    source: Source = open_source(path)
    list(source.documents())
    assert Footprint.now().descriptors == before + 1
    source.close()
    assert Footprint.now().descriptors == before


def test_sources_are_parsed_by_one_thread_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What CPython 3.11 needs: see the lock. The threads of a churn rebuild documents beside each other."""
    for number in range(4):
        (tmp_path / f"m{number}.py").write_text(f"x = {number}\n")
    parse, parsing = ast.parse, threading.Lock()

    def parse_alone(data: bytes, name: str) -> ast.Module:
        assert parsing.acquire(blocking=False)
        try:
            os.sched_yield()
            return parse(data, name)
        finally:
            parsing.release()

    monkeypatch.setattr("subduct.load.python_source.ast", SimpleNamespace(parse=parse_alone))
    with open_source(tmp_path) as source, ThreadPoolExecutor(4) as pool:
        paths = [document["path"] for document in source.documents()]
        rebuilt = pool.map(source.rebuild, [0, 1, 2, 3] * 50)
        assert [document["path"] for document in rebuilt] == paths * 50
