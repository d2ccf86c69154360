"""The heap's SIGBUS handler serves the heap's own faults and passes on everybody else's."""

import platform
import signal
import sys
import threading

import pytest

from harness.heaps import assert_documents, fill, thin
from harness.kernel import has_userfaultfd
from harness.process import run_program
from subduct import Heap

CHURN = """
import faulthandler, mmap, os, random, signal, sys, tempfile, threading
from subduct import Heap

DOCUMENTS = 30_000

def churn(heap):
    # Until a thread that reads at random has run into a move.
    documents = heap.dict({n: [n, {"text": str(n) * 5}] for n in range(DOCUMENTS)})
    stop = threading.Event()
    def read():
        while not stop.is_set():
            n = random.randrange(DOCUMENTS)
            assert documents[n][0] == n
    reader = threading.Thread(target=read)
    reader.start()
    before = heap.stats().faults
    for turn in range(1_000):
        for n in range(turn % 3, DOCUMENTS, 3):
            documents[n] = [n, {"text": str(n) * 5}]
        heap.collect()
        if heap.stats().faults > before:
            break
    stop.set()
    reader.join()
    heap.verify()
    assert heap.stats().faults > before, "no faults"

def touch_truncated_file():
    with tempfile.TemporaryFile() as file:
        file.truncate(8192)
        view = mmap.mmap(file.fileno(), 8192)
        file.truncate(0)
        return view[5000]
"""

needs_userfaultfd = pytest.mark.skipif(not has_userfaultfd(), reason="no userfaultfd on this kernel")


@needs_userfaultfd
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_program_that_blocks_every_signal_reads_what_moves(when: str) -> None:
    # As those do that wait for signals with sigwait. The kernel ends a process that has the signal of a fault blocked.
    program = (
        CHURN
        + """
def block():
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())

if sys.argv[1] == "before":
    block()
heap = Heap("64MiB", delivery="sigbus")
churn(heap)
block()
churn(heap)
print("churned")
"""
    )
    result = run_program(program, when)
    assert (result.returncode, result.stdout) == (0, "churned\n"), result.stderr


@needs_userfaultfd
@pytest.mark.parametrize("order", ["before", "after", "both"])
def test_faulthandler_and_heap_share_sigbus(order: str) -> None:
    program = (
        CHURN
        + """
order = sys.argv[1]
if order != "after":
    faulthandler.enable()
heap = Heap("64MiB", delivery="sigbus")
churn(heap)
if order != "before":
    faulthandler.enable()
churn(heap)
print("churned", flush=True)
touch_truncated_file()
"""
    )
    result = run_program(program, order)
    assert result.stdout == "churned\n", result.stderr
    assert "Fatal Python error: Bus error" in result.stderr
    assert result.returncode == -signal.SIGBUS


@needs_userfaultfd
def test_faulthandler_that_takes_sigbus_during_a_move_costs_a_traceback_at_most() -> None:
    program = (
        CHURN
        + """
heap = Heap("64MiB", delivery="sigbus")
silence = open(os.devnull, "w")
stop = threading.Event()
def take():
    while not stop.wait(random.random() / 500):
        faulthandler.disable()
        faulthandler.enable(silence)
taker = threading.Thread(target=take)
taker.start()
for _ in range(400):
    churn(heap)
    if heap.stats().fallbacks.handlers_restored:
        break
stop.set()
taker.join()
faulthandler.disable()
churn(heap)
assert heap.stats().fallbacks.handlers_restored
print("churned")
"""
    )
    result = run_program(program)
    assert (result.stdout, result.returncode) == ("churned\n", 0), result.stderr


@needs_userfaultfd
@pytest.mark.parametrize("delivery", ["sigbus", "thread"])
def test_a_userfaultfd_that_somebody_else_closes_is_replaced(delivery: str) -> None:
    program = (
        CHURN
        + """
def numbers():
    links = {int(name): f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")}
    return sorted(n for n, link in links.items() if os.path.lexists(link) and "userfaultfd" in os.readlink(link))

heap = Heap("64MiB", delivery=sys.argv[1])
churn(heap)
assert len(numbers()) == 2, numbers()
for _ in range(3):
    os.close(numbers()[0])
    churn(heap)
stats = heap.stats()
assert stats.fallbacks.descriptors_lost >= 3, stats
assert stats.fallbacks.flips_in_pause == 0, stats
assert len(numbers()) == 2, numbers()
print("churned")
"""
    )
    result = run_program(program, delivery)
    assert (result.stdout, result.returncode) == ("churned\n", 0), result.stderr


@needs_userfaultfd
@pytest.mark.parametrize("state", ["open", "closed"])
def test_a_foreign_fault_without_a_handler_ends_the_process(state: str) -> None:
    program = (
        CHURN
        + """
heap = Heap("64MiB", delivery="sigbus")
churn(heap)
if sys.argv[1] == "closed":
    heap.close()
print("churned", flush=True)
touch_truncated_file()
"""
    )
    result = run_program(program, state)
    assert result.stdout == "churned\n", result.stderr
    assert result.returncode == -signal.SIGBUS


@needs_userfaultfd
def test_a_sigbus_that_was_sent_reaches_a_python_handler() -> None:
    program = (
        CHURN
        + """
got = []
signal.signal(signal.SIGBUS, lambda number, frame: got.append(number))
heap = Heap("64MiB", delivery="sigbus")
churn(heap)
os.kill(os.getpid(), signal.SIGBUS)
churn(heap)
print(got == [signal.SIGBUS])
"""
    )
    result = run_program(program)
    assert result.stdout == "True\n", result.stderr
    assert result.returncode == 0


@needs_userfaultfd
@pytest.mark.parametrize("order", ["before", "after"])
def test_a_process_that_ignores_sigbus_ignores_what_is_sent_and_not_what_is_broken(order: str) -> None:
    program = (
        CHURN
        + """
if sys.argv[1] == "before":
    signal.signal(signal.SIGBUS, signal.SIG_IGN)
heap = Heap("64MiB", delivery="sigbus")
if sys.argv[1] == "after":
    signal.signal(signal.SIGBUS, signal.SIG_IGN)
churn(heap)
os.kill(os.getpid(), signal.SIGBUS)
churn(heap)
assert heap.stats().fallbacks.flips_in_pause == 0
print("churned", flush=True)
touch_truncated_file()
"""
    )
    result = run_program(program, order)
    assert result.stdout == "churned\n", result.stderr
    assert result.returncode == -signal.SIGBUS


@needs_userfaultfd
def test_a_foreign_fault_ends_a_process_that_may_not_put_the_default_action_back() -> None:
    program = (
        f"import sys; sys.path[:0] = {[path for path in sys.path if path]!r}"
        + CHURN
        + """
import resource
from harness.seccomp import forbid
heap = Heap("64MiB", delivery="sigbus")
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
forbid(int(sys.argv[1]))()
print("armed", flush=True)
touch_truncated_file()
"""
    )
    result = run_program(program, str({"x86_64": 13, "aarch64": 134, "riscv64": 134}[platform.machine()]))
    assert (result.returncode, result.stdout) == (-signal.SIGABRT, "armed\n"), result.stderr


@needs_userfaultfd
def test_the_stack_of_a_broken_program_is_still_printed() -> None:
    program = (
        CHURN
        + """
faulthandler.enable()
heap = Heap("64MiB", delivery="sigbus")
churn(heap)
import ctypes
ctypes.string_at(16)
"""
    )
    result = run_program(program)
    assert "Fatal Python error: Segmentation fault" in result.stderr
    assert "string_at" in result.stderr


def collect_until_interrupted(heap: Heap, timer: threading.Timer) -> None:
    """Run cycles for ever, from when the timer runs."""
    timer.start()
    while True:
        heap.collect()


def test_ctrl_c_during_cycles_leaves_the_heap_whole(heap: Heap) -> None:
    documents = fill(heap, 20_000)
    thin(documents, keep_every=4)

    def interrupt() -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        for delay in (0.0, 0.002, 0.005, 0.01, 0.02):
            timer = threading.Timer(delay, interrupt)
            with pytest.raises(KeyboardInterrupt):
                collect_until_interrupted(heap, timer)
            timer.join()
    finally:
        signal.signal(signal.SIGINT, previous)
    assert_documents(documents, range(0, 20_000, 4))
    assert heap.collect().verified
