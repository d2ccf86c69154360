"""One thread that keeps changing documents."""

from __future__ import annotations

from itertools import accumulate
from random import Random
from typing import TYPE_CHECKING

from subduct import Dict, List
from subduct.churn.loop import Loop
from subduct.churn.operations import look_up, read_through

if TYPE_CHECKING:
    from subduct.churn.loop import StopFlag
    from subduct.churn.store import DocumentStore
    from subduct.churn.turns import Turns

#: How often each operation is chosen, in percent. An insertion is slower than a look-up by orders of magnitude, so by
#: time it is the changes that prevail. Deleting and inserting keep each other level: see `Worker`.
WEIGHTS = {"look up": 60, "read through": 22, "replace": 10, "delete": 4, "insert": 4}

_NAMES = list(WEIGHTS)
_LIMITS = list(accumulate(WEIGHTS.values()))

# At most this share of a thread's documents is deleted at any time.
_DELETED_SHARE = 0.1


class Worker(Loop):
    """Reads documents of all threads, changes only those of its own share, so that each has one writer.

    A replacement is built from the source or copied out of the heap, by turns. Where an operation finds nothing to do,
    it does its opposite: deleting inserts once a tenth of the share is deleted, inserting deletes while nothing is.
    """

    def __init__(self, store: DocumentStore, own: range, seed: int, turns: Turns, stop: StopFlag) -> None:
        super().__init__(f"churn-{own.start}", stop)
        self._store = store
        #: All threads' together.
        self._turns = turns
        self._own = own
        self._random = Random(seed)
        self._absent: list[int] = []
        self._most_absent = max(1, int(len(own) * _DELETED_SHARE))
        self._from_source = False
        #: Operations completed so far, by name.
        self.counts = dict.fromkeys(WEIGHTS, 0)

    def step(self) -> None:
        name = self._random.choices(_NAMES, cum_weights=_LIMITS)[0]
        with self._turns:
            if self._stop.is_set:
                return
            self._perform(name)
        self.counts[name] += 1

    def restore(self) -> None:
        """Inserts what is deleted, once the thread has ended."""
        while self._absent:
            self._insert()

    def _perform(self, name: str) -> None:
        if name == "look up":
            look_up(self._store, self._any(), self._random)
        elif name == "read through" or not self._own:
            read_through(self._store, self._any())
        elif name == "replace":
            self._replace(self._random.choice(self._own))
        elif (name == "delete" and len(self._absent) < self._most_absent) or not self._absent:
            self._delete(self._random.choice(self._own))
        else:
            self._insert()

    def _any(self) -> int:
        return self._random.randrange(len(self._store.source))

    def _replace(self, number: int) -> None:
        self._from_source = not self._from_source
        document = self._store.get(number)
        if isinstance(document, Dict | List) and not self._from_source:
            self._store.put(number, document.to_python())
        elif self._store.contains(number):
            self._store.put(number, self._store.source.rebuild(number))

    def _delete(self, number: int) -> None:
        if self._store.contains(number):
            self._store.delete(number)
            self._absent.append(number)

    def _insert(self) -> None:
        place = self._random.randrange(len(self._absent))
        self._absent[place], self._absent[-1] = self._absent[-1], self._absent[place]
        number = self._absent[-1]
        self._store.put(number, self._store.source.rebuild(number))
        self._absent.pop()
