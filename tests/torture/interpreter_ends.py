"""Interpreters that end while heaps live, cycles run and threads are inside: quietly, soon, and with the right code."""

import signal
from collections.abc import Generator
from dataclasses import dataclass

from harness.process import run_program
from torture.setting import Setting

ENDS_A_ROUND = 4
# Of the program: the first collects again and again, the others use a heap.
DAEMONS_MAX = 3
# Cycles of these heaps take about so long: the end comes anywhere in one.
CYCLE_US = 5_000

PROGRAM = """
import atexit, os, signal, sys, threading, time, warnings
from subduct import Heap
# A process that has threads forks.
warnings.simplefilter("ignore", DeprecationWarning)
delivery, end, daemons, wait_us = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
heaps = [Heap("32MiB", delivery=delivery, stress="64kiB") for _ in range(2)]
for heap in heaps:
    heap.root["documents"] = {number: {"text": str(number) * 9} for number in range(500)}
documents = heaps[0].root["documents"]

class Late:
    # Used by its own end, when most of the interpreter is gone.
    def __init__(self, documents):
        self.documents = documents
    def __del__(self):
        try:
            len(self.documents)
        except Exception:
            pass
late = Late(documents)
late.itself = late

def for_ever(action):
    # Daemons are stopped, wherever they are, and told nothing.
    while True:
        action()
def use():
    text = str(time.monotonic_ns()) * 9
    mine = threading.get_ident()
    documents[mine] = {"text": text}
    assert documents[mine]["text"] == text
def collect():
    heaps[1].collect()
    heaps[0].collect()
for action in (collect, use, use)[:daemons]:
    threading.Thread(target=for_ever, args=(action,), daemon=True).start()
while daemons and heaps[0].stats().moves < 1:
    time.sleep(0.001)
time.sleep(wait_us / 1e6)
if end == "exit":
    sys.exit(3)
if end == "error":
    sys.excepthook = lambda *_: None
    raise ValueError
if end == "at-once":
    os._exit(4)
if end == "thread":
    threading.Thread(target=lambda: [documents.get(number) for number in range(5_000)]).start()
if end == "atexit":
    atexit.register(lambda: len(heaps[0].root["documents"]))
if end == "forked":
    # Both end as interpreters do.
    child = os.fork()
    if child:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code == 0, f"the child ended with {code}"
if end == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if end == "terminated":
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
"""


@dataclass(frozen=True)
class End:
    """One way for an interpreter to end, and the code it must end with."""

    name: str
    code: int


ENDS = (
    End("runs-out", 0),
    End("exit", 3),
    End("error", 1),
    End("at-once", 4),
    End("thread", 0),
    End("atexit", 0),
    End("forked", 0),
    End("killed", -signal.SIGKILL),
    End("terminated", -signal.SIGTERM),
)


def torment(setting: Setting) -> Generator[None]:
    while True:
        for end in setting.rng.sample(ENDS, ENDS_A_ROUND):
            daemons, wait_us = setting.rng.randrange(DAEMONS_MAX + 1), setting.rng.randrange(CYCLE_US)
            done = run_program(PROGRAM, setting.delivery, end.name, str(daemons), str(wait_us))
            said = f"{done.stdout}{done.stderr}"
            assert (done.returncode, said) == (end.code, ""), (
                f"an interpreter with {daemons} daemons that ends by {end.name} ended with {done.returncode}: {said}"
            )
            setting.tally.operations += 1
        yield
