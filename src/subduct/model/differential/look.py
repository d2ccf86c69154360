"""Looking at the ground of this process without changing it.

The process that looks may run on an emulated machine, tens of times slower than the one that compares: looking is native code that
asks with as few calls as it can, and what the kernel answers is left to be read by `sight`.
"""

from __future__ import annotations

from subduct import _native
from subduct.model.differential import ground

_ADDRESSES = [*ground.pages(), *ground.LANDMARKS]


def look(files: list[int]) -> bytes:
    """A list as JSON: the text of /proc/self/smaps up to the ground's end, the ground's present pages with the numbers at their
    start, null where reading is not allowed; the files by their descriptors, each with its size and its filled pages, index and
    number at the start; the pages that count as locked."""
    return _native.sys_look(_ADDRESSES, ground.LIMIT, files)
