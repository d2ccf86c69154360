"""exec, from children and in the middle of a heap's life: the new program finds nothing of the old one's heaps."""

import subprocess
import sys
from collections.abc import Generator

from torture.setting import Setting, check
from torture.writer import churning, writers

EXECS = 3
PROGRAM_S = 120

# What the new program may have inherited: descriptors and mappings of heaps, and signals that heaps' threads block.
LOOK = """
import os, signal
links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
found = [os.readlink(link) for link in links if os.path.lexists(link)]
found += open("/proc/self/maps").read().splitlines()
found = [name for name in found if "/memfd:" in name or "userfaultfd" in name]
print(found + sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])))
"""
# A process that replaces itself while its heap collects and its threads use it.
REPLACE = """
import os, sys, threading, time
from subduct import Heap
heap = Heap("32MiB", delivery=sys.argv[1], stress="64kiB")
shared = heap.list()
def use():
    while True:
        shared.append({"text": "x" * 50})
        del shared[:-100]
def collect():
    while True:
        heap.collect()
for action in (use, use, collect):
    threading.Thread(target=action, daemon=True).start()
while heap.stats().moves < int(sys.argv[2]):
    time.sleep(0.001)
os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", sys.argv[3]])
"""


def torment(setting: Setting) -> Generator[None]:
    with setting.heap() as heap:
        crew = writers(setting, heap, 2)
        while True:
            with churning(setting, crew, heap.collect):
                for _ in range(EXECS):
                    assert_clean(sys.executable, "-I", "-S", "-c", LOOK)
                moves = str(setting.rng.randrange(1, 5))
                assert_clean(sys.executable, "-c", REPLACE, setting.delivery, moves, LOOK)
            setting.tally.operations += EXECS + 1
            check(heap)
            yield


def assert_clean(*command: str) -> None:
    """Runs a program that prints what it inherited, everything left open that may stay open."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=PROGRAM_S, close_fds=False, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", ""), (
        f"a new program ended with {done.returncode}, inherited {done.stdout.strip()}, and said: {done.stderr}"
    )
