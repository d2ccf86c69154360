"""Ask the kernel for userfaultfd without going through subduct, so that a wrong probe there cannot hide itself."""

import ctypes
import fcntl
import os
import platform
import struct
from functools import cache

SYSCALL_NUMBERS = {"x86_64": 323, "aarch64": 282, "riscv64": 282}
USER_MODE_ONLY = 1
UFFD_API = 0xAA
FEATURE_SIGBUS = 1 << 7
FEATURE_MINOR_SHMEM = 1 << 10
UFFDIO_API = 3 << 30 | 24 << 16 | UFFD_API << 8 | 0x3F


@cache
def has_userfaultfd() -> bool:
    """Whether the kernel lets this user catch missing and minor faults on shared memory as SIGBUS."""
    number = SYSCALL_NUMBERS.get(platform.machine())
    if number is None:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.syscall(number, os.O_CLOEXEC | os.O_NONBLOCK | USER_MODE_ONLY)
    if descriptor < 0:
        return False
    try:
        wanted = FEATURE_SIGBUS | FEATURE_MINOR_SHMEM
        fcntl.ioctl(descriptor, UFFDIO_API, struct.pack("=QQQ", UFFD_API, wanted, 0))
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
