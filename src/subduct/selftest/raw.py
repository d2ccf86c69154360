"""The few system calls that only a self-test makes: kernel-made mappings, signals, and what a child asks of its end.

Made with ctypes, because neither the standard library nor the bindings have them.
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

# Numbers on x86-64, and on the architectures that share the generic table.
_NUMBERS = {
    "perf_event_open": (298, 241),
    "io_setup": (206, 0),
    "io_uring_setup": (425, 425),
    "membarrier": (324, 283),
    "futex": (202, 98),
}
_GENERIC = {"aarch64", "riscv64", "loongarch64"}

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PERF_TYPE_SOFTWARE = 1
_PERF_COUNT_SW_DUMMY = 9
_PERF_ATTR_BYTES = 112
# exclude_kernel and exclude_hv: what an unprivileged user may ask for.
_PERF_USER_ONLY = 1 << 5 | 1 << 6
_IO_URING_PARAMS_BYTES = 120
# Third version of the interface: three sets of 64 bits, in two halves.
_CAPABILITY_VERSION = 0x2008_0522
_CAPABILITY_SETS_BYTES = 24
_SA_SIGINFO = 4
_SA_NODEFER = 0x4000_0000
_SIGNAL_SET_BYTES = 128

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

_Handler = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)


class _Action(ctypes.Structure):
    # The C library's layout on 64-bit Linux, which glibc and musl share.
    _fields_ = (
        ("handler", _Handler),
        ("mask", ctypes.c_byte * _SIGNAL_SET_BYTES),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


def syscall(name: str, *arguments: int | ctypes.Array[Any] | None) -> int:
    """Makes a system call of the table above.

    Raises:
        OSError: what the kernel said; ENOSYS also on an architecture whose numbers are not known here.
    """
    machine = os.uname().machine
    column = 0 if machine == "x86_64" else 1 if machine in _GENERIC else None
    if column is None:
        raise OSError(38, f"{name}: no system call number for {machine}")
    words = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result = int(_libc.syscall(ctypes.c_long(_NUMBERS[name][column]), *words))
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def perf_event() -> int:
    """A descriptor of a counter that counts nothing; its ring can be mapped."""
    attributes = ctypes.create_string_buffer(_PERF_ATTR_BYTES)
    struct.pack_into("IIQ", attributes, 0, _PERF_TYPE_SOFTWARE, _PERF_ATTR_BYTES, _PERF_COUNT_SW_DUMMY)
    struct.pack_into("Q", attributes, 40, _PERF_USER_ONLY)
    return syscall("perf_event_open", attributes, 0, -1, -1, 0)


def io_uring() -> tuple[int, int]:
    """A descriptor of an io_uring with one entry, and the length of its submission ring in bytes."""
    parameters = ctypes.create_string_buffer(_IO_URING_PARAMS_BYTES)
    descriptor = syscall("io_uring_setup", 1, parameters)
    entries = struct.unpack_from("I", parameters, 0)[0]
    array_offset = struct.unpack_from("10I", parameters, 40)[6]
    return descriptor, array_offset + 4 * entries


def aio_context() -> int:
    """Makes an aio context and returns its id, which is the address where the kernel mapped its ring."""
    context = ctypes.create_string_buffer(8)
    syscall("io_setup", 1, context)
    return int(struct.unpack("Q", context)[0])


def handle_signal(number: int, handle: Callable[[int, int], None]) -> object:
    """Installs `handle(si_code, si_addr)` for a fault signal, called at the faulting instruction, unlike Python's own.

    Returns an object to keep alive for as long as the signal may come. Only sound while the fault is inside a call of the bindings
    that has let go of the interpreter.
    """

    def on_signal(_signal: int, information: int, _context: int) -> None:
        code = ctypes.c_int.from_address(information + 8).value
        address = ctypes.c_size_t.from_address(information + 16).value
        handle(code, address)

    action = _Action(handler=_Handler(on_signal), flags=_SA_SIGINFO | _SA_NODEFER)
    if _libc.sigaction(number, ctypes.byref(action), None) != 0:
        raise OSError(ctypes.get_errno(), "sigaction")
    return action


def die_with_parent(signal_number: int) -> None:
    """Has the kernel send this process a signal when its parent ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)


def drop_capabilities() -> None:
    """Empties this process's sets of capabilities, for good. capset(2); needs no right.

    Raises:
        OSError: what the kernel, or a filter, said.
    """
    header = struct.pack("Ii", _CAPABILITY_VERSION, 0)
    if _libc.capset(header, bytes(_CAPABILITY_SETS_BYTES)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"capset: {os.strerror(number)}")


def leave_no_core() -> None:
    """Lets this process die of a signal without a core dump, whatever the machine does with those."""
    _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
