"""Read the project's own sources: which files there are, what is code in them, where functions begin and end."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("crates", "src", "tests", "bench", "fuzz", "docs", "examples", "man", "tools", ".ci")
IGNORED = {"__pycache__", "target", ".venv", ".hypothesis"}

RUST_NOT_CODE = re.compile(
    r"""
      //[^\n]*
    | /\*.*?\*/
    | \b[bc]?r(?P<hashes>\#*)".*?"(?P=hashes)
    | [bc]?"(?:\\.|[^"\\])*"
    | b?'(?:\\(?:u\{[^}]*\}|x[0-9a-fA-F]{2}|.)|[^'\\\n])'
    """,
    re.VERBOSE | re.DOTALL,
)
RUST_TESTS = re.compile(r"#\[cfg\((?:test\)|all\(test,[^\]]*)\]\s*(?:pub\s+)?mod\s+\w+\s*\{")


@dataclass(frozen=True)
class Function:
    """A function in a source file."""

    name: str
    line: int
    lines: int


def files(*suffixes: str) -> list[Path]:
    """The project's files with one of these endings, in order."""
    found = [path for path in ROOT.iterdir() if path.is_file()]
    for folder in FOLDERS:
        found += [path for path in (ROOT / folder).rglob("*") if path.is_file()]
    wanted = (path for path in found if path.name.endswith(suffixes) and not IGNORED & set(path.parts))
    return sorted(wanted)


def name(path: Path) -> str:
    """The path as it is written in the documents."""
    return path.relative_to(ROOT).as_posix()


def rust_code(text: str) -> str:
    """Rust source with comments, strings and characters blanked; lines stay where they are."""
    return RUST_NOT_CODE.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)


def without_tests(code: str) -> str:
    """Rust code, as rust_code() leaves it, without its test modules."""
    while (match := RUST_TESTS.search(code)) is not None:
        end = closing_brace(code, match.end() - 1)
        code = code[: match.start()] + re.sub(r"[^\n]", " ", code[match.start() : end + 1]) + code[end + 1 :]
    return code


def closing_brace(code: str, opening: int) -> int:
    """Where the block that opens there ends."""
    depth = 0
    for match in re.finditer(r"[{}]", code[opening:]):
        depth += 1 if match.group() == "{" else -1
        if depth == 0:
            return opening + match.start()
    raise AssertionError(f"unbalanced braces after line {code.count(chr(10), 0, opening) + 1}")


def rust_functions(code: str) -> Iterator[Function]:
    """Functions with a body, in Rust code as rust_code() leaves it."""
    for match in re.finditer(r"\bfn\s+(\w+)", code):
        ends = re.compile(r"[{;]").search(code, match.end())
        # An array type in the signature has a semicolon of its own: [u8; 4].
        while (
            ends is not None
            and ends.group() == ";"
            and code[: ends.start()].count("[", match.end()) > code[: ends.start()].count("]", match.end())
        ):
            ends = re.compile(r"[{;]").search(code, ends.end())
        if ends is not None and ends.group() == "{":
            first = code.count("\n", 0, match.start()) + 1
            last = code.count("\n", 0, closing_brace(code, ends.start())) + 1
            yield Function(match.group(1), first, last - first + 1)


def python_functions(text: str) -> Iterator[Function]:
    """Functions and methods of Python source."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield Function(node.name, node.lineno, (node.end_lineno or node.lineno) - node.lineno + 1)
