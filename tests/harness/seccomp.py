"""Forbid a system call to a process, as a container would."""

import ctypes
import os
import platform
import struct
from collections.abc import Callable

RETURN_ERRNO = 0x0005_0000
RETURN_ALLOW = 0x7FFF_0000
EPERM = 1
PR_SET_NO_NEW_PRIVS = 38
SECCOMP = {"x86_64": 317, "aarch64": 277, "riscv64": 277}[platform.machine()]
SET_MODE_FILTER, TSYNC = 1, 1


def forbid(number: int) -> Callable[[], None]:
    """Something to call, or for a child to call before its program runs: the system call fails with EPERM from then on, in every
    thread of the process."""
    code = [
        (0x20, 0, 0, 0),  # load the number of the system call
        (0x15, 0, 1, number),  # skip the next instruction if it is another
        (0x06, 0, 0, RETURN_ERRNO | EPERM),
        (0x06, 0, 0, RETURN_ALLOW),
    ]
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in code))
    header = ctypes.create_string_buffer(struct.pack("@HP", len(code), ctypes.addressof(program)))
    libc = ctypes.CDLL(None, use_errno=True)

    def install() -> None:
        # Naming `program` keeps it alive: the header holds nothing but its address.
        assert len(program) >= 8 * len(code)
        if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.syscall(SECCOMP, SET_MODE_FILTER, TSYNC, header):
            os._exit(99)

    return install
