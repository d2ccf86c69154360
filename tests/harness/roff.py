"""Read the sources of man pages: their sections, their examples, the options they name."""

import re
from dataclasses import dataclass
from pathlib import Path

from harness.source import ROOT

PAGES = sorted((ROOT / "man").glob("*.[1-9]"))

_ESCAPES = {r"\e": "\\", r"\-": "-", r"\&": "", r"\(aq": "'", r"\(ha": "^", r"\(ti": "~", r"\ ": " "}


def plain(text: str) -> str:
    """Roff text as it is meant: escapes resolved."""
    return re.sub(r"\\(?:\(..|.)", lambda found: _ESCAPES.get(found[0], found[0]), text)


@dataclass(frozen=True)
class Example:
    """Code between .EX and .EE, and what the page says it prints; empty where it says nothing."""

    code: str
    printed: str


def section(page: Path, heading: str) -> str:
    """The source of one section or subsection, up to the next heading of its kind or above."""
    text = page.read_text()
    found = re.search(rf"^\.(SH|SS) {re.escape(heading)}\n", text, re.MULTILINE)
    assert found is not None, f"{page.name} has no section {heading}"
    end = re.compile(r"^\.SH " if found[1] == "SH" else r"^\.S[HS] ", re.MULTILINE).search(text, found.end())
    return text[found.end() : end.start() if end else None]


def example(page: Path, heading: str) -> Example:
    """The code of a section, and the block that follows "It prints"."""
    text = section(page, heading)
    blocks = [plain(block) for block in re.findall(r"^\.EX\n(.*?)^\.EE$", text, re.MULTILINE | re.DOTALL)]
    return Example(blocks[0], blocks[1] if "It prints\n" in text else "")


def subsections(page: Path) -> list[str]:
    """Headings below sections."""
    return re.findall(r"^\.SS (.+)$", page.read_text(), re.MULTILINE)


def options(text: str) -> set[str]:
    """Long options that a piece of a page or of a help text names."""
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", plain(text)))
