"""What the kernel answers to MREMAP_DONTUNMAP, asked without going through subduct, so that a wrong binding there
cannot hide itself. Prints one JSON object: for each kind of mapping "accepted", or the name of the error.

x86-64 only, as the kernels are.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import re
import struct
from pathlib import Path

_PAGE = mmap.PAGESIZE
_MREMAP_MAYMOVE, _MREMAP_DONTUNMAP = 1, 4
_PERF_EVENT_OPEN = 298
_PERF_TYPE_SOFTWARE, _PERF_COUNT_SW_CPU_CLOCK = 1, 0
_PERF_ATTRIBUTES_BYTES = 112

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.mremap.restype = ctypes.c_void_p
_libc.mremap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p]
_libc.syscall.restype = ctypes.c_long
_FAILED = ctypes.c_void_p(-1).value


def _map(length: int, flags: int, descriptor: int = -1) -> int:
    address = _libc.mmap(None, length, mmap.PROT_READ | mmap.PROT_WRITE, flags, descriptor, 0)
    if address == _FAILED:
        raise OSError(ctypes.get_errno(), "mmap")
    return int(address)


def _move(address: int, length: int) -> str:
    moved = _libc.mremap(address, length, length, _MREMAP_MAYMOVE | _MREMAP_DONTUNMAP, None)
    if moved == _FAILED:
        return errno.errorcode[ctypes.get_errno()]
    return "accepted"


def _memfd(flags: int) -> str:
    descriptor = os.memfd_create("kernels")
    os.ftruncate(descriptor, _PAGE)
    address = _map(_PAGE, flags, descriptor)
    ctypes.memset(address, 7, _PAGE)
    return _move(address, _PAGE)


def _anonymous(flags: int) -> str:
    address = _map(_PAGE, flags | mmap.MAP_ANONYMOUS)
    ctypes.memset(address, 7, _PAGE)
    return _move(address, _PAGE)


def _perf_ring() -> str:
    attributes = struct.pack("=IIQ", _PERF_TYPE_SOFTWARE, _PERF_ATTRIBUTES_BYTES, _PERF_COUNT_SW_CPU_CLOCK)
    attributes = attributes.ljust(_PERF_ATTRIBUTES_BYTES, b"\0")
    descriptor = _libc.syscall(_PERF_EVENT_OPEN, attributes, 0, -1, -1, 0)
    if descriptor < 0:
        return f"no ring: {errno.errorcode[ctypes.get_errno()]}"
    return _move(_map(2 * _PAGE, mmap.MAP_SHARED, descriptor), 2 * _PAGE)


def _vvar() -> str:
    found = re.search(r"^([0-9a-f]+)-([0-9a-f]+) .*\[vvar\]$", Path("/proc/self/maps").read_text(), re.MULTILINE)
    if found is None:
        return "no [vvar]"
    start, end = int(found[1], 16), int(found[2], 16)
    return _move(start, end - start)


def probe() -> dict[str, str]:
    """Asks about each kind of mapping."""
    return {
        "private_anonymous": _anonymous(mmap.MAP_PRIVATE),
        "shared_anonymous": _anonymous(mmap.MAP_SHARED),
        "shared_memfd": _memfd(mmap.MAP_SHARED),
        "private_memfd": _memfd(mmap.MAP_PRIVATE),
        "perf_ring": _perf_ring(),
        "vvar": _vvar(),
    }


if __name__ == "__main__":
    print(json.dumps(probe()))
