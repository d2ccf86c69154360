"""The side of a comparison that asks the running kernel: a process of its own for each sequence of calls.

Run as a module it is a server: it reads one request a line from standard input, the calls of a whole sequence, and answers with a
line of JSON. For each it makes a fresh process by fork; the server itself makes none of the calls.

The server may run on another machine than the one that compares, also on an emulated one: standard input and output can be any
stream, and what can be done at the other end is done there. It imports little, and not even the bindings of `subduct.kernel`: each
fork copies the page tables of what is in memory.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import resource
import sys
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from subduct import _native
from subduct._native import KernelError
from subduct.model.differential import ground
from subduct.model.differential.call import Result, is_elsewhere
from subduct.model.differential.look import look
from subduct.model.differential.operations import DESCRIPTORS, SPARSE_FILE
from subduct.model.differential.sight import view_of
from subduct.model.differential.time_move import time_move
from subduct.model.uapi import PAGE, WORD, Feature, MapFlag, Prot, RemapFlag, Seal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from subduct.model.differential.call import View

_MFD_CLOEXEC, _MFD_ALLOW_SEALING, _MFD_NOEXEC_SEAL = 1, 2, 8
_FALLOC_KEEP_SIZE, _FALLOC_PUNCH_HOLE = 1, 2
_UFFD_USER_MODE_ONLY = 1
_PR_SET_THP_DISABLE = 41
_WORD_BYTES = 8
_CAP_IPC_LOCK = 14
_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241, "riscv64": 241}
_PERF_ATTRIBUTE_BYTES = 64
_LEAVE = RemapFlag.MAYMOVE | RemapFlag.FIXED | RemapFlag.DONTUNMAP
_SPLIT_PAGES = 4


class KernelSide:
    """Makes calls, by the numbers that stand for file descriptors, and looks at what they did."""

    def __init__(self) -> None:
        self._fds: dict[int, int] = {}
        self._files: list[int] = []
        flags = MapFlag.PRIVATE | MapFlag.ANONYMOUS
        self._source = _native.sys_mmap(0, ground.PAGES * PAGE, Prot.READ | Prot.WRITE, flags)

    def perform(self, name: str, arguments: list[Any]) -> int:
        """What the call returns; 0 for a call that returns nothing. Raises KernelError."""
        return int(getattr(self, f"_{name}", getattr(_native, f"sys_{name}", None))(*arguments) or 0)  # type: ignore[misc]

    def view(self) -> bytes:
        """What is seen now, as JSON."""
        return look([self._fds[number] for number in self._files])

    def _mmap(self, address: int, length: int, prot: int, flags: int, fd: int, offset: int) -> int:
        return _native.sys_mmap(address, length, prot, flags, self._fds.get(fd, -1), offset)

    def _memfd_create(self, fd: int, sealable: int) -> int:
        flags = _MFD_CLOEXEC | (_MFD_ALLOW_SEALING if sealable else 0)
        self._fds[fd] = _native.sys_memfd_create(f"f{fd}", flags)
        self._files.append(fd)
        return fd

    def _ftruncate(self, fd: int, size: int) -> None:
        _native.sys_ftruncate(self._fds.get(fd, -1), size)

    def _fallocate(self, fd: int, offset: int, length: int) -> None:
        _native.sys_fallocate(self._fds.get(fd, -1), 0, offset, length)

    def _punch(self, fd: int, offset: int, length: int) -> None:
        _native.sys_fallocate(self._fds.get(fd, -1), _FALLOC_KEEP_SIZE | _FALLOC_PUNCH_HOLE, offset, length)

    def _add_seals(self, fd: int, seals: int) -> None:
        _native.sys_add_seals(self._fds.get(fd, -1), seals)

    def _userfaultfd(self, fd: int) -> int:
        self._fds[fd] = open_userfaultfd()
        return fd

    def _uffd_register(self, fd: int, address: int, length: int, mode: int) -> int:
        return _native.sys_uffd_register(self._fds.get(fd, -1), address, length, mode)

    def _uffd_unregister(self, fd: int, address: int, length: int) -> None:
        _native.sys_uffd_unregister(self._fds.get(fd, -1), address, length)

    def _uffd_copy(self, fd: int, destination: int, values: list[int], mode: int) -> int:
        for number, value in enumerate(values):
            _native.sys_poke(self._source + number * PAGE, _encode(value))
        return _native.sys_uffd_copy(self._fds[fd], destination, self._source, len(values) * PAGE, mode)

    def _uffd_zeropage(self, fd: int, address: int, length: int, mode: int) -> int:
        return _native.sys_uffd_zeropage(self._fds[fd], address, length, mode)

    def _uffd_continue(self, fd: int, address: int, length: int, mode: int) -> int:
        return _native.sys_uffd_continue(self._fds[fd], address, length, mode)

    def _peek(self, address: int) -> int:
        return _decode(_native.sys_peek(address, _WORD_BYTES))

    def _poke(self, address: int, value: int) -> None:
        _native.sys_poke(address, _encode(value))

    def _load(self, address: int) -> int:
        return _decode(_native.sys_load(address, _WORD_BYTES))

    def _store(self, address: int, value: int) -> None:
        _native.sys_store(address, _encode(value))

    def _map_ring(self) -> int:
        fd = open_perf()
        try:
            flags = MapFlag.SHARED | MapFlag.FIXED
            return _native.sys_mmap(ground.RING, ground.RING_PAGES * PAGE, Prot.READ | Prot.WRITE, flags, fd)
        finally:
            os.close(fd)

    def _remap_vvar(self, flags: int, growth: int) -> int:
        found = vvar()
        assert found is not None, "the comparison asks for it only where it is"
        start, end = found
        return _native.sys_mremap(start, end - start, end - start + growth, flags)

    def _time_move(self, old: int, new: int, length: int, registered: int) -> int:
        return time_move(
            self._fds[SPARSE_FILE], self._fds.get(DESCRIPTORS[0]) if registered else None, old, new, length
        )


def vvar() -> tuple[int, int] | None:
    """Start and end of the mapping of VM_PFNMAP that every process has, if it is there and not sealed."""
    lines = Path("/proc/self/smaps").read_text().splitlines()
    for number, line in enumerate(lines):
        if line.endswith("[vvar]"):
            flags = next(each for each in lines[number:] if each.startswith("VmFlags:")).split()
            start, end = (int(part, 16) for part in line.split()[0].split("-"))
            return (start, end) if "pf" in flags and "sl" not in flags else None
    return None


def _encode(value: int) -> bytes:
    return (value % WORD).to_bytes(_WORD_BYTES, sys.byteorder)


def _decode(data: bytes) -> int:
    return int.from_bytes(data, sys.byteorder)


def open_userfaultfd() -> int:
    """A descriptor that delivers faults as SIGBUS, for user mode where the kernel knows that. Raises KernelError."""
    flags = os.O_CLOEXEC | os.O_NONBLOCK
    try:
        fd = _native.sys_userfaultfd(flags | _UFFD_USER_MODE_ONLY)
    except KernelError:
        fd = _native.sys_userfaultfd(flags)
    _native.sys_uffd_api(fd, Feature.SIGBUS)
    return fd


def open_perf() -> int:
    """A perf event that counts nothing, for its ring: a mapping of VM_DONTEXPAND. Raises OSError."""
    number = _PERF_EVENT_OPEN.get(os.uname().machine)
    if number is None:
        raise OSError("the number of perf_event_open is not known on this machine")
    software, dummy = 1, 9
    attribute = ctypes.create_string_buffer(_PERF_ATTRIBUTE_BYTES)
    head = b"".join(
        n.to_bytes(size, sys.byteorder) for n, size in ((software, 4), (_PERF_ATTRIBUTE_BYTES, 4), (dummy, 8))
    )
    ctypes.memmove(attribute, head, len(head))
    # Events of the kernel and of the hypervisor excluded: that needs no privilege.
    bits = 1 << 5 | 1 << 6
    ctypes.memmove(ctypes.byref(attribute, 40), bits.to_bytes(8, sys.byteorder), 8)
    libc = ctypes.CDLL(None, use_errno=True)
    fd = int(libc.syscall(number, attribute, 0, -1, -1, 8))
    if fd < 0:
        raise OSError(ctypes.get_errno(), "perf_event_open failed")
    return fd


def able(attempt: Callable[[], int]) -> bool:
    """Whether a descriptor can be opened; it is closed again."""
    try:
        os.close(attempt())
    except OSError:
        return False
    return True


def serve() -> None:
    """Answers requests until standard input ends."""
    ctypes.CDLL(None).prctl(_PR_SET_THP_DISABLE, 1, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    empty = not _view().lines
    say(
        {
            "release": os.uname().release,
            "empty": empty,
            "userfaultfd": able(open_userfaultfd),
            "perf": able(open_perf),
            "mseal": _has_mseal(),
            "vvar": vvar() is not None,
            "maps_write_sealed": _maps_write_sealed(),
            # The ground is used for these.
            "leaks_locked": empty and _leaks_locked(),
            "splits_locked": empty and _splits_locked(),
            "merges_with_source": empty and _merges_with_source(),
            "keeps_charge": empty and _keeps_charge(),
            "locked_bytes": _locked_bytes(),
            "lowest_address": _lowest_address(),
        }
    )
    # What a child writes to is copied for it: the collector would write to every object there is.
    gc.disable()
    gc.freeze()
    for line in iter(sys.stdin.readline, ""):
        ended, told = _in_fresh_process(json.loads(line))
        say(ended | {"told": len(told)})
        sys.stdout.buffer.write(told)
        sys.stdout.buffer.flush()


def _in_fresh_process(request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """How the process ended that made the calls of a sequence, and what it told of them: lines, so that what it told before a
    signal can be read, by the other side."""
    told = os.memfd_create("told")
    try:
        child = os.fork()
        if child == 0:
            os._exit(_run_sequence(request, told))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return {"signal": max(-status, 0), "status": max(status, 0)}, os.pread(told, os.fstat(told).st_size, 0)
    finally:
        os.close(told)


def _run_sequence(request: dict[str, Any], told: int) -> int:
    """The exit status: 1 after an error of this program, which is told as its last words."""
    try:
        _make_calls(request, told)
    except Exception:
        os.write(told, json.dumps({"broken": traceback.format_exc()}).encode() + b"\n")
        return 1
    return 0


def _make_calls(request: dict[str, Any], told: int) -> None:
    side = KernelSide()
    setup, calls_made = request["calls"][: request["setup"]], request["calls"][request["setup"] :]
    for name, arguments in setup:
        side.perform(name, arguments)
    os.write(told, b'{"begun": true}\n')
    away = 0
    for name, arguments in calls_made:
        try:
            kind, number = "value", side.perform(name, [ground.settled(argument, away) for argument in arguments])
        except KernelError as error:
            kind, number = "error", error.errno or 0
        away = number if is_elsewhere(name, Result(kind, number)) else away
        os.write(told, b'{"seen": [["%s", %d], %s]}\n' % (kind.encode(), number, side.view()))


def _has_mseal() -> bool:
    try:
        _native.sys_mseal(0, 0)
    except KernelError:
        return False
    return True


def _maps_write_sealed() -> bool:
    """Whether a memfd that is sealed against writing can be mapped shared, to be read."""
    fd = _native.sys_memfd_create("sealed", _MFD_CLOEXEC | _MFD_ALLOW_SEALING)
    try:
        _native.sys_ftruncate(fd, PAGE)
        _native.sys_add_seals(fd, Seal.WRITE)
        _native.sys_munmap(_native.sys_mmap(0, PAGE, Prot.READ, MapFlag.SHARED, fd), PAGE)
    except KernelError:
        return False
    finally:
        os.close(fd)
    return True


def _view() -> View:
    return view_of(json.loads(look([])))


def _leaks_locked() -> bool:
    """Whether MREMAP_DONTUNMAP of locked pages counts them twice; as the version has it where nothing may be locked."""
    before = _view().locked_pages
    with _locked_pages_moved(_SPLIT_PAGES) as moved:
        return not moved or _view().locked_pages != before + _SPLIT_PAGES


def _splits_locked() -> bool:
    """Whether what MREMAP_DONTUNMAP leaves of a locked mapping stays locked; as the version has it where nothing may be."""
    with _locked_pages_moved(_SPLIT_PAGES // 2) as moved:
        return moved and any(line.start == ground.START and "lo" in line.flags for line in _view().lines)


@contextmanager
def _locked_pages_moved(count: int) -> Iterator[bool]:
    """Has the last `count` pages of a locked mapping moved by MREMAP_DONTUNMAP; false where the mapping could not be locked."""
    length, moved = _SPLIT_PAGES * PAGE, count * PAGE
    _native.sys_mmap(ground.START, length, Prot.READ | Prot.WRITE, MapFlag.PRIVATE | MapFlag.ANONYMOUS | MapFlag.FIXED)
    try:
        _native.sys_mlock(ground.START, length)
        _native.sys_mremap(ground.START + length - moved, moved, moved, _LEAVE, ground.START + 2 * length)
        moved_any = True
    except KernelError:
        moved_any = False
    try:
        yield moved_any
    finally:
        _native.sys_munmap(ground.START, 3 * length)


def _merges_with_source() -> bool:
    """Whether pages that MREMAP_DONTUNMAP moves beside the mapping that had them are one mapping with it."""
    _native.sys_mmap(ground.START, PAGE, Prot.READ | Prot.WRITE, MapFlag.PRIVATE | MapFlag.ANONYMOUS | MapFlag.FIXED)
    try:
        _native.sys_mremap(ground.START, PAGE, PAGE, _LEAVE, ground.START + PAGE)
        return len(_view().lines) == 1
    finally:
        _native.sys_munmap(ground.START, 2 * PAGE)


def _keeps_charge() -> bool:
    """Whether a private mapping is still charged once MREMAP_DONTUNMAP has taken its pages."""
    _native.sys_mmap(ground.START, PAGE, Prot.READ | Prot.WRITE, MapFlag.PRIVATE | MapFlag.ANONYMOUS | MapFlag.FIXED)
    try:
        _native.sys_mremap(ground.START, PAGE, PAGE, _LEAVE, ground.START + 2 * PAGE)
        return any(line.start == ground.START and "ac" in line.flags for line in _view().lines)
    finally:
        _native.sys_munmap(ground.START, 3 * PAGE)


def _locked_bytes() -> int | None:
    """The most that this process may lock, None with the capability CAP_IPC_LOCK."""
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    status = Path("/proc/self/status").read_text()
    capabilities = int(next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), 16)
    return None if capabilities >> _CAP_IPC_LOCK & 1 or limit == resource.RLIM_INFINITY else limit


def _lowest_address() -> int:
    """The lowest address at which this process may map: 0 with the capability CAP_SYS_RAWIO."""
    flags = MapFlag.PRIVATE | MapFlag.ANONYMOUS | MapFlag.FIXED
    try:
        _native.sys_munmap(_native.sys_mmap(0, PAGE, Prot.READ, flags), PAGE)
    except KernelError:
        return int(Path("/proc/sys/vm/mmap_min_addr").read_text())
    return 0


def say(answer: dict[str, Any]) -> None:
    """Sends one line of JSON."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    serve()
