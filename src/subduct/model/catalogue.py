"""All rules of the model but those of mremap: what each call checks, in which versions, and where that is written."""

from __future__ import annotations

from errno import (
    EACCES,
    EAGAIN,
    EBADF,
    EBUSY,
    EEXIST,
    EFAULT,
    EINVAL,
    ENOENT,
    ENOMEM,
    ENOSYS,
    ENOTTY,
    EPERM,
)

from subduct.model.rules import Rule
from subduct.model.version import Version

_MSEAL = Version(6, 10)
_MINOR_SHMEM = Version(5, 14)
_SHARED_FILL = Version(7, 1)

MMAP_RULES = (
    Rule("mmap.offset-unaligned", EINVAL, "The offset in the file is not a multiple of the page size.", "mmap(2)"),
    Rule("mmap.descriptor", EBADF, "The file descriptor is not open.", "mmap(2)"),
    Rule("mmap.length-zero", EINVAL, "The length is 0.", "mmap(2)"),
    Rule("mmap.type", EINVAL, "Neither MAP_SHARED nor MAP_PRIVATE is given.", "mmap(2)"),
    Rule("mmap.too-long", ENOMEM, "The range does not fit into the address space.", "mmap(2)"),
    Rule("mmap.fixed-unaligned", EINVAL, "MAP_FIXED with an address that is not a multiple of the page size.", "mmap(2)"),
    Rule("mmap.below-minimum", EPERM, "MAP_FIXED below vm.mmap_min_addr, without the capability CAP_SYS_RAWIO.", "cap_mmap_addr()"),
    Rule("mmap.occupied", EEXIST, "MAP_FIXED_NOREPLACE, and something is mapped in the range.", "mmap(2)"),
    Rule("mmap.write-sealed", EPERM, "A writable shared mapping of a memfd that is sealed against writing.", "memfd_create(2)"),
    Rule(
        "mmap.write-sealed-read-only",
        EPERM,
        "Any shared mapping of a memfd that is sealed against writing: it could be made writable later.",
        "commit 28464bbb2ddc, which allows it (6.7)",
        until=Version(6, 7),
    ),
    Rule(
        "mmap.seal-checked-first",
        None,
        "The seals are looked at before MAP_FIXED unmaps what is there.",
        "memfd_check_seals_mmap()",
        since=Version(6, 13),
    ),
    Rule(
        "merge.written-into-unwritten",
        None,
        "A mapping with private pages may be merged into a neighbour that never had one.",
        "is_mergeable_anon_vma()",
        since=Version(6, 16),
    ),
)  # fmt: skip

UNMAP_RULES = (
    Rule("munmap.address-unaligned", EINVAL, "The address is not a multiple of the page size.", "munmap(2)"),
    Rule("munmap.length-zero", EINVAL, "The length is 0.", "munmap(2)"),
    Rule("munmap.beyond-end", EINVAL, "The range goes beyond the end of the address space.", "munmap(2)"),
    Rule("munmap.sealed", EPERM, "A mapping in the range is sealed.", "mseal(2)", since=_MSEAL),
    Rule(
        "munmap.splits-first",
        None,
        "The mapping at the start of the range is split before a sealed one behind it is found.",
        "vms_gather_munmap_vmas()",
        since=Version(6, 12),
    ),
)

PROTECT_RULES = (
    Rule("mprotect.address-unaligned", EINVAL, "The address is not a multiple of the page size.", "mprotect(2)"),
    Rule("mprotect.unmapped", ENOMEM, "Not all of the range is mapped; what comes before the gap is changed.", "mprotect(2)"),
    Rule("mprotect.write-sealed", EACCES, "The mapping may not be made writable: its memfd is sealed.", "mprotect(2)"),
    Rule("mprotect.sealed", EPERM, "The mapping is sealed.", "mseal(2)", since=_MSEAL),
    Rule(
        "mprotect.uncharges",
        None,
        "Private anonymous memory that was never written is no longer charged once it is made read-only.",
        "mprotect_fixup()",
        since=Version(6, 6),
    ),
    Rule("mlock.unmapped", ENOMEM, "Not all of the range is mapped; what comes before the gap is locked.", "mlock(2)"),
    Rule("mlock.not-populated", ENOMEM, "A page of the range cannot be faulted in; the range is locked all the same.", "mlock(2)"),
    Rule("mlock.limit", ENOMEM, "More would be locked than RLIMIT_MEMLOCK allows.", "mlock(2)"),
    Rule("mlock.forbidden", EPERM, "RLIMIT_MEMLOCK is 0.", "mlock(2)"),
    Rule("mseal.missing", ENOSYS, "This kernel has no mseal.", "mseal(2)", until=_MSEAL),
    Rule("mseal.shown", None, "VmFlags in /proc/self/smaps shows sealed mappings.", "proc(5)", since=Version(6, 11)),
    Rule("mseal.address-unaligned", EINVAL, "The address is not a multiple of the page size.", "mseal(2)", since=_MSEAL),
    Rule("mseal.unmapped", ENOMEM, "Not all of the range is mapped; nothing is sealed.", "mseal(2)", since=_MSEAL),
)  # fmt: skip

ADVICE_RULES = (
    Rule("madvise.address-unaligned", EINVAL, "The address is not a multiple of the page size.", "madvise(2)"),
    Rule("madvise.unknown", EINVAL, "This version does not know the advice.", "madvise(2)"),
    Rule("madvise.unmapped", ENOMEM, "Not all of the range is mapped; the rest is advised all the same.", "madvise(2)"),
    Rule("madvise.dontneed-locked", EINVAL, "MADV_DONTNEED on a locked mapping, or on one of VM_PFNMAP.", "madvise(2)"),
    Rule("madvise.remove-locked", EINVAL, "MADV_REMOVE on a locked mapping.", "madvise(2)"),
    Rule("madvise.remove-anonymous", EINVAL, "MADV_REMOVE on memory without a file.", "madvise(2)"),
    Rule("madvise.remove-private", EACCES, "MADV_REMOVE on a mapping that is not shared and writable.", "madvise(2)"),
    Rule(
        "madvise.remove-read-only",
        EACCES,
        "MADV_REMOVE on a shared mapping that is not writable now, though it might be made so.",
        "madvise_remove(); commit e8e17ee90eaf (6.7) asks for VM_MAYWRITE instead",
        until=Version(6, 7),
    ),
    Rule("madvise.dodump-special", EINVAL, "MADV_DODUMP on a mapping that is not ordinary memory.", "madvise(2)"),
    Rule(
        "madvise.discard-sealed",
        EPERM,
        "Advice that discards the content of sealed private anonymous memory that is not writable.",
        "mseal(2)",
        since=_MSEAL,
    ),
    Rule("madvise.populate", None, "MADV_POPULATE_READ and MADV_POPULATE_WRITE.", "madvise(2)", since=_MINOR_SHMEM),
    Rule("madvise.populate-special", EINVAL, "Populating a mapping of VM_PFNMAP, or one whose protection forbids it.", "madvise(2)"),
    Rule("madvise.populate-fault", EFAULT, "Populating a page whose access would raise SIGBUS.", "madvise(2)"),
    Rule("fault.in-kernel", EFAULT, "Inside a system call an access that would raise a signal is an error.", "userfaultfd(2)"),
    Rule("fault.around", None, "A read fault maps the cached pages around it, 64 KiB aligned, too.", "do_fault_around()"),
)  # fmt: skip

MEMFD_RULES = (
    Rule("memfd.descriptor", EBADF, "The file descriptor is not open.", "ftruncate(2)"),
    Rule("memfd.size-negative", EINVAL, "The size is negative.", "ftruncate(2)"),
    Rule("memfd.shrink-sealed", EPERM, "The memfd is sealed against shrinking.", "memfd_create(2)"),
    Rule("memfd.grow-sealed", EPERM, "The memfd is sealed against growing.", "memfd_create(2)"),
    Rule("memfd.punch-sealed", EPERM, "The memfd is sealed against writing, and a hole is a write.", "memfd_create(2)"),
    Rule("memfd.range", EINVAL, "The offset is negative, or the length is not positive.", "fallocate(2)"),
    Rule("memfd.seals-sealed", EPERM, "The memfd takes no more seals (F_SEAL_SEAL; without MFD_ALLOW_SEALING from the start).", "fcntl(2)"),
    Rule("memfd.seal-write-mapped", EBUSY, "F_SEAL_WRITE while a shared mapping exists that could be written.", "fcntl(2)"),
)  # fmt: skip

USERFAULTFD_RULES = (
    Rule("uffd.descriptor", EBADF, "The file descriptor is not open.", "ioctl(2)"),
    Rule("uffd.other-descriptor", ENOTTY, "The file descriptor is none of userfaultfd.", "ioctl(2)"),
    Rule("uffd.mode", EINVAL, "No mode of registration, or an unknown one.", "UFFDIO_REGISTER(2const)"),
    Rule("uffd.range", EINVAL, "The range is empty, not of whole pages, or beyond the end of the address space.", "ioctl_userfaultfd(2)"),
    Rule("uffd.register-unmapped", EINVAL, "Nothing is mapped in the range.", "UFFDIO_REGISTER(2const)"),
    Rule("uffd.register-kind", EINVAL, "Only anonymous and shared memory can be registered.", "UFFDIO_REGISTER(2const)"),
    Rule("uffd.minor-anonymous", EINVAL, "Minor faults exist on shared memory only.", "UFFDIO_REGISTER(2const)"),
    Rule("uffd.minor-shmem", EINVAL, "This version knows minor faults on hugetlbfs only.", "userfaultfd(2)", until=_MINOR_SHMEM),
    Rule("uffd.wp-shmem", EINVAL, "This version cannot write-protect shared memory.", "userfaultfd(2)", until=Version(5, 19)),
    Rule("uffd.register-write-sealed", EPERM, "The mapping may never be written: its memfd is sealed.", "UFFDIO_REGISTER(2const)"),
    Rule("uffd.register-busy", EBUSY, "A part of the range is registered with another descriptor.", "UFFDIO_REGISTER(2const)"),
    Rule(
        "uffd.register-keeps-wp",
        EBUSY,
        "A part of the range is registered for write protection already, and the new mode is without it.",
        "seen on Debian's 7.3.4, and not on its 7.2.13",
        since=Version(7, 3),
    ),
    Rule(
        "uffd.unregister-foreign",
        EINVAL,
        "A part of the range is registered with another descriptor.",
        "userfaultfd_unregister()",
        since=Version(6, 17),
    ),
    Rule("uffd.fill-mode", EINVAL, "An unknown mode, or write protection where none is registered.", "UFFDIO_COPY(2const)"),
    Rule("uffd.fill-unregistered", ENOENT, "The range is not inside one registered mapping.", "UFFDIO_COPY(2const)"),
    Rule("uffd.continue-missing", EINVAL, "This version has no UFFDIO_CONTINUE for shared memory.", "userfaultfd(2)", until=_MINOR_SHMEM),
    Rule("uffd.continue-kind", EINVAL, "UFFDIO_CONTINUE on memory that has no page cache.", "UFFDIO_CONTINUE(2const)"),
    Rule("uffd.continue-hole", EFAULT, "The page is not in the page cache: nobody wrote it.", "UFFDIO_CONTINUE(2const)"),
    Rule(
        "uffd.continue-beyond-file",
        EINVAL,
        "The page is beyond the end of the file; later, such a page is a hole as any other.",
        "mfill_atomic_pte_continue(); seen on Debian's 7.0.13, and not on its 7.1.13",
        until=_SHARED_FILL,
    ),
    Rule("uffd.fill-beyond-file", EFAULT, "The page is beyond the end of the file.", "mfill_atomic_install_pte()"),
    Rule(
        "uffd.fill-beyond-shared-file",
        ENOMEM,
        "The page of a shared mapping is beyond the end of the file.",
        "seen on Debian's 7.1.13, and not on its 7.0.13",
        since=_SHARED_FILL,
    ),
    Rule("uffd.fill-present", EEXIST, "The page is there already.", "UFFDIO_COPY(2const)"),
    Rule("uffd.fill-partial", EAGAIN, "A part was filled before an error; the result says how much.", "UFFDIO_COPY(2const)"),
    Rule(
        "uffd.fill-prepares-first",
        None,
        "A private mapping is prepared for pages of its own before the range is checked.",
        "uffd_lock_vma()",
        since=Version(6, 9),
    ),
    Rule(
        "uffd.inside-merges-behind",
        None,
        "A part that is registered or unregistered may be merged with the mapping behind it, also where it begins inside a mapping.",
        "userfaultfd_register(), which passed vma_merge() the offset of the whole mapping before (until 6.4)",
        since=Version(6, 4),
    ),
    Rule("uffd.poison", None, "UFFDIO_POISON is among the calls of a registered range.", "userfaultfd(2)", since=Version(6, 6)),
    Rule("uffd.move", None, "UFFDIO_MOVE is among the calls of a registered range.", "userfaultfd(2)", since=Version(6, 8)),
)  # fmt: skip

OTHER_RULES = MMAP_RULES + UNMAP_RULES + PROTECT_RULES + ADVICE_RULES + MEMFD_RULES + USERFAULTFD_RULES
