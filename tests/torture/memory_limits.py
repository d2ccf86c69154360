"""Memory that runs out: the address space, the budget, descriptors, file sizes, and a control group with a limit."""

import os
import resource
from collections.abc import Generator, Iterator
from contextlib import contextmanager

from harness.heaps import document
from harness.process import run_program
from subduct import Heap, HeapFull, KernelError, Unsupported
from torture.cgroup import limited_group
from torture.growth import reserved_bytes
from torture.setting import Setting, check
from torture.writer import churning, writers

# Room for what the C library and Python map meanwhile, but not for another window.
ROOM_BYTES = 64 << 20
LIMITED_CYCLES = 4
CYCLES_MAX = 1_000
SMALL_BUDGET_BYTES = 16 << 20
FILLER_BYTES = 100_000
GROUP_BUDGET_BYTES = 64 << 20
# Python, the package, side tables and page tables: less than another budget.
GROUP_ROOM_BYTES = 56 << 20

# Fills a heap, in a control group if one is named, while a thread asks the kernel what the heap occupies.
FULL = """
import sys, threading
group, delivery, budget = sys.argv[1], sys.argv[2], int(sys.argv[3])
if group:
    with open(group, "w") as processes:
        processes.write("0")
from harness.process import heap_descriptors, resident_bytes
from subduct import Heap, HeapFull
TEXT = "x" * 4_000
heap = Heap(budget, delivery=delivery)
files, full, most = heap_descriptors(), threading.Event(), 0
def watch():
    global most
    while not full.wait(0.001):
        most = max(most, resident_bytes(files))
watcher = threading.Thread(target=watch)
watcher.start()
kept = heap.dict()
for turn in range(4):
    try:
        for number in range(1 << 30):
            kept[turn, number] = {"number": number, "text": TEXT}
    except HeapFull:
        pass
    assert len(kept) * len(TEXT) > budget // 2, f"full with {len(kept)} documents"
    assert all(value["number"] == key[1] and value["text"] == TEXT for key, value in kept.items()), "damaged"
    for key in [key for key in kept if key[1] % 4]:
        del kept[key]
    heap.collect()
full.set()
watcher.join()
heap.verify()
assert budget // 2 < most <= budget, f"{most} bytes resident"
print("full and whole")
"""


@contextmanager
def limited(what: int, limit: int) -> Iterator[None]:
    """This process with a lower limit."""
    soft, hard = resource.getrlimit(what)
    resource.setrlimit(what, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(what, (soft, hard))


def torment(setting: Setting) -> Generator[None]:
    with setting.heap() as heap:
        crew = writers(setting, heap, 2)
        while True:
            with churning(setting, crew), limited(resource.RLIMIT_AS, reserved_bytes() + ROOM_BYTES):
                for _ in range(LIMITED_CYCLES):
                    heap.collect()
                _refused("32MiB", setting)
            with churning(setting, crew):
                _collect_until_moved(heap)
            with limited(resource.RLIMIT_NOFILE, _lowest_free_descriptor()):
                _refused("32MiB", setting)
            with limited(resource.RLIMIT_FSIZE, 1 << 20):
                _refused("32MiB", setting)
            _fill_up(setting)
            _fill_up_elsewhere(setting)
            check(heap)
            yield


def _collect_until_moved(heap: Heap) -> None:
    """At least one cycle. Where the writers got no processor meanwhile, there is nothing to move yet."""
    for _ in range(CYCLES_MAX):
        heap.collect()
        if heap.stats().moves:
            break


def _lowest_free_descriptor() -> int:
    free = os.dup(0)
    os.close(free)
    return free


def _refused(budget: str, setting: Setting) -> None:
    """There is no new heap, and an exception says so."""
    try:
        Heap(budget, delivery=setting.delivery).close()
    except (KernelError, Unsupported):
        setting.tally.operations += 1
        return
    raise AssertionError(f"a heap of {budget} was made where there was no room for one")


def _fill_up(setting: Setting) -> None:
    """A heap that is full says so, has lost nothing, and goes on."""
    with setting.heap(SMALL_BUDGET_BYTES) as heap:
        kept = heap.dict()
        number = 0
        try:
            while True:
                kept[number] = [document(number), "x" * FILLER_BYTES]
                number += 1
        except HeapFull:
            pass
        assert number * FILLER_BYTES > SMALL_BUDGET_BYTES // 2, f"full with {number} documents"
        plain = [kept[each][0].to_python() for each in range(number)]
        assert plain == [document(each) for each in range(number)], "a full heap lost something"
        kept.clear()
        kept[0] = document(0)
        assert kept.to_python() == {0: document(0)}, "a heap that was full does not go on"
        check(heap)
        setting.tally.operations += number


def _fill_up_elsewhere(setting: Setting) -> None:
    """A heap keeps its budget as the kernel counts it; if it did not, its control group's limit would end its process."""
    with limited_group(setting.group, GROUP_BUDGET_BYTES + GROUP_ROOM_BYTES) as processes:
        if processes is None:
            setting.notes.add("no control group was delegated to this process: none was used")
        done = run_program(FULL, str(processes or ""), setting.delivery, str(GROUP_BUDGET_BYTES))
    assert (done.returncode, done.stdout) == (0, "full and whole\n"), (
        f"filling a heap ended with {done.returncode}: {done.stderr}"
    )
    setting.tally.operations += 1
