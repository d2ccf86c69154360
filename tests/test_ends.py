"""Interpreters end in the middle of anything: nothing dies, nothing is said, and nothing is waited for."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.process import run_program

# A program that is not done by then is stuck.
STUCK_S = 120

INSIDE = """
import gc
import sys
import threading
import subduct
heap = subduct.Heap("32MiB")
reached = threading.Event()
def never_ends(*_):
    # Keeps asking for the GIL, and so comes across the end.
    reached.set()
    while True:
        pass
class Value:
    __eq__ = __lt__ = __gt__ = __index__ = __iter__ = __repr__ = never_ends
class Key(Value):
    __hash__ = never_ends
class Mapping:
    keys = never_ends
class Last:
    __del__ = never_ends
def yields(*values):
    yield from values
    never_ends()
def collects(call):
    # In the middle of the call, which makes enough objects to have them collected.
    gc.collect()
    gc.callbacks.append(never_ends)
    call()
numbers, names = heap.list([1, 2, 3]), heap.dict({"a": 1})
nested = heap.list([[number] for number in range(50_000)])
calls = {
    "List": lambda: heap.list(yields(1, 2)),
    "Tuple": lambda: heap.tuple(yields(1, 2)),
    "Dict": lambda: heap.dict(yields((1, 2))),
    "iter": lambda: numbers.extend(Value()),
    "extend": lambda: numbers.extend(yields(4)),
    "slice": lambda: numbers.__setitem__(slice(1, 2), yields(4)),
    "sort": lambda: numbers.sort(key=never_ends),
    "eq": lambda: numbers == [Value()] * 3,
    "lt": lambda: numbers < [Value()],
    "in": lambda: Value() in numbers,
    "count": lambda: numbers.count(Value()),
    "index": lambda: numbers[Value()],
    "hash": lambda: names[Key()],
    "update": lambda: names.update(Mapping()),
    "drop": lambda: numbers.extend(map(lambda _: Last(), [0])),
    "collection": lambda: collects(nested.to_python),
}
threading.Thread(target=calls[sys.argv[1]], daemon=True).start()
reached.wait()
print("done")
"""

INSIDE_CALLS = re.findall(r'^    "(\w+)": lambda', INSIDE, re.MULTILINE)


@pytest.mark.parametrize("call", INSIDE_CALLS)
def test_a_daemon_thread_inside_a_call_survives_the_end(call: str) -> None:
    done = run_program(INSIDE, call)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


INSIDE_A_SUB_INTERPRETER = """
try:
    from subduct import Heap
    kept = Heap("8MiB")
except ImportError as error:
    print("refused:", error, flush=True)
"""

SUB_INTERPRETER = """
import sys
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
import subduct
when, inside = sys.argv[1:]
if when == "later":
    subduct.Heap("8MiB")
interpreters.run_string(interpreters.create(), f"import sys; sys.path[:] = {sys.path}\\n{inside}")
heap = subduct.Heap("8MiB")
heap.root["a"] = [1]
print(heap.root["a"])
"""


@pytest.mark.parametrize("when", ["first", "later"])
def test_a_sub_interpreter_is_refused_and_the_process_ends(when: str) -> None:
    pytest.importorskip("_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters")
    done = run_program(SUB_INTERPRETER, when, INSIDE_A_SUB_INTERPRETER)
    assert (done.returncode, done.stderr) == (0, "")
    refused, printed = done.stdout.splitlines()
    assert re.match("refused: .*sub-?interpreter", refused)
    assert printed == "List(1 item: [1])"


GOES_ON = """
import atexit
import threading
rounds = {}
def still_used():
    # All of them twice: the second round began after this did.
    for _ in range(2):
        for name in rounds:
            rounds[name].clear()
            assert rounds[name].wait(60), f"{name} has stopped"
    assert heap.root["a"] == [1]
# Called last of all, being registered first.
atexit.register(still_used)
import subduct
heap = subduct.Heap("32MiB")
heap.root["a"] = [1]
items = heap.list([{"a": i} for i in range(2_000)])
def use(name, call):
    while True:
        call()
        rounds[name].set()
for name, call in {
    "writer": lambda: heap.root.__setitem__("b", [1]),
    "reader": items.to_python,
    "collect": heap.collect,
    "stats": heap.stats,
    "verify": heap.verify,
}.items():
    rounds[name] = threading.Event()
    threading.Thread(target=use, args=(name, call), daemon=True).start()
print("done")
"""


def test_heaps_are_open_until_the_last_exit_function_and_thread_are_done() -> None:
    done = run_program(GOES_ON)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


CLOSED = """
import ctypes
# Called after all that is registered later. Others have ended by then, or never will.
ctypes.pythonapi.Py_AtExit(ctypes.CDLL(None).pause)
import subduct
heap = subduct.Heap("8MiB")
# Nobody drops it.
ctypes.pythonapi.Py_IncRef(ctypes.py_object(heap))
heap.root["a"] = 1
print("made", flush=True)
"""


def test_a_heap_that_nobody_closed_is_closed_after_the_end() -> None:
    with subprocess.Popen([sys.executable, "-c", CLOSED], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "made\n"
            threads = Path(f"/proc/{process.pid}/task")
            stuck = time.monotonic() + STUCK_S
            # The other is the collector's.
            while len(list(threads.iterdir())) > 1:
                assert time.monotonic() < stuck, "the collector is still there"
                os.sched_yield()
            assert process.poll() is None
        finally:
            process.kill()


FORKED = """
import os
import sys
import threading
import subduct
heap = subduct.Heap("32MiB")
reached, done = threading.Event(), threading.Event()
def waits(_):
    reached.set()
    done.wait()
numbers = heap.list([1])
inside = threading.Thread(target=lambda: numbers.sort(key=waits))
inside.start()
reached.wait()
child = os.fork()
if child == 0:
    sys.exit(7)
_, status, usage = os.wait4(child, 0)
done.set()
inside.join()
assert os.waitstatus_to_exitcode(status) == 7, status
# How often the child gave up its processor to wait for something.
assert usage.ru_nvcsw < 100, usage
print("done")
"""


def test_a_forked_child_does_not_wait_for_threads_that_it_does_not_have() -> None:
    done = run_program(FORKED)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


KEPT = """
import threading
import subduct
heap = subduct.Heap("8MiB")
caught = []
def use():
    try:
        heap.collect()
    except subduct.HeapClosed as error:
        caught.append(str(error))
heap.close()
for daemon in (True, False):
    thread = threading.Thread(target=use, daemon=daemon)
    thread.start()
    thread.join()
print(*caught, sep="\\n")
"""


def test_a_closed_heap_is_told_to_threads_of_any_kind() -> None:
    done = run_program(KEPT)
    assert (done.stdout, done.stderr) == ('heap "subduct" is closed\n' * 2, "")
