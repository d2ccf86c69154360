"""Kernel versions, as far as rules differ between them."""

from __future__ import annotations

import re
from typing import NamedTuple


class Version(NamedTuple):
    """A kernel version: the two numbers that rules change with. Later ones compare greater."""

    major: int
    minor: int

    @classmethod
    def parse(cls, text: str) -> Version:
        """The version in a release name such as "6.1", "6.12.38-amd64" or "v5.13-rc2". ValueError for anything else."""
        found = re.match(r"v?(\d{1,3})\.(\d{1,3})(?![\d])", text)
        if not found:
            raise ValueError(f"not a kernel version: {text!r}")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


# MREMAP_DONTUNMAP came with it; before, there is nothing to model.
OLDEST = Version(5, 7)
# The version that the model was last compared with, event by event.
NEWEST = Version(7, 3)
