"""The rules of mremap, and the order in which each version goes through them."""

from __future__ import annotations

from errno import EAGAIN, EFAULT, EINVAL, ENOMEM, EPERM

from subduct.model.rules import Rule
from subduct.model.version import OLDEST, Version

_WIDENED = Version(5, 13)
_MSEAL = Version(6, 10)
_REWRITTEN = Version(6, 15)
_SEVERAL = Version(6, 17)
_MENDED = Version(7, 3)

_MAN = "mremap(2)"

MREMAP_RULES = (
    Rule("mremap.flags", EINVAL, "A flag that does not exist.", _MAN),
    Rule("mremap.fixed-without-maymove", EINVAL, "MREMAP_FIXED without MREMAP_MAYMOVE.", _MAN),
    Rule("mremap.dontunmap-without-maymove", EINVAL, "MREMAP_DONTUNMAP without MREMAP_MAYMOVE: it always moves.", _MAN),
    Rule("mremap.dontunmap-resizes", EINVAL, "MREMAP_DONTUNMAP with two different sizes: it does not resize.", _MAN),
    Rule("mremap.address-unaligned", EINVAL, "The old address is not a multiple of the page size.", _MAN),
    Rule("mremap.new-length-zero", EINVAL, "The new size is 0 when rounded up to pages.", _MAN),
    Rule("mremap.new-length-too-long", EINVAL, "The new size is larger than the address space.", "check_mremap_params()"),
    Rule(
        "mremap.new-address-unaligned",
        EINVAL,
        "The new address is not a multiple of the page size; with MREMAP_DONTUNMAP this counts even for a mere hint.",
        _MAN,
    ),
    Rule("mremap.new-range-beyond-end", EINVAL, "The new range goes beyond the end of the address space.", "mremap_to()"),
    Rule(
        "mremap.overlap",
        EINVAL,
        "The old range and the new one overlap; with MREMAP_DONTUNMAP this counts even for a mere hint.",
        _MAN,
    ),
    Rule("mremap.too-many-mappings", ENOMEM, "The process is about to have more mappings than vm.max_map_count.", _MAN),
    Rule("mremap.unmapped", EFAULT, "Nothing is mapped at the old address.", _MAN),
    Rule("mremap.sealed", EPERM, "The mapping is sealed.", "mseal(2)", since=_MSEAL),
    Rule(
        "mremap.duplicate-private",
        EINVAL,
        "Old size 0, which asks for a second mapping of the same pages: private mappings share no pages.",
        _MAN,
    ),
    Rule(
        "mremap.dontunmap-shared",
        EINVAL,
        "MREMAP_DONTUNMAP on a mapping that is not private anonymous memory: these versions move nothing else that way.",
        "commit e346b3813067 (5.7); lifted by commit a4609387859f (5.13)",
        until=_WIDENED,
    ),
    Rule(
        "mremap.dontunmap-dontexpand",
        EINVAL,
        "MREMAP_DONTUNMAP on a mapping of VM_DONTEXPAND (perf, aio and io_uring rings): it is meant to exist once, and the "
        "old range, which stays, could not fault its pages in again.",
        "commit a4609387859f",
        since=_WIDENED,
    ),
    Rule(
        "mremap.dontunmap-pfnmap",
        EINVAL,
        "MREMAP_DONTUNMAP on a mapping of VM_PFNMAP (device memory, vvar): its pages have no struct page behind them, and "
        "the old range, which stays, could not fault them in again.",
        "commit a4609387859f",
        since=_WIDENED,
    ),
    Rule("mremap.crosses-end", EFAULT, "The old range goes beyond the end of the mapping at the old address.", _MAN),
    Rule("mremap.growth-index", EINVAL, "The grown mapping would lie beyond the largest offset of a file.", "vma_to_resize()"),
    Rule("mremap.growth-special", EFAULT, "A mapping of VM_DONTEXPAND or VM_PFNMAP cannot grow.", "vma_to_resize()"),
    Rule("mremap.locked-limit", EAGAIN, "The grown mapping is locked, and RLIMIT_MEMLOCK does not allow that much.", _MAN),
    Rule("mremap.address-space-limit", ENOMEM, "The process would exceed RLIMIT_AS.", "getrlimit(2)"),
    Rule(
        "mremap.dontunmap-address-space-limit",
        ENOMEM,
        "With MREMAP_DONTUNMAP the old range and the new one both count, and together they exceed RLIMIT_AS.",
        "mremap_to()",
    ),
    Rule("mremap.below-minimum", EPERM, "MREMAP_FIXED below vm.mmap_min_addr, without the capability CAP_SYS_RAWIO.", "cap_mmap_addr()"),
    Rule("mremap.no-place", ENOMEM, "The address space has no free range of the new size.", "get_unmapped_area()"),
    Rule("mremap.no-room", ENOMEM, "The mapping cannot grow where it is, and MREMAP_MAYMOVE is not given.", _MAN),
    Rule(
        "mremap.several-gap",
        EFAULT,
        "Nothing is mapped at the start of the old range.",
        "remap_move()",
        since=_SEVERAL,
    ),
    Rule(
        "mremap.several-registered",
        EFAULT,
        "The old range goes beyond one mapping, and one in it is registered with userfaultfd; those before that have moved.",
        "vma_multi_allowed()",
        since=_SEVERAL,
    ),
    Rule(
        "mremap.several-mappings",
        None,
        "MREMAP_FIXED with equal sizes may move several mappings at once, the gaps between them kept.",
        "remap_move()",
        since=_SEVERAL,
    ),
    Rule("mremap.old-unlocked", None, "MREMAP_DONTUNMAP unlocks the whole mapping that it takes pages from.", _MAN),
    Rule(
        "mremap.unlocks-part",
        None,
        "MREMAP_DONTUNMAP splits a locked mapping, and unlocks only the part that it takes pages from.",
        "seen on Debian's 6.1 and 6.12, and neither on its 5.10 nor on 6.18",
        since=Version(6, 1),
        until=_REWRITTEN,
    ),
    Rule(
        "mremap.locked-leak",
        None,
        "MREMAP_DONTUNMAP of a locked mapping counts the moved pages as locked once more, and for ever.",
        "vrm_stat_account(); seen on Debian's 7.2.6, and neither on its 7.2.9 nor on its 7.3.4",
        since=_REWRITTEN,
        until=_MENDED,
    ),
    Rule(
        "mremap.splits-locked",
        None,
        "MREMAP_DONTUNMAP of a part of a locked mapping splits it, and unlocks only the part that it takes pages from.",
        "seen on Debian's 7.2.11 and 7.3.4, and not on its 7.2.9",
        since=_MENDED,
    ),
    Rule(
        "mremap.merges-with-source",
        None,
        "Private memory that was never written, moved by MREMAP_DONTUNMAP to where it continues the mapping that it is taken "
        "from, is merged with that mapping.",
        "seen on Debian's 7.2.9, and neither on its 7.2.11 nor on its 7.3.4",
        until=_MENDED,
    ),
    Rule(
        "mremap.account-lost",
        None,
        "The mapping that MREMAP_DONTUNMAP leaves behind is no longer charged (VM_ACCOUNT).",
        "vrm_uncharge(); mended by commit 0e59f47c15ce in 6.18-rc3, and in 6.17 by a later release: not seen on Debian's "
        "6.17.13",
        since=_REWRITTEN,
        until=Version(6, 18),
    ),
    Rule(
        "mremap.account-spills",
        None,
        "MREMAP_DONTUNMAP of pages inside a charged mapping has the next mapping, whatever it is, charged, too (VM_ACCOUNT), unless "
        "the pages come to lie beside it and the kernel makes one mapping of both.",
        "move_vma(), as if it had split the mapping; seen on Debian's 5.10, and not on its 6.1",
        until=Version(5, 11),
    ),
    Rule(
        "mremap.old-stays-registered",
        None,
        "The mapping that MREMAP_DONTUNMAP leaves behind keeps its registration with userfaultfd.",
        "userfaultfd(2)",
    ),
    Rule(
        "mremap.new-unregistered",
        None,
        "The moved mapping loses its registration with userfaultfd, unless the descriptor has EVENT_REMAP.",
        "mremap_userfaultfd_prep()",
    ),
    Rule(
        "mremap.registered-apart",
        None,
        "A mapping that loses its registration with userfaultfd by moving is not merged where it arrives.",
        "seen on Debian's 7.3.4, and not on its 7.2.13",
        since=_MENDED,
    ),
    Rule("mremap.unwritten-reindexed", None, "Private memory that was never written may merge where it is moved to.", "copy_vma()"),
    Rule(
        "mremap.growth-merges",
        None,
        "A mapping that grows up to the next one is merged with it where they continue each other.",
        "commit ca3d76b0aa80",
        since=Version(6, 0),
    ),
    Rule(
        "mremap.old-unwritten",
        None,
        "A private mapping that MREMAP_DONTUNMAP leaves behind whole counts as never written, for merging.",
        "commit 1583aa278f95",
        since=_WIDENED,
    ),
    Rule("tables.pmd", None, "Tables of 2 MiB are moved as a whole (HAVE_MOVE_PMD).", "commit 2c91bd4a4e2e (5.0)"),
    Rule(
        "tables.pud",
        None,
        "Tables of 1 GiB are moved as a whole (HAVE_MOVE_PUD; x86-64, arm64, riscv, powerpc).",
        "commit c49dd3401802",
        since=Version(5, 11),
    ),
    Rule(
        "tables.registered-by-entry",
        None,
        "A mapping that is registered with userfaultfd without EVENT_REMAP is moved entry by entry (CVE-2025-21696; also in "
        "later releases of older versions).",
        "commit 0cef0bb836e3",
        since=Version(6, 13),
    ),
    Rule(
        "tables.realigned",
        None,
        "A move that begins inside a table of 2 MiB with nothing mapped before it there begins at the table's start.",
        "commit af8ca1c14906",
        since=Version(6, 7),
    ),
)  # fmt: skip

# What is done once it is known that nothing speaks against it: growth checks come with the resize.
_GROWTH = ("mremap.growth-index", "mremap.growth-special", "mremap.locked-limit", "mremap.address-space-limit")
_RESIZE = (
    "mremap.duplicate-private",
    "mremap.dontunmap-shared",
    "mremap.dontunmap-dontexpand",
    "mremap.dontunmap-pfnmap",
    "mremap.crosses-end",
    *_GROWTH,
)
_TARGET = (
    "mremap.new-address-unaligned",
    "mremap.new-length-too-long",
    "mremap.new-range-beyond-end",
    "mremap.overlap",
)
_MOVE = ("mremap.dontunmap-address-space-limit", "mremap.below-minimum", "move")

_FLAGS = ("mremap.fixed-without-maymove", "mremap.dontunmap-without-maymove", "mremap.dontunmap-resizes")
_FLAGS_FIRST = (
    "mremap.flags",
    *_FLAGS,
    "mremap.address-unaligned",
    "round lengths",
    "mremap.new-length-zero",
)
_FIND = ("find mapping", "mremap.unmapped")
_PREPARE = (*_FIND, "mremap.sealed")
_TO = (*_TARGET, "mremap.too-many-mappings", "unmap destination", "shrink", *_FIND, *_RESIZE, *_MOVE)
_GROW = (*_RESIZE, "grow in place", "mremap.no-room", "mremap.no-place", "move")
_AT = ("stay or shrink", *_FIND, *_GROW)

# For each call three orders: "entry" is what every call goes through; then "to" if the flags imply a new address (FIXED or
# DONTUNMAP), "at" otherwise. Steps with a dot are rules that may refuse; the others do something.
_ORDERS: dict[Version, dict[str, tuple[str, ...]]] = {
    OLDEST: {"mremap.entry": _FLAGS_FIRST, "mremap.to": _TO, "mremap.at": _AT},
    # Since commit 550a7d60bd5e the mapping is looked up before anything else is done.
    Version(5, 16): {"mremap.entry": (*_FLAGS_FIRST, *_PREPARE), "mremap.to": _TO, "mremap.at": _AT},
    _REWRITTEN: {
        "mremap.entry": (
            "mremap.flags",
            "mremap.address-unaligned",
            "mremap.new-length-zero",
            "mremap.new-address-unaligned",
            *_FLAGS,
            "mremap.too-many-mappings",
            "round lengths",
            *_PREPARE,
        ),
        "mremap.to": (*_TARGET[1:], "unmap destination", "shrink", *_FIND, *_RESIZE, *_MOVE),
        "mremap.at": _AT,
    },
    _SEVERAL: {
        "mremap.entry": (
            "round lengths",
            "mremap.flags",
            "mremap.address-unaligned",
            "mremap.new-length-zero",
            "mremap.new-length-too-long",
            "mremap.new-range-beyond-end",
            "mremap.new-address-unaligned",
            *_FLAGS,
            "mremap.overlap",
            "mremap.too-many-mappings",
        ),
        "mremap.to": (*_PREPARE, *_RESIZE, "unmap destination", *_FIND, "shrink", *_MOVE),
        "mremap.at": (*_PREPARE, "stay or shrink", *_GROW),
    },
}


def mremap_orders(version: Version) -> dict[str, tuple[str, ...]]:
    """The orders of a version, by name."""
    return _ORDERS[max(first for first in _ORDERS if first <= version)]
