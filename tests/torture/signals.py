"""Signals by the thousand: timers, interrupts that raise in the middle of operations, stops, and takers of SIGBUS."""

import faulthandler
import os
import random
import signal
import subprocess
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from harness.heaps import document
from subduct import Heap
from torture.setting import Setting, check
from torture.writer import Background, churning, writers

TIMER_S = 0.001
STORES = 30
KEYS = 50
STOP = 'kill -STOP "$1"; sleep 0.01; kill -CONT "$1"'


class InterruptError(Exception):
    """Raised by a signal in the middle of whatever the main thread does."""


class Handlers:
    """What this process does about signals: it uses the heap, and raises when it is told to."""

    def __init__(self, heap: Heap) -> None:
        self._heap = heap
        self.armed = False
        self.got = 0

    def _on_timer(self, _number: int, _frame: FrameType | None) -> None:
        self.got += 1
        assert len(self._heap.root) > 0

    def _on_interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if self.armed:
            self.armed = False
            raise InterruptError

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handlers for all signals that are sent here, and the timers."""
        handlers = {
            signal.SIGALRM: self._on_timer,
            signal.SIGPROF: self._on_timer,
            signal.SIGUSR1: self._on_timer,
            signal.SIGINT: self._on_interrupt,
        }
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        signal.setitimer(signal.ITIMER_REAL, TIMER_S, TIMER_S)
        signal.setitimer(signal.ITIMER_PROF, TIMER_S, TIMER_S)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.setitimer(signal.ITIMER_PROF, 0)
            for number, handler in before.items():
                # Discards what is still on its way, and would end the process.
                signal.signal(number, signal.SIG_IGN)
                signal.signal(number, handler)


@contextmanager
def _silent_faulthandler() -> Iterator[Callable[[], None]]:
    """faulthandler with nowhere to write; yields what takes its signals, SIGBUS among them, away from whoever has them.

    It starts without them: to put back what it found before there was a heap would end the process at the next fault.
    """
    with Path(os.devnull).open("w") as silence:

        def take() -> None:
            faulthandler.disable()
            faulthandler.enable(silence)

        faulthandler.disable()
        try:
            yield take
        finally:
            faulthandler.disable()
            faulthandler.enable()


def torment(setting: Setting) -> Generator[None]:
    with _silent_faulthandler() as take_signals, setting.heap() as heap:
        crew = writers(setting, heap, 2)
        handlers = Handlers(heap)
        twin: dict[int, Any] = {}
        heap.root["interrupted"] = {}
        with handlers.installed():
            while True:
                before = handlers.got
                with churning(setting, crew, heap.collect) as threads:
                    with _pestered(setting.random(), threads, take_signals):
                        _interrupted_stores(setting, heap, handlers, twin)
                    _stop_and_go(setting)
                assert handlers.got > before, "no signal arrived"
                check(heap)
                yield


@contextmanager
def _pestered(rng: random.Random, threads: list[Background], take_signals: Callable[[], None]) -> Iterator[None]:
    """While another thread sends signals to this one and to the others."""
    main, stopped = threading.get_ident(), threading.Event()

    def pester() -> None:
        signal.pthread_kill(main, signal.SIGINT)
        victim = rng.choice(threads).thread.ident
        if victim is not None:
            signal.pthread_kill(victim, signal.SIGUSR1)
        if rng.random() < 0.05:
            take_signals()
        stopped.wait(rng.random() / 1_000)

    pest = Background(pester)
    pest.start()
    try:
        yield
    finally:
        pest.stop()
        stopped.set()
        pest.finish()


def _interrupted_stores(setting: Setting, heap: Heap, handlers: Handlers, twin: dict[int, Any]) -> None:
    """Stores documents, some interrupted: each is there as it was or as it is to be, never in between."""
    documents = heap.root["interrupted"]
    stores = interrupted = 0
    while stores < STORES or not interrupted:
        number, version = setting.rng.randrange(KEYS), setting.rng.randrange(1 << 40)
        new = {at: document(at, version) for at in range(number, number + 20)}
        stores += 1
        try:
            handlers.armed = True
            documents[number] = new
            handlers.armed = False
            twin[number] = new
        except InterruptError:
            interrupted += 1
            found = documents.get(number)
            plain = None if found is None else found.to_python()
            assert plain in (twin.get(number), new), f"document {number} is neither old nor new"
            if plain is not None:
                twin[number] = plain
        finally:
            handlers.armed = False
    assert documents.to_python() == twin, "interrupted stores lost something"
    setting.tally.operations += stores


def _stop_and_go(setting: Setting) -> None:
    """Has another process stop this one in the middle of things, and let it go on."""
    if setting.rng.random() < 0.3:
        subprocess.run(["/bin/sh", "-c", STOP, "sh", str(os.getpid())], check=True)
