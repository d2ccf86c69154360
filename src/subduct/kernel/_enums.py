"""The numbers of Linux's user interface, by the names of its headers without their prefixes.

Values are those of the generic headers (x86-64, arm64, riscv64). A version in a comment is the first Linux that knows the
name. Sources: mmap(2), mremap(2), madvise(2), memfd_create(2), fcntl(2), fallocate(2), ioctl_userfaultfd(2), and
include/uapi/linux of Linux 6.18 where the manual pages lag behind.
"""

from enum import IntEnum, IntFlag


class Prot(IntFlag):
    """How pages may be accessed: mmap(2), mprotect(2)."""

    NONE = 0
    READ = 1
    WRITE = 2
    EXEC = 4


class MapFlag(IntFlag):
    """Flags of mmap(2). Exactly one of SHARED, PRIVATE and SHARED_VALIDATE."""

    SHARED = 0x01
    PRIVATE = 0x02
    SHARED_VALIDATE = 0x03  # 4.15
    FIXED = 0x10
    ANONYMOUS = 0x20
    GROWSDOWN = 0x100
    LOCKED = 0x2000
    NORESERVE = 0x4000
    POPULATE = 0x8000
    NONBLOCK = 0x10000
    STACK = 0x20000
    HUGETLB = 0x40000
    SYNC = 0x80000  # 4.15
    FIXED_NOREPLACE = 0x100000  # 4.17
    HUGE_2MB = 21 << 26
    HUGE_1GB = 30 << 26


class RemapFlag(IntFlag):
    """Flags of mremap(2)."""

    MAYMOVE = 1
    FIXED = 2
    DONTUNMAP = 4  # 5.7 private anonymous memory, 5.13 every mapping but VM_DONTEXPAND and VM_PFNMAP ones


class Advice(IntEnum):
    """Advice of madvise(2)."""

    NORMAL = 0
    RANDOM = 1
    SEQUENTIAL = 2
    WILLNEED = 3
    DONTNEED = 4
    FREE = 8  # 4.5
    REMOVE = 9
    DONTFORK = 10
    DOFORK = 11
    MERGEABLE = 12
    UNMERGEABLE = 13
    HUGEPAGE = 14
    NOHUGEPAGE = 15
    DONTDUMP = 16
    DODUMP = 17
    WIPEONFORK = 18  # 4.14
    KEEPONFORK = 19  # 4.14
    COLD = 20  # 5.4
    PAGEOUT = 21  # 5.4
    POPULATE_READ = 22  # 5.14
    POPULATE_WRITE = 23  # 5.14
    DONTNEED_LOCKED = 24  # 5.18
    COLLAPSE = 25  # 6.1
    HWPOISON = 100
    SOFT_OFFLINE = 101
    GUARD_INSTALL = 102  # 6.13
    GUARD_REMOVE = 103  # 6.13


class MemfdFlag(IntFlag):
    """Flags of memfd_create(2)."""

    CLOEXEC = 0x1
    ALLOW_SEALING = 0x2
    HUGETLB = 0x4  # 4.14
    NOEXEC_SEAL = 0x8  # 6.3
    EXEC = 0x10  # 6.3
    HUGE_2MB = 21 << 26
    HUGE_1GB = 30 << 26


class Seal(IntFlag):
    """Seals of a file: fcntl(2), F_ADD_SEALS."""

    SEAL = 0x1
    SHRINK = 0x2
    GROW = 0x4
    WRITE = 0x8
    FUTURE_WRITE = 0x10  # 5.1
    EXEC = 0x20  # 6.3


class FallocFlag(IntFlag):
    """Modes of fallocate(2); 0 allocates."""

    KEEP_SIZE = 0x1
    PUNCH_HOLE = 0x2
    COLLAPSE_RANGE = 0x8
    ZERO_RANGE = 0x10
    INSERT_RANGE = 0x20
    UNSHARE_RANGE = 0x40


class UffdFlag(IntFlag):
    """Flags of userfaultfd(2)."""

    USER_MODE_ONLY = 0x1  # 5.11
    NONBLOCK = 0x800
    CLOEXEC = 0x80000


class Feature(IntFlag):
    """Features of a userfaultfd: UFFDIO_API."""

    PAGEFAULT_FLAG_WP = 1 << 0  # 5.7
    EVENT_FORK = 1 << 1  # 4.11
    EVENT_REMAP = 1 << 2  # 4.11
    EVENT_REMOVE = 1 << 3  # 4.11
    MISSING_HUGETLBFS = 1 << 4  # 4.11
    MISSING_SHMEM = 1 << 5  # 4.11
    EVENT_UNMAP = 1 << 6  # 4.11
    SIGBUS = 1 << 7  # 4.14
    THREAD_ID = 1 << 8  # 4.14
    MINOR_HUGETLBFS = 1 << 9  # 5.13
    MINOR_SHMEM = 1 << 10  # 5.14
    EXACT_ADDRESS = 1 << 11  # 5.18
    WP_HUGETLBFS_SHMEM = 1 << 12  # 5.19
    WP_UNPOPULATED = 1 << 13  # 6.4
    POISON = 1 << 14  # 6.6
    WP_ASYNC = 1 << 15  # 6.7
    MOVE = 1 << 16  # 6.8


class RegisterMode(IntFlag):
    """Which faults a range reports: UFFDIO_REGISTER."""

    MISSING = 1
    WP = 2  # 5.7 private anonymous memory, 5.19 shared memory and hugetlb
    MINOR = 4  # 5.13 hugetlb, 5.14 shared memory


class CopyMode(IntFlag):
    """Modes of UFFDIO_COPY."""

    DONTWAKE = 1
    WP = 2  # 5.7


class ZeropageMode(IntFlag):
    """Modes of UFFDIO_ZEROPAGE."""

    DONTWAKE = 1


class ContinueMode(IntFlag):
    """Modes of UFFDIO_CONTINUE."""

    DONTWAKE = 1
    WP = 2  # 6.4


class MoveMode(IntFlag):
    """Modes of UFFDIO_MOVE (6.8)."""

    DONTWAKE = 1
    ALLOW_SRC_HOLES = 2


class PoisonMode(IntFlag):
    """Modes of UFFDIO_POISON (6.6)."""

    DONTWAKE = 1


class WriteprotectMode(IntFlag):
    """Modes of UFFDIO_WRITEPROTECT (5.7). Without WP the protection is taken away."""

    WP = 1
    DONTWAKE = 2


class EventKind(IntEnum):
    """First byte of a message that is read from a userfaultfd."""

    PAGEFAULT = 0x12
    FORK = 0x13
    REMAP = 0x14
    REMOVE = 0x15
    UNMAP = 0x16


class FaultFlag(IntFlag):
    """What kind of access faulted, and why; neither WP nor MINOR: the page is missing."""

    WRITE = 1
    WP = 2
    MINOR = 4


class Ioctl(IntFlag):
    """Ioctls that UFFDIO_API and UFFDIO_REGISTER report as available, as bits."""

    REGISTER = 1 << 0
    UNREGISTER = 1 << 1
    WAKE = 1 << 2
    COPY = 1 << 3
    ZEROPAGE = 1 << 4
    MOVE = 1 << 5
    WRITEPROTECT = 1 << 6
    CONTINUE = 1 << 7
    POISON = 1 << 8
    API = 1 << 63
