"""Start processes that have no /proc, as in some sandboxes."""

import ctypes
import os
import subprocess
import sys
from functools import cache

import pytest

CLONE_NEWNS = 0x0002_0000
MS_REC, MS_PRIVATE = 1 << 14, 1 << 18


def hide_proc() -> None:
    """For a child to call before its program runs: an empty file system covers /proc, in its own view of the mounts only."""
    libc = ctypes.CDLL(None)
    if (
        libc.unshare(CLONE_NEWNS)
        or libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None)
        or libc.mount(b"none", b"/proc", b"tmpfs", 0, None)
    ):
        os._exit(99)


@cache
def _can_hide_proc() -> bool:
    command = [sys.executable, "-c", "import os; os._exit(len(os.listdir('/proc')))"]
    return subprocess.run(command, preexec_fn=hide_proc, check=False, timeout=60).returncode == 0


def need_no_proc() -> None:
    """Skips the test where this user may not cover /proc."""
    if not _can_hide_proc():
        pytest.skip("runs without /proc, which takes the right to mount (CAP_SYS_ADMIN)")
