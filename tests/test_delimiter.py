"""What separates the columns of a CSV file: taken from the first rows, said, or refused with the remedy."""

from pathlib import Path
from typing import Any

import pytest

from subduct.load import LoadError, open_source


def write(folder: Path, text: str, name: str = "data.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def read(path: Path, delimiter: str | None = None) -> tuple[list[Any], str]:
    """The documents, and what is said of the columns."""
    with open_source(path, delimiter) as source:
        documents = list(source.documents())
        assert documents == [source.rebuild(number) for number in range(len(source))]
        (note,) = source.notes
    return documents, note


def refusal(path: Path) -> str:
    with pytest.raises(LoadError) as caught:
        open_source(path)
    return str(caught.value)


NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", NAMES)
def test_each_delimiter_is_found(tmp_path: Path, delimiter: str, end: str) -> None:
    """Among fields that hold the others, quoted and not, and the delimiter itself, quoted."""
    others = "".join(each for each in NAMES if each != delimiter)
    rows = [["id", "text", "more"], ["1", f'"{delimiter}{others}"', f"x{others}"], ["2", '"a ""b"""', ""]]
    text = "".join(delimiter.join(row) + end for row in rows)
    documents, note = read(write(tmp_path, text))
    assert documents == [
        {"id": "1", "text": delimiter + others, "more": f"x{others}"},
        {"id": "2", "text": 'a "b"', "more": ""},
    ]
    assert note == f"3 columns, separated by {NAMES[delimiter]}"


@pytest.mark.parametrize(
    ("text", "columns", "delimiter"),
    [
        ("preis;menge\n1,5;2,5\n3,25;1,0\n", ["preis", "menge"], "semicolons"),
        ("a;b,c;d\n1;2,3;4\n", ["a", "b,c", "d"], "semicolons"),
        ("id;text, long;n\n1;x;2\n2;a, b, c;3\n", ["id", "text, long", "n"], "semicolons"),
        ('"a;b","c"\n"1;1","2"\n', ["a;b", "c"], "commas"),
        ("a,b\n1\n1,2,3,4\n", ["a", "b"], "commas"),
        ("a|b;c|d\n", ["a", "b;c", "d"], "bars"),
        ("\ufeffa\tb\n\n1\t2\n", ["a", "b"], "tabs"),
        ("sep=;\na;b\n1;2\n", ["a", "b"], "semicolons"),
        ("sep=,\r\na;b,c;d\r\n1,2\r\n", ["a;b", "c;d"], "commas"),
        ('a;b\n"x\ny";"2\n\n;3"\n', ["a", "b"], "semicolons"),
        ("a,b\n" + "1,2\n" * 200_000 + '"3,4\n', ["a", "b"], "commas"),
        ('a;b\n1;"' + "x,\n" * 600_000 + '"\n', ["a", "b"], "semicolons"),
    ],
)
def test_the_delimiter_that_makes_the_rows_as_wide_as_the_header(
    tmp_path: Path, text: str, columns: list[str], delimiter: str
) -> None:
    with open_source(write(tmp_path, text)) as source:
        assert source.notes == [f"{len(columns)} columns, separated by {delimiter}"]
        for document in source.documents():
            assert [name for name in document if name is not None] == columns
            break


def test_one_column_is_said_to_be_one(tmp_path: Path) -> None:
    documents, note = read(write(tmp_path, 'name\nann\n"b,c"\n'))
    assert documents == [{"name": "ann"}, {"name": "b,c"}]
    assert note == (
        "one column: the header row is not split (tried: commas, semicolons, tabs, bars); --delimiter takes another character"
    )


def test_the_name_decides_between_two_that_fit(tmp_path: Path) -> None:
    documents, note = read(write(tmp_path, "Name, First\tAge\nDoe, John\t3\n", "data.tsv"))
    assert documents == [{"Name, First": "Doe, John", "Age": "3"}]
    assert note == "2 columns, separated by tabs"


def test_a_delimiter_can_be_named(tmp_path: Path) -> None:
    path = write(tmp_path, "a:b;c\n1:2;3\n", "data.txt")
    assert read(path, ":") == ([{"a": "1", "b;c": "2;3"}], "2 columns, separated by ':'")
    assert read(path, ";") == ([{"a:b": "1:2", "c": "3"}], "2 columns, separated by semicolons")
    assert read(write(tmp_path, "text\na, b\n"), "|")[0] == [{"text": "a, b"}]
    assert read(path, "|")[1].startswith("one column: the header row is not split (tried: bars)")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "Name, First;Age\nDoe, John;3\n",
            "by commas or by semicolons, which fit equally well; say which with --delimiter",
        ),
        ("a,b\n1;2\n3;4\n", "the rows below are separated by semicolons, and the header row is not"),
        ("Report of May\n\nname;age\nann;3\n", "the rows below are separated by semicolons, and the header row is not"),
        ("text\nHello, world\nBye, moon\n", "the rows below are separated by commas, and the header row is not"),
    ],
)
def test_what_may_be_meant_otherwise_is_refused(tmp_path: Path, text: str, message: str) -> None:
    assert message in refusal(write(tmp_path, text))
