"""Looking at the ground of this process without changing it: /proc/self/smaps, pagemap, status, and the holes of files."""

from __future__ import annotations

import errno
import os
import re
import sys
from typing import Any

from subduct import KernelError
from subduct.kernel import calls
from subduct.model.differential import ground
from subduct.model.uapi import PAGE

_HEADER = re.compile(rb"([0-9a-f]+)-([0-9a-f]+) (\S{4}) ([0-9a-f]+) \S+ \d+ *(.*)")
# The VmFlags that the model knows.
KNOWN_FLAGS = ("rd", "wr", "sh", "mw", "lo", "de", "dc", "dd", "ac", "rr", "sr", "um", "uw", "ui", "sl")
_PRESENT = 1 << 63
_ENTRY_BYTES = 8
_CHUNK = 1 << 16


def look(files: list[int]) -> list[Any]:
    """Lines, present pages, files, locked pages: the fields of a View."""
    lines = _lines()
    return [lines, _present(lines), [_file(fd) for fd in files], _locked_pages()]


def _lines() -> list[list[Any]]:
    text = b""
    fd = os.open("/proc/self/smaps", os.O_RDONLY)
    try:
        # The ground comes first: reading on would walk the page tables of the whole process.
        while chunk := os.read(fd, _CHUNK):
            text += chunk
            if any(
                int(start, 16) >= ground.LIMIT for start in re.findall(rb"^([0-9a-f]+)-[0-9a-f]+ ", chunk, re.MULTILINE)
            ):
                break
    finally:
        os.close(fd)
    found: list[list[Any]] = []
    for line in text.splitlines():
        header = _HEADER.fullmatch(line)
        if header:
            start, end, protection, offset, name = header.groups()
            if int(start, 16) >= ground.LIMIT:
                break
            found.append([int(start, 16), int(end, 16), protection.decode(), name.decode(), int(offset, 16), []])
        elif line.startswith(b"VmFlags:") and found:
            flags = line.decode().split()[1:]
            found[-1][5] = [flag for flag in KNOWN_FLAGS if flag in flags]
    return [line for line in found if ground.inside(line[0])]


def _present(lines: list[list[Any]]) -> list[list[Any]]:
    found: list[list[Any]] = []
    readable = [(start, end) for start, end, protection, *_ in lines if protection[0] == "r"]
    mapped = [at for at in ground.LANDMARKS if any(line[0] <= at < line[1] for line in lines)]
    fd = os.open("/proc/self/pagemap", os.O_RDONLY)
    try:
        run = os.pread(fd, ground.PAGES * _ENTRY_BYTES, ground.START // PAGE * _ENTRY_BYTES)
        entries = [run[at : at + _ENTRY_BYTES] for at in range(0, len(run), _ENTRY_BYTES)]
        pages = list(zip(ground.pages(), entries, strict=True))
        pages += [(at, os.pread(fd, _ENTRY_BYTES, at // PAGE * _ENTRY_BYTES)) for at in mapped]
    finally:
        os.close(fd)
    for address, entry in pages:
        if int.from_bytes(entry, sys.byteorder) & _PRESENT:
            allowed = any(start <= address < end for start, end in readable)
            found.append([address, _number(address) if allowed else None])
    return found


def _number(address: int) -> int | None:
    try:
        return int.from_bytes(calls.peek(address, _ENTRY_BYTES), sys.byteorder)
    except KernelError:
        return None


def _file(fd: int) -> list[Any]:
    size = os.fstat(fd).st_size
    pages: list[list[int]] = []
    end = 0
    # Large files are sparse, and looked at through their mappings.
    limit = min(size, ground.PAGES * PAGE)
    while end < limit:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            break
        end = os.lseek(fd, start, os.SEEK_HOLE)
        for offset in range(start, min(end, limit), PAGE):
            pages.append([offset // PAGE, int.from_bytes(os.pread(fd, _ENTRY_BYTES, offset), sys.byteorder)])
    return [size, pages]


def _locked_pages() -> int:
    with open("/proc/self/status", "rb") as status:  # noqa: PTH123 - opened at every step
        text = status.read()
    start = text.index(b"VmLck:") + len(b"VmLck:")
    return int(text[start : text.index(b"kB", start)]) * 1024 // PAGE
