"""What a look saw, in the terms of a comparison."""

from __future__ import annotations

import re
from typing import Any

from subduct.model.differential import ground
from subduct.model.differential.call import FileView, Line, View

_HEADER = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) ([0-9a-f]+) \S+ \d+ *(.*)")
# The VmFlags that the model knows.
KNOWN_FLAGS = ("rd", "wr", "sh", "mw", "lo", "de", "dc", "dd", "ac", "rr", "sr", "um", "uw", "ui", "sl")


def view_of(seen: list[Any]) -> View:
    """The view that the fields of a look give."""
    text, present, files, locked_pages = seen
    return View(
        lines_of(text),
        tuple((address, number) for address, number in present),
        tuple(FileView(size, tuple((index, value) for index, value in pages)) for size, pages in files),
        locked_pages,
    )


def lines_of(text: str) -> tuple[Line, ...]:
    """The mappings of the ground in the text of smaps."""
    found: list[Line] = []
    for line in text.splitlines():
        header = _HEADER.fullmatch(line)
        if header:
            start, end, protection, offset, name = header.groups()
            if int(start, 16) >= ground.LIMIT:
                break
            found.append(Line(int(start, 16), int(end, 16), protection, name, int(offset, 16), ()))
        # What differs between kernels and means nothing here: the flags of a perf ring.
        elif line.startswith("VmFlags:") and found and "perf_event" not in found[-1].name:
            flags = line.split()[1:]
            found[-1] = found[-1]._replace(flags=tuple(flag for flag in KNOWN_FLAGS if flag in flags))
    return tuple(line for line in found if ground.inside(line.start))
