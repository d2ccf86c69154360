"""The house rules, enforced: a rule that nothing checks is a wish."""

import re
from pathlib import Path

import pytest

from harness.source import ROOT, files, name, python_functions, rust_code, rust_functions, without_tests

LINES_PER_FILE = 500
LINES_PER_FUNCTION = 70

# Files with code that runs while a thread is inside a page fault, and the functions in them that never do.
FAULT_PATH = "crates/heap/src/fault/"
FAULT_PATH_FILES = (
    "crates/heap/src/compact/forwarding.rs",
    "crates/heap/src/compact/install.rs",
    "crates/heap/src/compact/mover.rs",
    "crates/heap/src/compact/page.rs",
    "crates/heap/src/mark/bitmap.rs",
    "crates/heap/src/object/header.rs",
    "crates/heap/src/object/value.rs",
    "crates/heap/src/space/region.rs",
    "crates/heap/src/space/role.rs",
    "crates/heap/src/space/table.rs",
    "crates/heap/src/space/windows.rs",
)
OFF_FAULT_PATH = {
    "crates/heap/src/fault/chain.rs": {"ensure_installed"},
    "crates/heap/src/fault/handler.rs": {"add", "remove"},
    "crates/heap/src/object/value.rs": {"fmt"},
    "crates/heap/src/space/region.rs": {"new"},
}
LOCKS_ALLOCATES_OR_LOGS = re.compile(
    r"\b(Mutex|RwLock|Condvar|OnceLock|LazyLock|Box|Vec|String|Arc|Rc|HashMap|BTreeMap|SmallVec"
    r"|to_string|to_owned|to_vec|collect|format|vec|println|eprintln|print|eprint|dbg|log|pyo3|Python)\b\s*(?:!|::|<|\()"
)

# Words that mean the same as one of the project's own, and the one to use.
SYNONYMS = {
    r"relocat(?:e|es|ed|ing|ion|ions)": "evacuate",
    r"safe[ -]points?": "safepoint",
    r"quotas?": "budget",
    r"arenas?": "region",
    r"stop[ -]the[ -]world pause": "flip",
    r"alias window|mirror window": "shadow",
    r"page[ -]fault handler thread": "delivery",
    r"nursery|tenured|eden": "region",
}

TAG = re.compile(r"\[inv\.[a-z0-9.-]+\]")


def texts(*suffixes: str) -> list[tuple[str, str]]:
    return [(name(path), path.read_text()) for path in files(*suffixes)]


def test_files_are_short() -> None:
    long = {path: text.count("\n") for path, text in texts(".rs", ".py", ".pyi") if text.count("\n") > LINES_PER_FILE}
    assert not long


def test_functions_are_short() -> None:
    found = [(path, each) for path, text in texts(".rs") for each in rust_functions(rust_code(text))]
    found += [(path, each) for path, text in texts(".py") for each in python_functions(text)]
    assert len(found) > 100
    assert not [f"{path}:{each.line} {each.name}" for path, each in found if each.lines > LINES_PER_FUNCTION]


def test_functions_are_found() -> None:
    code = rust_code("fn a(x: [u8; 4]) -> char {\n    \"}\"; /* } */ '}' // }\n}\nfn b<'l>();\nfn c() {}\n")
    assert [(each.name, each.line, each.lines) for each in rust_functions(code)] == [("a", 1, 3), ("c", 5, 1)]


def test_the_types_of_the_native_module_are_made_when_it_is_imported() -> None:
    # A child that is forked while another thread uses a type for the first time could never use it.
    folder = ROOT / "crates" / "python" / "src"
    code = "".join(path.read_text() for path in sorted(folder.glob("**/*.rs")))
    types = re.findall(r"#\[pyclass\b.*?\b(?:struct|enum) (\w+)", code, re.DOTALL)
    assert len(types) == code.count("#[pyclass") > 5
    assert sorted(types) == sorted(re.findall(r"add_class::<(?:\w+::)*(\w+)>", (folder / "lib.rs").read_text()))


def test_the_fault_path_takes_no_lock_and_allocates_and_logs_nothing() -> None:
    checked = {
        path: without_tests(rust_code(text))
        for path, text in texts(".rs")
        if path.startswith(FAULT_PATH) or path in FAULT_PATH_FILES
    }
    assert set(checked) > set(FAULT_PATH_FILES)
    found = []
    for path, code in checked.items():
        lines = code.split("\n")
        functions, excused = list(rust_functions(code)), OFF_FAULT_PATH.get(path, set())
        assert excused <= {each.name for each in functions}, path
        for function in functions:
            body = "\n".join(lines[function.line - 1 : function.line - 1 + function.lines])
            if function.name not in excused:
                found += [f"{path} {function.name}: {word}" for word in LOCKS_ALLOCATES_OR_LOGS.findall(body)]
    assert not found


def test_unsafe_stays_in_the_files_that_safety_md_lists() -> None:
    unsafe = {path for path, text in texts(".rs") if re.search(r"\bunsafe\b", rust_code(text))}
    listed = set(re.findall(r"crates/[\w/.-]+\.rs", (ROOT / "SAFETY.md").read_text()))
    assert unsafe == listed


def test_nothing_of_a_heap_sleeps_in_a_way_that_panics_where_it_is_forbidden() -> None:
    for path, text in texts(".rs"):
        if re.match(r"crates/(kernel|heap|python)/src/", path):
            assert "thread::sleep" not in without_tests(rust_code(text)), f"{path}: subduct_kernel::time::sleep"


def test_the_collector_knows_nothing_of_python() -> None:
    for crate in ("kernel", "heap"):
        assert "pyo3" not in (ROOT / "crates" / crate / "Cargo.toml").read_text()
    for path in files(".rs"):
        if name(path).startswith("crates/kernel/"):
            assert not re.search(r"\bsubduct_heap\b", rust_code(path.read_text())), name(path)


def test_every_invariant_is_defined_and_cited() -> None:
    defined = {tag for path, text in texts(".md") if path.startswith("docs/design/") for tag in TAG.findall(text)}
    cited = {tag for path, text in texts(".rs", ".py") if path != name(Path(__file__)) for tag in TAG.findall(text)}
    assert defined
    assert sorted(cited - defined) == [], "cited in code, defined nowhere in docs/design"
    assert sorted(defined - cited) == [], "defined in docs/design, cited nowhere in code"


@pytest.mark.parametrize("synonym", SYNONYMS)
def test_one_word_for_one_thing(synonym: str) -> None:
    pattern = re.compile(rf"\b(?:{synonym})\b", re.IGNORECASE)
    found = [
        f"{path}: {match.group()}"
        for path, text in texts(".rs", ".py", ".pyi", ".md")
        if path != name(Path(__file__))
        for match in pattern.finditer(text)
    ]
    assert not found, f"say {SYNONYMS[synonym]}"


def test_nothing_is_left_to_be_done() -> None:
    later = re.compile(r"\b(TODO|FIXME|XXX|HACK|todo!|unimplemented!)")
    found = [
        path
        for path, text in texts(".rs", ".py", ".pyi", ".md", ".toml", "Makefile", "run", "stage")
        if path != name(Path(__file__)) and later.search(text)
    ]
    assert not found


def test_commands_in_the_documents_exist() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    documents = {"README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"}
    named = {
        (document, target)
        for document in documents
        for target in re.findall(
            r"(?:`|^|[ ;&])make ([a-z][a-z-]*)", code_in((ROOT / document).read_text()), re.MULTILINE
        )
    }
    assert {target for _, target in named} >= {"run", "test"}
    assert not {(document, target) for document, target in named if target not in targets}


def code_in(markdown: str) -> str:
    """The code of a document: its blocks and what stands in backticks."""
    blocks = re.findall(r"^```.*?^```", markdown, re.MULTILINE | re.DOTALL)
    return "\n".join([*blocks, *re.findall(r"`[^`\n]+`", markdown)])


def test_files_named_in_the_documents_exist() -> None:
    path_like = re.compile(r"`((?:crates|src|tests|docs|requirements|\.ci)/[\w./-]+)`")
    missing = {
        (document, path)
        for document, text in texts(".md")
        for path in path_like.findall(text)
        if not (ROOT / path).exists()
    }
    assert not missing
