"""What a heap costs follows what is in it, not its budget; where addresses or files are limited, its windows are smaller."""

import pytest

from harness.heaps import Delivery
from harness.process import run_program

MIB = 1 << 20

# 5 MB alive, moved, and compared with a plain copy; then the answer to a question.
PROGRAM = """
import resource, sys, threading, warnings
from pathlib import Path
from subduct import Heap

def limit(which, size):
    resource.setrlimit(which, (size, resource.getrlimit(which)[1]))

def private_bytes():
    fields = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) << 10

def use(heap, count):
    plain = [{{"a": i, "b": str(i) * 10}} for i in range(count)]
    heap.root["x"] = plain
    stop, wrong = threading.Event(), []
    def read():
        x = heap.root["x"]
        while not stop.is_set():
            wrong.extend(each for each in (x[0], x[-1]) if each["b"] != str(each["a"]) * 10)
    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(3):
        del plain[::2], heap.root["x"][::2]
        report = heap.collect()
    stop.set()
    reader.join()
    heap.verify()
    assert heap.root["x"] == plain and not wrong
    return heap.stats()

warnings.simplefilter("ignore")
{body}
"""


def answer(body: str) -> list[str]:
    """What the program prints, in words."""
    done = run_program(PROGRAM.format(body=body))
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.mark.parametrize("budget", ["1GiB", "1TiB"])
def test_a_heap_costs_what_is_in_it(budget: str) -> None:
    moves, cost = answer(f"""
before = private_bytes()
stats = use(Heap({budget!r}), 60_000)
print(stats.moves, private_bytes() - before)
""")
    assert int(moves) > 0
    assert int(cost) < 48 * MIB


@pytest.mark.parametrize(("which", "size"), [("RLIMIT_AS", 1024 * MIB), ("RLIMIT_FSIZE", 128 * MIB)])
def test_where_limits_are_low_windows_come_in_units_of_a_region(delivery: Delivery, which: str, size: int) -> None:
    chosen, unit, moves = answer(f"""
limit(resource.{which}, {size})
stats = use(Heap("8MiB", delivery={delivery!r}), 12_000)
print(stats.delivery, stats.window_unit_bytes, stats.moves)
""")
    assert chosen == delivery
    assert int(unit) == 2 * MIB
    assert int(moves) > 0


def test_where_there_is_room_windows_are_whole_gibibytes() -> None:
    (unit,) = answer('print(Heap("8MiB").stats().window_unit_bytes)')
    assert int(unit) == 1024 * MIB


def test_a_heap_without_addresses_says_what_is_lacking() -> None:
    program = """
    import resource
    from subduct import Heap, HeapFull
    resource.setrlimit(resource.RLIMIT_AS, (1400 << 20, resource.getrlimit(resource.RLIMIT_AS)[1]))
    heap = Heap("48MiB")
    lists = heap.list()
    def fill(item):
        try:
            while True:
                lists.append(item)
        except HeapFull as error:
            print(2 * error.live_bytes < error.budget_bytes, "addresses" in str(error))
    fill([1] * 40_000)
    lists.clear()
    fill([1] * 20_000)
    """
    done = run_program(program)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True True\nFalse False\n", "")
