"""The process's own memory is refused, in the n-th larger allocation of the native module, for all n: an exception, and nothing lost."""

import subprocess
from pathlib import Path

import pytest

from harness.process import run_program

SOURCE = Path(__file__).parent / "harness" / "refusing.c"

PROGRAM = """
import ctypes, pickle, sys
from subduct import Heap, KernelError, _native

shim = ctypes.CDLL(sys.argv[1])
shim.refuse_after.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_long]
shim.refuse_nothing.restype = ctypes.c_long
with open("/proc/self/maps") as maps:
    code = [line.split()[0].split("-") for line in maps if _native.__file__ in line and " r-xp " in line]
start, end = min(int(first, 16) for first, _ in code), max(int(last, 16) for _, last in code)

plain = {f"key {i}": [i, {"name": f"name {i}"}, (i, "x" * (i % 50))] for i in range(4_000)}
numbers = [(i * 7919) % 10_007 for i in range(20_000)]
heap = Heap("32MiB", delivery=sys.argv[2])
heap.root["plain"], heap.root["numbers"], heap.root["changing"] = plain, numbers, {}
held, listed = heap.root["plain"], heap.root["numbers"]

def again():
    other = Heap("8MiB", delivery=sys.argv[2])
    try:
        other.root["numbers"] = numbers
        other.collect()
    finally:
        other.close()

def copied_in():
    heap.root["changing"] = plain

STEPS = {
    "copy in": copied_in,
    "copy in a long text": lambda: heap.list(["x" * 300_000]),
    "copy out": held.to_python,
    "compare with a builtin": lambda: held == plain,
    "compare two": lambda: held == heap.root["changing"],
    "copy": lambda: held.copy(),
    "list": lambda: list(listed),
    "list of items": lambda: list(held.items()),
    "slice": lambda: listed[10:15_000],
    "concatenate": lambda: listed + numbers,
    "extend": lambda: heap.list().extend(numbers),
    "extend with an iterator": lambda: heap.list(iter(numbers)),
    "update": lambda: heap.dict().update(plain),
    "merge": lambda: held | plain,
    "sort": lambda: listed.copy().sort(),
    "sort by key": lambda: listed.copy().sort(key=lambda number: -number),
    "reverse": lambda: listed.copy().reverse(),
    "repr": lambda: repr(held),
    "pickle": lambda: pickle.dumps(held),
    "a tuple as key": lambda: heap.dict({tuple(numbers): 1}),
    "collect": heap.collect,
    "verify": heap.verify,
    "a heap's life": again,
}
refused = {}
for name, step in STEPS.items():
    for allowed in range(10_000):
        shim.refuse_after(start, end, allowed)
        try:
            result = step()
            error = None
        except (MemoryError, KernelError) as raised:
            error = raised
        size = shim.refuse_nothing()
        if error is not None:
            assert size and str(error), (name, allowed, error)
        if name in ("compare with a builtin", "compare two") and error is None:
            assert result is True, (name, allowed)
        heap.verify()
        assert len(held) == len(plain) and held["key 3999"] == plain["key 3999"], (name, allowed)
        assert len(listed) == len(numbers) and listed[-1] == numbers[-1], (name, allowed)
        assert heap.root["changing"] == plain or (name == "copy in" and len(heap.root["changing"]) == 0), (name, allowed)
        if not size:
            break
        refused[name] = refused.get(name, 0) + 1
    copied_in()
assert held == plain and listed == numbers
heap.close()
print(sum(refused.values()), len(refused))
"""


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The preloaded library. The compiler is the one that links the native module."""
    made = tmp_path_factory.mktemp("refusing") / "refusing.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-fno-builtin", "-o", made, SOURCE], check=True)
    return made


@pytest.mark.parametrize("delivery", ["sigbus", "software"])
def test_each_larger_allocation_of_the_native_module_may_be_refused(shim: Path, delivery: str) -> None:
    done = run_program(PROGRAM, str(shim), delivery, environment={"LD_PRELOAD": str(shim)})
    assert done.returncode == 0, done.stderr
    refusals, steps = map(int, done.stdout.split())
    assert refusals > 50, done.stdout
    assert steps > 10, done.stdout
