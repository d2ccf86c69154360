"""What the machine and the interpreter do to a thread while nothing is collected."""

from __future__ import annotations

import json
import subprocess
import threading
from dataclasses import dataclass
from time import perf_counter_ns
from typing import TYPE_CHECKING

from peers.latency import Histogram, Recorder

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Control:
    """The 1 ms sleeper alone on the machine, and two Python threads that only count."""

    sleeper: Histogram
    #: How long a Python thread was held up by the other.
    interpreter: Histogram


def take(binary: Path, seconds: float) -> Control:
    """Measure both, one after the other. Raises CalledProcessError."""
    command = [str(binary), "--control", str(seconds)]
    printed = subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE).stdout
    return Control(Histogram.read(json.loads(printed)["sleeper"]), count(seconds))


def count(seconds: float) -> Histogram:
    """Two threads that note the time over and over."""
    began_ns = perf_counter_ns()
    end_ns = int(seconds * 1e9)
    recorders = [Recorder(began_ns), Recorder(began_ns)]

    def work(recorder: Recorder) -> None:
        while recorder.last_ns < end_ns:
            recorder.note()

    threads = [threading.Thread(target=work, args=(recorder,)) for recorder in recorders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recorders[0].histogram.merge(recorders[1].histogram)
    return recorders[0].histogram
