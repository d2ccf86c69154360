"""The kinds of mapping that can be asked about."""

from __future__ import annotations

from dataclasses import dataclass

from subduct.model import MapFlag, VmFlag


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of mapping: how it is mapped, what makes it special, and what the old range shows after MREMAP_DONTUNMAP."""

    name: str
    flags: MapFlag
    special: VmFlag = VmFlag.NONE
    old_range: str = ""

    @property
    def memfd(self) -> bool:
        """Whether there is a file behind it that must be made first."""
        return not self.flags & MapFlag.ANONYMOUS


_SAME = "the same pages again: they are in the page cache"
_ANONYMOUS = MapFlag.ANONYMOUS

KINDS = {
    kind.name: kind
    for kind in (
        Kind("memfd-shared", MapFlag.SHARED, old_range=_SAME),
        Kind("memfd-private", MapFlag.PRIVATE, old_range="the file's content: private changes have moved away"),
        Kind("anonymous-private", MapFlag.PRIVATE | _ANONYMOUS, old_range="zeros"),
        Kind("anonymous-shared", MapFlag.SHARED | _ANONYMOUS, old_range=_SAME),
        Kind("perf-ring", MapFlag.SHARED, special=VmFlag.DONTEXPAND),
        Kind("device", MapFlag.SHARED, special=VmFlag.PFNMAP),
    )
}
