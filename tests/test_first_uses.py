"""What is made when it is first wanted is whole, or not there, in a child that is forked meanwhile."""

import json
import shutil
import subprocess
from typing import Final

from harness.process import run_program
from subduct import _native

# What is used here for the first time in a process makes objects that are kept: names, functions, a module.
USES = """
import os, pickle, signal, sys, threading, time
from subduct import Heap, Unsupported, _native

def refused(error, use):
    try:
        use()
    except error:
        return
    raise AssertionError(f"{error.__name__} was expected")

def use(heap):
    root = heap.root
    root.update(number=2**100, bad="\\udc80", items=list(range(1_000)), large=list(range(300_000)))
    class Keys(dict):
        pass
    class Pairs:
        def keys(self): return ["a"]
        def __getitem__(self, key): return key
    root.update(Keys(b=1))
    root.update(Pairs())
    class One:
        def __index__(self): return 1
    assert root["items"][One()] == 1 and root["number"] == 2**100
    root["items"].sort(reverse=True)
    root["items"].sort(key=lambda item: -item)
    assert list(root.keys()) == [key for key, _ in root.items()]
    assert sys.getsizeof(root) and pickle.loads(pickle.dumps(root["items"]))
    pickle.dumps(iter(root["items"]))
    assert root["large"].to_python() == list(range(300_000))
    refused(TypeError, lambda: root.update(no=object()))
    refused(TypeError, lambda: root["items"].insert("no", 1))
    refused(TypeError, lambda: root["items"].sort(reverse="no"))
    refused(TypeError, lambda: _native.sys_look(None, 1, []))
    class bool: pass
    refused(TypeError, lambda: _native.Heap(1 << 26, verify=bool()))
"""

IN_CHILDREN = (
    USES
    + """
def in_child():
    signal.alarm(30)
    code = 1
    try:
        with Heap("32MiB") as own:
            use(own)
        code = 0
    finally:
        os._exit(code)

# Who waits for the GIL gets it where another gives it up, and nowhere else: in the middle of a first use, above all.
sys.setswitchinterval(5)
children = []
with Heap("32MiB") as heap:
    thread = threading.Thread(target=use, args=(heap,))
    thread.start()
    while not children or (thread.is_alive() and len(children) < 100):
        child = os.fork()
        if child == 0:
            in_child()
        children.append(child)
        time.sleep(1e-4)
    ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    thread.join()
print(len(ends), sum(map(bool, ends)))
"""
)

# Prints the cells that changed after the import, by name.
CHANGES = (
    USES
    + """
import ctypes, json

cells = json.loads(sys.argv[1])
with open("/proc/self/maps") as maps:
    base = min(int(line.split("-")[0], 16) for line in maps if _native.__file__ in line)

def contents():
    return {name: ctypes.string_at(base + start, length) for name, (start, length) in cells.items()}

before = contents()
assert any(map(any, before.values()))
with Heap("32MiB") as heap:
    use(heap)
after = contents()
print(*[name for name in cells if before[name] != after[name]], sep="\\n")
"""
)

# The cells inside PyO3 that the extension may have, by the end of the name: which it has depends on Python's version. A fork may find
# each of them half full if it is not filled when the module has been imported.
FILLED_AT_IMPORT: Final = frozenset(
    {
        "lazy_type_object::TYPE_OBJECT",
        "type_object_raw::TYPE_OBJECT",
        "PySequence as pyo3::type_object::PyTypeInfo>::type_object_raw::TYPE",
        "PyCodeMethods>::run::INTERNED",
        "PyTypeMethods>::module::INTERNED",
        "argument_extraction_error::INTERNED",
        "types::module::__all__::INTERNED",
        "types::module::__name__::INTERNED",
        "interpreter_lifecycle::START",
    }
)
# What a panic prints of an exception.
OF_PANICS: Final = "PyTracebackMethods>::format::INTERNED"
# Locked for a moment, by threads without the GIL that drop an object of Python's: nothing here does.
REFERENCE_POOL: Final = "internal::state::POOL"


def cells_of_pyo3() -> dict[str, tuple[int, int]]:
    """Address in the file and length of each variable of PyO3's in the extension, by its name and address."""
    tool = shutil.which("nm")
    assert tool, "no nm, which comes with the C linker"
    listed = subprocess.run(
        [tool, "--demangle", "--print-size", _native.__file__], capture_output=True, text=True, check=True
    )
    found = {}
    for line in listed.stdout.splitlines():
        start, length, *rest = line.split(" ", 3)
        if len(rest) != 2 or rest[0].lower() not in ("b", "d"):
            continue
        name = rest[1]
        if "pyo3" in name and not name.endswith(("_PYO3_DEF", "::SLOTS", "::ITEMS")) and "ATTACH_COUNT" not in name:
            found[f"{name} at {start}"] = (int(start, 16), int(length, 16))
    return found


def test_a_child_uses_what_its_parent_was_using_for_the_first_time() -> None:
    done = run_program(IN_CHILDREN)
    assert done.returncode == 0, done.stderr
    children, failed = map(int, done.stdout.split())
    assert children > 0
    assert failed == 0, f"of {children} children {failed} failed or hung: {done.stderr}"


def test_each_cell_inside_pyo3_is_known() -> None:
    names = [name.split(" at ")[0] for name in cells_of_pyo3()]
    assert any(name.endswith("type_object_raw::TYPE_OBJECT") for name in names), "an extension without symbols"
    strange = [name for name in names if not name.endswith((*FILLED_AT_IMPORT, OF_PANICS, REFERENCE_POOL))]
    assert not strange, "fill it in constant.rs, or do without it"


def test_no_cell_inside_pyo3_is_filled_after_the_import() -> None:
    cells = {
        name: place for name, place in cells_of_pyo3().items() if not name.split(" at ")[0].endswith(REFERENCE_POOL)
    }
    done = run_program(CHANGES, json.dumps(cells))
    assert done.returncode == 0, done.stderr
    assert not done.stdout.strip(), done.stdout
