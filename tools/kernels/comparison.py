"""The differential test of a guest's kernel: the guest makes the calls, all else is done here.

Choosing calls, the model and Hypothesis take most of a comparison's time, tens of times more under software emulation.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from kernels.guest import READY, checks

if TYPE_CHECKING:
    from pathlib import Path

#: The name of the guest's virtio port.
PORT = "subduct"


class Comparison:
    """One guest's; it starts once the guest is ready for it."""

    def __init__(self, socket: Path, results: Path, sequences: int) -> None:
        self._socket = socket
        self._results = results
        (self._check,) = (each for each in checks(sequences, 0, socket) if each.name == "differential")
        self._thread: threading.Thread | None = None

    @property
    def emulator_options(self) -> str:
        """What gives the guest the port, with this process' socket at the other end."""
        return (
            f"-chardev socket,id={PORT},path={self._socket},server=on,wait=off "
            f"-device virtserialport,name={PORT},chardev={PORT}"
        )

    def poll(self) -> None:
        """Starts the comparison if the guest has become ready."""
        if self._thread is None and (self._results / READY).exists():
            self._thread = threading.Thread(target=self._run)
            self._thread.start()

    def end(self) -> None:
        """Waits for its result, which comes at the latest when the guest has ended."""
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        self._check.run(self._results).write(self._results)
