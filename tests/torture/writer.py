"""Threads that change a heap at random, and plain Python containers beside it that say what must be in it."""

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from harness.heaps import checksum, document
from subduct import Dict, Heap
from torture.setting import Setting

# Of the writers' names, which are keys of the root.
PREFIX = "writer "
DOCUMENTS = 400
LIST_MAX = 60
# Above 256 KiB an object has regions of its own: slots (8 bytes each) and bytes.
LARGE_SLOTS = 40_000
LARGE_BYTES = 300_000


class Writer:
    """One thread's part: it alone writes its dict, its list and its large object; it reads everybody's dicts."""

    def __init__(self, heap: Heap, name: str, rng: random.Random) -> None:
        self.heap, self.name, self.rng = heap, name, rng
        self.twin: dict[int, dict[str, Any]] = {}
        self.list_twin: list[Any] = []
        self.large_twin: list[int] | bytes = b""
        heap.root[name] = {"documents": {}, "list": [], "large": b""}
        self.own = heap.root[name]
        self.steps = 0

    def step(self) -> None:
        """One random operation on heap and twin, compared."""
        weights = (30, 20, 20, 20, 8, 1)
        actions = (self.replace, self.delete, self.read_own, self.read_any, self.change_list, self.replace_large)
        self.rng.choices(actions, weights)[0]()
        self.steps += 1

    def check(self) -> None:
        """Compares all that this writer owns."""
        large = self.own["large"]
        found = {
            "dict": (self.own["documents"].to_python(), self.twin),
            "list": (self.own["list"].to_python(), self.list_twin),
            "large object": (large if isinstance(large, bytes) else large.to_python(), self.large_twin),
        }
        for what, (stored, twin) in found.items():
            assert stored == twin, f"the {what} of {self.name} is not what it stored"

    def replace(self) -> None:
        number, version = self.rng.randrange(DOCUMENTS), self.rng.randrange(1 << 40)
        self.own["documents"][number] = document(number, version)
        self.twin[number] = document(number, version)

    def delete(self) -> None:
        number = self.rng.randrange(DOCUMENTS)
        found, twin = self.own["documents"].pop(number, None), self.twin.pop(number, None)
        assert found == twin, f"document {number} of {self.name} is not what it stored"

    def read_own(self) -> None:
        number = self.rng.randrange(DOCUMENTS)
        found = self.own["documents"].get(number)
        plain = None if found is None else found.to_python()
        assert plain == self.twin.get(number), f"document {number} of {self.name} is not what it stored"

    def read_any(self) -> None:
        owner = self.rng.choice([name for name in self.heap.root if str(name).startswith(PREFIX)])
        documents = self.heap.root[owner]["documents"]
        number = self.rng.randrange(DOCUMENTS)
        found = documents.get(number)
        if found is not None:
            assert_is_whole(found, number)

    def change_list(self) -> None:
        mine = self.own["list"]
        if len(self.list_twin) > LIST_MAX:
            at = self.rng.randrange(LIST_MAX)
            del mine[at::2]
            del self.list_twin[at::2]
        item = [self.rng.random(), {"text": "y" * self.rng.randrange(200)}]
        at = self.rng.randrange(len(self.list_twin) + 1)
        mine.insert(at, item)
        self.list_twin.insert(at, item)

    def replace_large(self) -> None:
        first = self.rng.randrange(1 << 40)
        if self.rng.random() < 0.5:
            self.large_twin = list(range(first, first + LARGE_SLOTS))
        else:
            self.large_twin = first.to_bytes(8) * (LARGE_BYTES // 8)
        self.own["large"] = self.large_twin


def assert_is_whole(found: Dict, number: int) -> None:
    """Checks a document that its owner may replace at this moment: all parts of what was read belong together."""
    found_number, version, found_checksum = found["id"], found["version"], found["check"]
    assert (found_number, found_checksum, found["tags"][1]) == (number, checksum(number, version), number * 2**61), (
        f"document {number} is made of parts of others"
    )


def writers(setting: Setting, heap: Heap, count: int) -> list[Writer]:
    """Writers with random numbers of their own."""
    return [Writer(heap, f"{PREFIX}{number}", setting.random()) for number in range(count)]


class Background:
    """A thread that does something again and again until it is told to stop."""

    def __init__(self, action: Callable[[], object]) -> None:
        self._action = action
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._action()
        except BaseException as error:
            self._error = error
            # Alive until it is told to stop, so that a signal can be sent to it.
            self._stop.wait()

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        """Lets it end after what it is doing."""
        self._stop.set()

    def finish(self) -> None:
        """Waits for the end of a thread that was told to stop; raises what the action raised."""
        self.thread.join()
        if self._error is not None:
            raise self._error


@contextmanager
def churning(setting: Setting, crew: Sequence[Writer], *others: Callable[[], object]) -> Iterator[list[Background]]:
    """Every writer steps, and every other action runs, again and again in a thread of its own; at the end the writers compare.

    Raises what any of them raised.
    """
    before = sum(writer.steps for writer in crew)
    threads = [Background(action) for action in (*(writer.step for writer in crew), *others)]
    started = []
    try:
        for thread in threads:
            thread.start()
            started.append(thread)
        yield threads
    finally:
        for thread in started:
            thread.stop()
        for thread in started:
            thread.thread.join()
    for thread in threads:
        thread.finish()
    for writer in crew:
        writer.check()
    setting.tally.operations += sum(writer.steps for writer in crew) - before
