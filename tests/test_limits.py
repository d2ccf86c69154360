"""Limits and neighbours: locked memory, calls that a filter forbids, memory that is refused, many heaps, interpreters that end."""

import platform
import sys

import pytest

from harness.kernel import has_userfaultfd
from harness.process import run_program

DELIVERIES = ("sigbus", "thread", "software", "pause")

# Data that moves, in every program below.
USE = """
def use(heap):
    heap.root["d"] = {}
    entries = heap.root["d"]
    for i in range(20_000):
        entries[i] = {"v": [i]}
    for i in range(0, 20_000, 2):
        del entries[i]
    report = heap.collect()
    heap.verify()
    assert report.bytes_evacuated > 0, report
    assert entries[19_999] == {"v": [19_999]}
    return report
"""

LOCKED = f"""
import ctypes, sys
from subduct import Heap
{USE}
when, flags, delivery = sys.argv[1], int(sys.argv[2]), sys.argv[3]
libc = ctypes.CDLL(None, use_errno=True)
def lock():
    assert libc.mlockall(flags) == 0, ctypes.get_errno()
if when == "before":
    lock()
heap = Heap("32MiB", delivery=delivery)
if when == "after":
    use(heap)
    lock()
    # It fills the holes among what was resident, in each window, not the gigabytes of addresses.
    assert heap.stats().resident_bytes <= 4 * heap.stats().budget_bytes, heap.stats()
for _ in range(3):
    report = use(heap)
    assert report.fallback is None, report.fallback
assert heap.stats().resident_bytes <= 32 << 20, heap.stats()
print("done")
"""


@pytest.mark.parametrize("delivery", DELIVERIES)
@pytest.mark.parametrize("flags", [1, 3, 7], ids=["current", "future", "onfault"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_process_that_locks_its_memory(when: str, flags: int, delivery: str) -> None:
    done = run_program(LOCKED, when, str(flags), delivery)
    if "EPERM" in done.stderr or "AssertionError: 12" in done.stderr:
        pytest.skip("this process may not lock its memory")
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


FORBIDDEN = f"""
import sys
from harness.seccomp import forbid
from subduct import Heap, Unsupported
{USE}
when, number, delivery = sys.argv[1], int(sys.argv[2]), sys.argv[3] or None
if when == "before":
    forbid(number)()
try:
    heap = Heap("64MiB", delivery=delivery)
except Unsupported as error:
    print("unsupported:", error)
    raise SystemExit
if when == "after":
    use(heap)
    forbid(number)()
for _ in range(2):
    use(heap)
chosen = heap.stats().delivery
heap.close()
# Nothing is printed: that may be forbidden, too.
raise SystemExit(WORKS[chosen])
"""

# What the program above ends with, by the delivery that it had.
WORKS = {"sigbus": 10, "thread": 11, "software": 12}

CALLS = {
    "x86_64": {
        "read": 0,
        "write": 1,
        "poll": 7,
        "rt_sigaction": 13,
        "clock_gettime": 228,
        "clock_nanosleep": 230,
        "userfaultfd": 323,
        "membarrier": 324,
        "mremap": 25,
        "fallocate": 285,
        "madvise": 28,
        "memfd_create": 319,
    },
    "aarch64": {
        "read": 63,
        "write": 64,
        "poll": 73,  # ppoll
        "rt_sigaction": 134,
        "clock_gettime": 113,
        "clock_nanosleep": 115,
        "userfaultfd": 282,
        "membarrier": 283,
        "mremap": 216,
        "fallocate": 47,
        "madvise": 233,
        "memfd_create": 279,
    },
}


# For programs that import from here.
HERE = f"import sys; sys.path[:0] = {[path for path in sys.path if path]!r}"

# The collector waits for a thread that knows nothing of it, asleep elsewhere: not by a membarrier, and not by a sleep.
ASLEEP = f"""
{HERE}
import threading
from harness.seccomp import forbid
from subduct import Heap
{USE}
heap = Heap("64MiB")
used, end = threading.Event(), threading.Event()
def sleeper():
    heap.root["seen"] = 1
    used.set()
    end.wait()
thread = threading.Thread(target=sleeper)
thread.start()
used.wait()
for number in sys.argv[1:]:
    forbid(int(number))()
use(heap)
end.set()
thread.join()
print("done")
"""


def test_a_filter_that_forbids_to_sleep_while_the_collector_waits_for_a_thread() -> None:
    numbers = CALLS[platform.machine()]
    done = run_program(ASLEEP, str(numbers["membarrier"]), str(numbers["clock_nanosleep"]))
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


def run_forbidden(when: str, call: str, delivery: str = "") -> tuple[int, str, str]:
    number = CALLS[platform.machine()][call]
    program = f"{HERE}\nWORKS = {WORKS!r}\n{FORBIDDEN}"
    done = run_program(program, when, str(number), delivery)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("call", sorted(CALLS["x86_64"]))
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_filter_that_forbids_a_call(when: str, call: str) -> None:
    code, output, errors = run_forbidden(when, call)
    if (when, call) == ("before", "memfd_create"):
        # Nothing takes the place of the file.
        assert (code, output.split()[0]) == (0, "unsupported:"), errors
        assert "memfd_create" in output
        return
    assert (code, output) in {(WORKS["sigbus"], ""), (WORKS["software"], "")}, errors
    if (when, call) in {("before", "userfaultfd"), ("before", "rt_sigaction"), ("before", "mremap")}:
        assert code == WORKS["software"]


@pytest.mark.parametrize("call", ["read", "write", "poll", "clock_gettime", "clock_nanosleep", "membarrier"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_filter_that_forbids_what_the_thread_that_serves_faults_waits_with(when: str, call: str) -> None:
    if not has_userfaultfd():
        pytest.skip("no userfaultfd for this user here")
    code, _, errors = run_forbidden(when, call, "thread")
    assert code == WORKS["thread"], errors


def test_a_filter_that_forbids_the_handler_of_the_delivery_asked_for() -> None:
    code, output, errors = run_forbidden("before", "rt_sigaction", "sigbus")
    assert (code, output.split()[0]) == (0, "unsupported:"), errors
    if has_userfaultfd():
        assert "sigaction failed: Operation not permitted" in output
        assert 'delivery="thread" or "software"' in output


REFUSED = """
import resource, sys
import subduct
def vm():
    return int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
def attempt(run):
    try:
        run()
    except MemoryError as error:
        assert len(str(error)) < 300, error
what, more = sys.argv[1], int(sys.argv[2])
heap = subduct.Heap("512MiB")
if what == "long":
    heap.root["d"] = bytes(100 << 20)
else:
    heap.root["d"] = {i: [str(i) * 4] for i in range(100_000)}
entries = heap.root["d"]
runs = {
    "long": lambda: heap.root["d"],
    "verify": heap.verify,
    "out": lambda: entries.to_python(),
    "list": lambda: list(entries),
    "equal": lambda: entries == heap.root["d"].copy(),
    "in": lambda: heap.root.__setitem__("e", [[[i]] for i in range(50_000)]),
    "collect": heap.collect,
}
resource.setrlimit(resource.RLIMIT_AS, (vm() + more, resource.RLIM_INFINITY))
attempt(runs[what])
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
heap.collect()
heap.verify()
assert len(heap.root["d"]) in (100 << 20, 100_000)
print("alive")
"""


@pytest.mark.parametrize("what", ["long", "verify", "out", "list", "equal", "in", "collect"])
@pytest.mark.parametrize("more", [1 << 20, 4 << 20, 16 << 20], ids=["1MiB", "4MiB", "16MiB"])
def test_a_machine_that_refuses_memory(what: str, more: int) -> None:
    done = run_program(REFUSED, what, str(more))
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr[-2_000:]


INTERRUPTED = """
import signal
import time
import subduct
class Stop(Exception):
    pass
def stop(*_):
    raise Stop
signal.signal(signal.SIGALRM, stop)
heap = subduct.Heap("512MiB")
data = bytes(256 << 20)
# Inside the reservation, before it or after it, as the machine likes: nothing may be left in any case.
for delay in (0.001, 0.005, 0.02, 0.05):
    try:
        signal.setitimer(signal.ITIMER_REAL, delay)
        heap.root["a"] = data
        while True:  # pause() would sleep for ever if the signal came just before it
            time.sleep(0.001)
    except Stop:
        pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    heap.root.pop("a", None)
    heap.collect()
    assert heap.stats().resident_bytes < 16 << 20, heap.stats()
print("done")
"""


def test_a_signal_that_ends_a_reservation_leaves_nothing() -> None:
    done = run_program(INTERRUPTED)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


MANY = """
import os
import resource
import subduct
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, limits[1]), limits[1]))
heaps = [subduct.Heap("8MiB") for _ in range(300)]
assert {heap.stats().delivery for heap in heaps} <= {"sigbus", "software"}
proxies = [heap.dict({"n": number}) for number, heap in enumerate(heaps)]
assert [proxy["n"] for proxy in proxies] == list(range(300))
for heap in heaps:
    heap.close()
descriptors, mappings = len(os.listdir("/proc/self/fd")), sum(1 for _ in open("/proc/self/maps"))
assert descriptors < 60, descriptors
assert mappings < 600, mappings
for proxy in proxies[::50]:
    try:
        proxy["n"]
    except subduct.HeapClosed:
        continue
    raise AssertionError("a closed heap was read")
print("done")
"""


def test_three_hundred_heaps_and_nothing_left_of_those_that_are_closed() -> None:
    done = run_program(MANY)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


THREADS = """
import threading
import subduct
heap = subduct.Heap("16MiB")
heap.root["d"] = {"a": [1]}
before = None
for number in range(3_000):
    thread = threading.Thread(target=lambda: heap.root["d"]["a"][0])
    thread.start()
    thread.join()
    if number == 100:
        before = heap.stats().resident_bytes
assert heap.stats().cycles == 0, "it is about what no cycle is needed for"
assert heap.stats().resident_bytes <= before + (64 << 10), (before, heap.stats())
print("done")
"""


def test_threads_that_come_and_go_leave_their_handles_to_the_next() -> None:
    done = run_program(THREADS)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


SMALL_STACKS = """
import pickle, sys, threading
import subduct

def nested(depth, innermost=()):
    for _ in range(depth):
        innermost = (innermost,)
    return innermost

class Name(str):
    pass

heap = subduct.Heap("16MiB", delivery=sys.argv[1])
heap.root["l"] = []
keys = [nested(99), nested(99, (1,)), nested(99, (Name("looked up"),)), nested(97, (1, nested(1), "a string that fits no slot"))]
storable = [keys[0], keys[1], keys[3]]
raised = []

def use():
    try:
        root = heap.root
        for number, key in enumerate(storable):
            root[key] = number
        for number in range(1_000):
            root[nested(20, (number,))] = number
        assert [root[key] for key in storable] == [0, 1, 2]
        assert keys[2] not in root and root.get(keys[2], 5) == 5
        assert len(root.keys() & set(storable)) == 3
        assert list(root)[1:4] == storable and list(root.items())[1] == (keys[0], 0)
        assert root.setdefault(keys[1], 7) == 1 and root.pop(keys[1]) == 1 and root.pop(keys[1], None) is None
        root.update({keys[1]: 8})
        other = root.copy()
        assert other == root and (other | root)[keys[1]] == 8 and root.fromkeys(storable)[keys[3]] is None
        assert heap.dict(root.to_python()) == root and pickle.loads(pickle.dumps(root))[keys[3]] == 2
        assert heap.tuple(keys[0]) in heap.dict({keys[0]: 1}) and hash(heap.tuple(keys[0])) == hash(keys[0])
        for number in range(1_000):
            del root[nested(20, (number,))]
        heap.collect()
        heap.verify()
        assert root.popitem() == (keys[1], 8)
        try:
            root[nested(100)] = 1
        except RecursionError:
            return
        raise AssertionError("the depth of keys has a limit")
    except BaseException as error:
        raised.append(error)

# The least that Python gives a thread.
threading.stack_size(32 << 10)
thread = threading.Thread(target=use)
thread.start()
thread.join()
assert not raised, raised
print("done")
"""


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_keys_as_deep_as_they_may_be_need_no_more_stack_than_a_thread_has(delivery: str) -> None:
    if delivery in ("sigbus", "thread") and not has_userfaultfd():
        pytest.skip("no userfaultfd")
    done = run_program(SMALL_STACKS, delivery)
    assert (done.returncode, done.stdout) == (0, "done\n"), (done.returncode, done.stderr)
