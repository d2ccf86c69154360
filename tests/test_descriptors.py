"""Code elsewhere in the process may close descriptors that are not its own, and open files under their numbers: those stay as they are."""

import pytest

from harness.heaps import Delivery
from harness.process import run_program

PROGRAM = """
import os, sys, tempfile
from subduct import Heap, KernelError

def numbers():
    # Without the one that listed the folder.
    return {{n for n in map(int, os.listdir("/proc/self/fd")) if os.path.exists(f"/proc/self/fd/{{n}}")}}

before = numbers()
heap = Heap("16MiB", delivery={delivery!r})
mine = sorted(numbers() - before)
assert len(mine) >= 2, mine
plain = {{i: [i, str(i) * 20, {{"n": i * 0.5}}] for i in range(3_000)}}
heap.root["x"] = plain

os.closerange(mine[0], mine[-1] + 1)
CONTENT = os.urandom(1 << 20)
folder = tempfile.TemporaryDirectory()
theirs = {{}}
for number in range(mine[0], mine[-1] + 1):
    path = os.path.join(folder.name, str(number))
    with open(path, "wb") as file:
        file.write(CONTENT)
    opened = os.open(path, os.O_RDWR)
    if opened != number:
        os.dup2(opened, number)
        os.close(opened)
    theirs[number] = path

def unharmed():
    for number, path in theirs.items():
        assert os.path.samestat(os.fstat(number), os.stat(path)), f"{{number}} is closed, or another file"
        with open(path, "rb") as file:
            assert file.read() == CONTENT, f"{{number}} was written to"
        assert os.lseek(number, 0, os.SEEK_CUR) == 0, f"{{number}} was read"

{body}
"""

USE = """
def read():
    x = heap.root["x"]
    return {i: [x[i][0], x[i][1], {"n": x[i][2]["n"]}] for i in x}

assert read() == plain
for i in range(0, 3_000, 2):
    del plain[i], heap.root["x"][i]
heap.collect()
heap.collect()
assert read() == plain
unharmed()
try:
    heap.root["more"] = [bytes(1_000) for _ in range(10_000)]
except KernelError as error:
    print(error.errno, "os.closerange" in error.remedy)
unharmed()
assert read() == plain
heap.verify()
heap.close()
unharmed()
"""
FORK = """
child = os.fork()
if child == 0:
    unharmed()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
unharmed()
print("forked")
"""


@pytest.mark.parametrize(("body", "said"), [(USE, "9 True\n"), (FORK, "forked\n")], ids=["use", "fork"])
def test_files_under_the_numbers_of_a_heap_are_unharmed(delivery: Delivery, body: str, said: str) -> None:
    done = run_program(PROGRAM.format(delivery=delivery, body=body))
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")


def test_idle_pipes_under_the_numbers_of_a_heap_keep_nobody_waiting(delivery: Delivery) -> None:
    program = f"""
    import os
    from subduct import Heap
    heap = Heap("16MiB", delivery={delivery!r})
    heap.root["x"] = [1, 2, 3]
    last = max(map(int, os.listdir("/proc/self/fd")))
    first = min(set(map(int, os.listdir("/proc/self/fd"))) - {{0, 1, 2}})
    os.closerange(first, last + 1)
    pipes = [os.pipe() for _ in range(last)]
    heap.collect()
    heap.close()
    for reader, writer in pipes:
        os.write(writer, b"x")
        assert os.read(reader, 2) == b"x", "somebody else's pipe was read or written"
    print("closed")
    """
    done = run_program(program)
    assert (done.returncode, done.stdout, done.stderr) == (0, "closed\n", "")


@pytest.mark.parametrize("delivery", ["sigbus", "thread"])
@pytest.mark.parametrize("which", ["all of them", "the userfaultfd's"])
def test_closing_them_in_the_middle_of_moves_changes_no_answer(delivery: str, which: str) -> None:
    program = f"""
    import contextlib, os, random, threading, time
    from subduct import Heap

    def numbers():
        return {{n for n in map(int, os.listdir("/proc/self/fd")) if os.path.exists(f"/proc/self/fd/{{n}}")}}

    def value(element):
        return [element[0], element[1], {{"n": element[2]["n"]}}]

    # The first cycle tells how long one takes; in each other one everything is closed, at some time of it.
    rng, cycle_s = random.Random(), 0.0
    for number in range(8):
        before = numbers()
        heap = Heap("128MiB", delivery={delivery!r})
        mine = sorted(numbers() - before)
        if {which!r} != "all of them":
            mine = [n for n in mine if "userfaultfd" in os.readlink(f"/proc/self/fd/{{n}}")]
        plain = {{i: [i, str(i) * 20, {{"n": i * 0.5}}] for i in range(40_000)}}
        heap.root["x"] = plain
        for i in range(0, 40_000, 2):
            del plain[i], heap.root["x"][i]
        is_over, wrong, keys = threading.Event(), [], list(plain)

        def read():
            elements = heap.root["x"]
            while not is_over.is_set():
                key = rng.choice(keys)
                if value(elements[key]) != plain[key]:
                    wrong.append(key)

        threads = [threading.Thread(target=read), threading.Thread(target=heap.collect)]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        if number:
            time.sleep(rng.random() * cycle_s)
            for descriptor in mine:
                # The heap itself has closed the spare of one that it noticed was lost.
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        threads[1].join()
        cycle_s = cycle_s or time.monotonic() - began
        is_over.set()
        threads[0].join()
        assert not wrong, wrong[:5]
        assert {{i: value(element) for i, element in heap.root["x"].items()}} == plain
        heap.verify()
        heap.close()
    print("whole")
    """
    done = run_program(program)
    assert (done.returncode, done.stdout, done.stderr) == (0, "whole\n", "")


@pytest.mark.parametrize("delivery", ["sigbus", "thread"])
def test_a_heap_does_not_go_on_with_another_heaps_userfaultfd(delivery: str) -> None:
    program = f"""
    import os, threading
    from subduct import Heap

    def userfaultfds():
        numbers = [n for n in map(int, os.listdir("/proc/self/fd")) if os.path.exists(f"/proc/self/fd/{{n}}")]
        return sorted(n for n in numbers if "userfaultfd" in os.readlink(f"/proc/self/fd/{{n}}"))

    for _ in range(6):
        # As many as the second heap opens before its userfaultfd.
        places = [os.open("/dev/null", os.O_RDONLY) for _ in range(2)]
        heap = Heap("128MiB", delivery={delivery!r})
        plain = {{i: [i, str(i) * 20] for i in range(40_000)}}
        heap.root["x"] = plain
        for i in range(0, 40_000, 2):
            del plain[i], heap.root["x"][i]
        lost = userfaultfds()
        for number in lost + places:
            os.close(number)
        other = Heap("16MiB", delivery={delivery!r})
        assert userfaultfds() == lost, (userfaultfds(), lost)
        before = heap.stats()
        collecting = threading.Thread(target=heap.collect)
        collecting.start()
        while collecting.is_alive() and heap.stats().worker_pages == before.worker_pages:
            pass
        other.close()
        elements = heap.root["x"]
        assert all(elements[i].to_python() == plain[i] for i in plain)
        collecting.join()
        assert heap.stats().fallbacks.descriptors_lost == 1, heap.stats()
        heap.verify()
        heap.close()
    print("whole")
    """
    done = run_program(program)
    assert (done.returncode, done.stdout, done.stderr) == (0, "whole\n", "")
