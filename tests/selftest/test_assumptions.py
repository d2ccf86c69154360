"""Each assumption has one id: that of a self-test, of a row in the documents, and of the comments in the code that relies on it."""

import re
from pathlib import Path

from harness.source import ROOT, files, name
from subduct.selftest.assumption import UsedBy
from subduct.selftest.catalogue import assumptions, chapters
from subduct.selftest.document import document

DOCUMENT = ROOT / "docs" / "kernel-assumptions.md"
CITED = re.compile(r"\[kernel\.([a-z0-9.-]+)\]")


def cited(*folders: str) -> dict[str, str]:
    """The ids that the code in some folders cites, each with a file that does."""
    found: dict[str, str] = {}
    for path in files(".rs", ".py"):
        if name(path).startswith(folders) and path != Path(__file__):
            found |= dict.fromkeys(CITED.findall(path.read_text()), name(path))
    return found


def test_there_are_enough_of_them() -> None:
    ids = [each.id for each in assumptions()]
    assert len(ids) == len(set(ids)) >= 80


def test_every_chapter_has_some_and_each_is_in_one() -> None:
    sizes = [len(chapter) for _, chapter in chapters()]
    assert min(sizes) > 0
    assert sum(sizes) == len(assumptions())


def test_each_says_what_holds_in_a_sentence_and_where_it_is_from() -> None:
    for each in assumptions():
        assert re.fullmatch(r"[A-Z][^\n]{10,}[.]", each.claim), each.id
        assert each.source, each.id


def test_every_id_cited_in_the_code_exists() -> None:
    found = cited("crates/", "src/", "tests/")
    ids = {each.id for each in assumptions()}
    assert {identity: path for identity, path in found.items() if identity not in ids} == {}


def test_what_the_heap_relies_on_is_cited_where_it_does() -> None:
    found = cited("crates/kernel/", "crates/heap/")
    needed = {each.id for each in assumptions() if each.used_by is UsedBy.HEAP}
    assert len(needed) > 30
    assert sorted(needed - set(found)) == []


def test_what_the_heap_cites_is_marked_as_used_by_it() -> None:
    marked = {each.id for each in assumptions() if each.used_by is UsedBy.HEAP}
    assert sorted(set(cited("crates/heap/")) - marked) == []


def test_the_document_is_current() -> None:
    assert DOCUMENT.read_text() == document(), "python -m subduct.selftest.document > docs/kernel-assumptions.md"
