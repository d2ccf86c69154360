"""Results on their way into docs/performance.md."""

from pathlib import Path

import pytest

from benchmarks import DOCUMENT, OPTIONS, into_document
from subduct.bench import BENCHMARKS
from subduct.cli.arguments import parse


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_has_its_place_in_the_document(name: str) -> None:
    document = DOCUMENT.read_text()
    written = into_document(document, name, "what was found")
    assert written.count("what was found") == 1
    assert into_document(written, name, "what was found") == written


def test_a_document_without_the_place_is_refused() -> None:
    with pytest.raises(ValueError, match="needs the markers"):
        into_document("# Performance\n", "pause", "what was found")


@pytest.mark.parametrize("name", OPTIONS)
def test_the_options_at_full_size_are_understood(name: str, tmp_path: Path) -> None:
    arguments = parse(["bench", name, *OPTIONS[name], "--save", str(tmp_path / "result.json")])
    assert arguments.benchmark is BENCHMARKS[name]
    assert arguments.sizes
