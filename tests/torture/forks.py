"""Forks in the middle of everything: the child has no heap and says so, may have one of its own, and may fork again."""

import faulthandler
import os
import signal
import sys
from collections.abc import Callable, Generator

from harness.heaps import Delivery, assert_documents, fill, thin
from subduct import Dict, Heap, HeapClosed
from torture.setting import Setting, check
from torture.writer import churning, writers

FORKS = 10
CHILD_S = 60


def torment(setting: Setting) -> Generator[None]:
    with setting.heap() as heap:
        crew = writers(setting, heap, 3)
        child = Child(heap, crew[0].own["documents"], setting.delivery)
        while True:
            with churning(setting, crew, heap.collect):
                for _ in range(FORKS):
                    in_child(setting.rng.choice(child.actions))
            setting.tally.operations += FORKS
            check(heap)
            yield


class Child:
    """What a child may do with what it did not inherit."""

    def __init__(self, heap: Heap, documents: Dict, delivery: Delivery) -> None:
        self.heap, self.delivery = heap, delivery
        self.documents: Dict | None = documents
        self.actions: tuple[Callable[[], None], ...] = (
            self.is_told,
            self.drops_and_closes,
            self.has_its_own,
            self.forks_again,
        )

    def is_told(self) -> None:
        """Every first use says that the heap is another process's."""
        assert self.documents is not None
        documents = self.documents
        for use in (lambda: self.heap.root, lambda: documents[1], lambda: len(documents), self.heap.collect):
            said = ""
            try:
                use()
            except HeapClosed as error:
                said = str(error)
            assert "fork" in said, f"a child that used its parent's heap was told {said!r}"

    def drops_and_closes(self) -> None:
        """Proxies and the heap can be given up."""
        self.documents = None
        self.heap.close()

    def has_its_own(self) -> None:
        """A heap of the child's own collects and moves."""
        with Heap("16MiB", delivery=self.delivery, verify=True, stress="256kiB") as mine:
            documents = fill(mine, 600)
            thin(documents, keep_every=3)
            mine.collect()
            assert_documents(documents, range(0, 600, 3))
            assert mine.stats().moves > 0

    def forks_again(self) -> None:
        """A grandchild is told, too."""
        in_child(self.is_told)


def in_child(action: Callable[[], None]) -> None:
    """Forks, runs the action in the child, and raises if it failed there or did not end."""
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            # Ends with a traceback. (dump_traceback_later would wait for the parent's thread, which was not forked.)
            faulthandler.register(signal.SIGALRM, chain=True)
            signal.alarm(CHILD_S)
            action()
            code = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code == 0, f"a child ended with {code}: {getattr(action, '__name__', '')}"
