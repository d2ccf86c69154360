"""The process that asks the running kernel, as the one that compares sees it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from subduct.model.differential.call import Result, Seen
from subduct.model.differential.operations import SETUP_DESCRIPTORS, SETUP_FILES
from subduct.model.differential.sight import view_of
from subduct.model.state import Limits

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from subduct.model.differential.call import Call
    from subduct.model.rules import RuleBook


@dataclass(frozen=True, slots=True)
class Machine:
    """What the process that asks the kernel found out about it: its release; whether the ground is empty; whether
    there are userfaultfd, perf events, mseal and an ordinary vvar mapping; whether a memfd sealed against writing can be mapped
    shared; what MREMAP_DONTUNMAP does to locked memory, to a mapping that it moves pages beside, and to the charge of what it
    leaves behind; the most it may lock in bytes, None for no limit; the lowest address it may map at."""

    release: str
    empty: bool
    userfaultfd: bool
    perf: bool
    mseal: bool
    vvar: bool
    maps_write_sealed: bool
    leaks_locked: bool
    splits_locked: bool
    merges_with_source: bool
    keeps_charge: bool
    locked_bytes: int | None
    lowest_address: int

    @property
    def limits(self) -> Limits:
        """The same limits for the model."""
        return Limits(locked_bytes=self.locked_bytes, lowest_address=self.lowest_address)

    def adapted(self, book: RuleBook) -> RuleBook:
        """The book with those rules as this kernel has them that later releases of old versions changed."""
        # One series of changes made both rules go, and was taken back into older versions as a whole.
        for rule in ("mmap.write-sealed-read-only", "madvise.remove-read-only"):
            book = book.without(rule) if self.maps_write_sealed else book.having(rule)
        # Later releases took these back as well, one after the other.
        for rule, lost in (
            ("mremap.locked-leak", not self.leaks_locked),
            ("mremap.merges-with-source", not self.merges_with_source),
            ("mremap.account-lost", self.keeps_charge),
        ):
            book = book.without(rule) if lost else book
        return book.having("mremap.splits-locked") if self.splits_locked else book

    @property
    def setup(self) -> tuple[Call, ...]:
        """The calls that every sequence begins with."""
        return (*SETUP_FILES, *(SETUP_DESCRIPTORS if self.userfaultfd else ()))


class BrokenError(RuntimeError):
    """The process that makes the calls failed itself, so that nothing is known of kernel and model; the message says how."""


class KernelServer:
    """The process that asks the kernel, a child or one that answers at a Unix socket, maybe of another machine; a context
    manager. Raises BrokenError, and OSError where the socket cannot be had."""

    def __init__(self, address: Path | None = None) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._requests: IO[bytes]
        self._answers: IO[bytes]
        if address is None:
            self._requests, self._answers = self._start()
        else:
            self._requests, self._answers = _connected(address)
        self.machine = Machine(**self._receive())

    def _start(self) -> tuple[IO[bytes], IO[bytes]]:
        command = [sys.executable, "-m", "subduct.model.differential.kernel_side"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        return self._process.stdin, self._process.stdout

    def __enter__(self) -> KernelServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._requests.close()
        self._answers.close()
        if self._process is not None:
            self._process.wait()

    def make(self, calls: Sequence[Call]) -> list[Seen]:
        """Does the setup in a fresh process and makes calls there, one after the other: what came of each, up to the one at
        which a signal ended the process."""
        setup = self.machine.setup
        request = [[call.name, call.arguments] for call in (*setup, *calls)]
        self._requests.write(json.dumps({"setup": len(setup), "calls": request}).encode() + b"\n")
        self._requests.flush()
        ended = self._receive()
        told = [json.loads(line) for line in self._answers.read(ended["told"]).splitlines()]
        begun = any("begun" in line for line in told)
        found = [Seen(Result(*line["seen"][0]), view_of(line["seen"][1])) for line in told if "seen" in line]
        if ended["signal"] and begun and len(found) < len(calls):
            return [*found, Seen(Result("signal", ended["signal"]), None)]
        if ended["signal"] or ended["status"] or len(found) < len(calls):
            when = (
                "the setup of a sequence" if not begun else str(calls[len(found)]) if calls[len(found) :] else "its end"
            )
            raise _broken(when, ended, "".join(line["broken"] for line in told if "broken" in line))
        return found

    def _receive(self) -> dict[str, Any]:
        line = self._answers.readline()
        if not line:
            raise BrokenError("the process that asks the kernel has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _connected(address: Path) -> tuple[IO[bytes], IO[bytes]]:
    """Both directions of a connection, which ends when they are closed."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(os.fspath(address))
        return connection.makefile("wb"), connection.makefile("rb")
    finally:
        connection.close()


def _broken(when: str, ended: dict[str, Any], words: str) -> BrokenError:
    """What to say of a process that could not make its calls."""
    how = f"signal {ended['signal']}" if ended["signal"] else f"exit status {ended['status']}"
    return BrokenError(
        f"the process that makes the calls ended with {how} at {when}" + (f":\n{words}" if words else "")
    )
