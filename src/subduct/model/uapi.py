"""The kernel's numbers that the modelled calls take: include/uapi/asm-generic/mman*.h, linux/mman.h, memfd.h, falloc.h,
userfaultfd.h, as on x86-64 and arm64."""

from __future__ import annotations

from enum import IntEnum, IntFlag

PAGE = 4096
# Entries in each level of a page table: a table of PTEs spans 2 MiB, one of PMDs 1 GiB.
PMD = 512 * PAGE
PUD = 512 * PMD
# User addresses end here (four levels of page tables, x86-64: a page below 2**47).
TASK_SIZE = (1 << 47) - PAGE
# Arguments are unsigned long.
WORD = 1 << 64


def page_up(length: int) -> int:
    """The length in bytes rounded up to pages, as a 64-bit number: the largest lengths round to 0."""
    return (length + PAGE - 1) % WORD & -PAGE


class Prot(IntFlag):
    """Page protection: PROT_*."""

    NONE = 0
    READ = 1
    WRITE = 2


class MapFlag(IntFlag):
    """How mmap maps: MAP_*."""

    SHARED = 0x01
    PRIVATE = 0x02
    FIXED = 0x10
    ANONYMOUS = 0x20
    FIXED_NOREPLACE = 0x100000


class RemapFlag(IntFlag):
    """How mremap remaps: MREMAP_*."""

    MAYMOVE = 1
    FIXED = 2
    DONTUNMAP = 4


class Advice(IntEnum):
    """The advice of madvise that the model knows: MADV_*."""

    NORMAL = 0
    RANDOM = 1
    SEQUENTIAL = 2
    DONTNEED = 4
    REMOVE = 9
    DONTFORK = 10
    DOFORK = 11
    DONTDUMP = 16
    DODUMP = 17
    POPULATE_READ = 22
    POPULATE_WRITE = 23


class Seal(IntFlag):
    """What can be sealed about a memfd: F_SEAL_*."""

    SEAL = 1
    SHRINK = 2
    GROW = 4
    WRITE = 8


class RegisterMode(IntFlag):
    """Which faults a userfaultfd registration catches: UFFDIO_REGISTER_MODE_*."""

    MISSING = 1
    WP = 2
    MINOR = 4


class Feature(IntFlag):
    """Features of a userfaultfd descriptor that change what the modelled calls do: UFFD_FEATURE_*."""

    EVENT_REMAP = 1 << 2
    MISSING_SHMEM = 1 << 5
    SIGBUS = 1 << 7
    MINOR_SHMEM = 1 << 10


# Bits of the `ioctls` that UFFDIO_REGISTER returns.
IOCTL_WAKE, IOCTL_COPY, IOCTL_ZEROPAGE, IOCTL_MOVE = 1 << 2, 1 << 3, 1 << 4, 1 << 5
IOCTL_WRITEPROTECT, IOCTL_CONTINUE, IOCTL_POISON = 1 << 6, 1 << 7, 1 << 8
