//! What to do about a failed call. Each row is a rule of the kernel that the errno can stand for, from the manual pages of
//! the calls (man-pages 6.9) and, where they are silent, tried on Linux 6.18.

use libc::{
    EACCES, EAGAIN, EBADF, EBUSY, EEXIST, EFAULT, EFBIG, EINVAL, EMFILE, ENFILE, ENODEV, ENOENT, ENOMEM, ENOSPC,
    ENOSYS, ENOTTY, EOPNOTSUPP, EPERM, ESRCH, ETXTBSY,
};

/// What the caller can do, as the end of a sentence; empty where nothing is known that the errno does not say.
#[must_use]
pub fn remedy(call: &str, errno: i32) -> &'static str {
    let memory = match call {
        "mmap" => mmap(errno),
        "mremap" => mremap(errno),
        "madvise" => madvise(errno),
        "munmap" | "mprotect" | "mlock" | "munlock" | "mseal" | "mincore" => range(call, errno),
        _ => "",
    };
    let found = match call {
        _ if !memory.is_empty() => memory,
        "memfd_create" | "ftruncate" | "fallocate" | "fcntl(F_ADD_SEALS)" | "fcntl(F_GET_SEALS)" => file(call, errno),
        "userfaultfd" | "ioctl(USERFAULTFD_IOC_NEW)" => creation(errno),
        "process_vm_readv" | "process_vm_writev" => reach(errno),
        _ if call.starts_with("ioctl(UFFDIO_") => ioctl(call, errno),
        _ => "",
    };
    if found.is_empty() { anywhere(errno) } else { found }
}

fn mmap(errno: i32) -> &'static str {
    match errno {
        EINVAL => {
            "address, length and offset must be multiples of the page size, the length not 0; exactly one of MAP_SHARED, MAP_PRIVATE and MAP_SHARED_VALIDATE"
        }
        EACCES => {
            "a shared writable mapping needs a file opened for reading and writing; any mapping needs it opened for reading"
        }
        EPERM => {
            "the file is sealed against writing (F_SEAL_WRITE): map it private or read-only; or the address lies below vm.mmap_min_addr, or in a range sealed by mseal; or a seccomp profile forbids the call"
        }
        EEXIST => "MAP_FIXED_NOREPLACE found the range in use: take another address, or a Reservation",
        ENOMEM => {
            "see vm.max_map_count, vm.overcommit_memory and the limits on address space and data (ulimit -v, ulimit -d); MAP_NORESERVE is not charged; MAP_HUGETLB takes pages that vm.nr_hugepages set aside; a fixed address must lie in the address space"
        }
        ENODEV => "this file cannot be mapped",
        EAGAIN => "locked memory is limited (ulimit -l)",
        EOPNOTSUPP => "MAP_SHARED_VALIDATE refuses a flag that this file does not know",
        _ => "",
    }
}

fn mremap(errno: i32) -> &'static str {
    match errno {
        EINVAL => {
            "the old address must be page-aligned and the new length not 0; FIXED and DONTUNMAP need MAYMOVE, an aligned new address and ranges that do not overlap; DONTUNMAP needs equal lengths, since Linux 5.7 for private anonymous memory and since 5.13 for every mapping but VM_DONTEXPAND and VM_PFNMAP ones"
        }
        EFAULT => {
            "the old range must lie in one mapping: protections, locks, advice or a registration on a part split it; several move at once since Linux 6.17, with FIXED and equal lengths, if none is registered with userfaultfd"
        }
        ENOMEM => {
            "to grow in place there must be room behind the mapping, else pass MAYMOVE; see vm.max_map_count and ulimit -v, which DONTUNMAP charges for both ranges"
        }
        EAGAIN => "locked memory is limited (ulimit -l)",
        EPERM => "the range is sealed (mseal), or a seccomp profile forbids the call",
        _ => "",
    }
}

fn madvise(errno: i32) -> &'static str {
    match errno {
        EINVAL => {
            "the address must be a multiple of the page size, the advice one that this kernel and this kind of mapping know; locked and hugetlb pages refuse DONTNEED"
        }
        ENOMEM => "a part of the range is not mapped (what is mapped was advised), or there is no memory left",
        EPERM => {
            "the range is sealed against losing its content (mseal), or the advice needs CAP_SYS_ADMIN, or a seccomp profile forbids the call"
        }
        EACCES => "REMOVE needs a shared, writable mapping of a file",
        EFAULT => {
            "POPULATE_READ and POPULATE_WRITE found a page that cannot be had: behind the end of the file, or not served by its userfaultfd"
        }
        EBUSY | EAGAIN => "the kernel could not do it now: try again",
        _ => "",
    }
}

fn range(call: &str, errno: i32) -> &'static str {
    match (call, errno) {
        ("mseal", ENOSYS) => "mseal needs Linux 6.10 on a 64-bit machine",
        ("mprotect", EACCES) => {
            "a shared mapping becomes writable only if its file was opened for writing and is not sealed"
        }
        ("mlock", ENOMEM | EPERM | EAGAIN) => {
            "locked memory is limited (ulimit -l), and the whole range must be mapped"
        }
        (_, EINVAL) => "the address must be a multiple of the page size, the length not 0, the flags known",
        ("mprotect", ENOMEM) => {
            "a part of the range is not mapped, or splitting a mapping passes vm.max_map_count, or private memory that becomes writable passes the limit on data (ulimit -d)"
        }
        (_, ENOMEM) => "a part of the range is not mapped, or splitting a mapping passes vm.max_map_count",
        (_, EPERM) => "the range is sealed (mseal), or a seccomp profile forbids the call",
        _ => "",
    }
}

fn file(call: &str, errno: i32) -> &'static str {
    match (call, errno) {
        ("memfd_create", EINVAL) => {
            "the name may have 249 bytes, NOEXEC_SEAL and EXEC exclude each other and need Linux 6.3, HUGETLB needs a page size this machine has"
        }
        ("memfd_create", EPERM) => {
            "a filter forbids the call: the container's seccomp profile, or systemd's SystemCallFilter=, must allow it"
        }
        ("memfd_create", EACCES) => "vm.memfd_noexec forbids executable memfds: pass NOEXEC_SEAL",
        ("ftruncate" | "fallocate", EPERM) => {
            "the file is sealed against this (F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE), or a seccomp profile forbids the call"
        }
        ("ftruncate" | "fallocate", EFBIG) => "files may not be so long: raise the limit (ulimit -f)",
        ("ftruncate" | "fallocate", EINVAL) => {
            "offset and length must not be negative, the length of fallocate not 0; the file must be open for writing"
        }
        ("fallocate", EOPNOTSUPP) => "this file system does not know the mode; PUNCH_HOLE needs KEEP_SIZE",
        ("fallocate", ETXTBSY) => "a running program is in this file",
        ("fcntl(F_ADD_SEALS)", EPERM) => {
            "the file was made without ALLOW_SEALING, or F_SEAL_SEAL was set, or it is not open for writing"
        }
        ("fcntl(F_ADD_SEALS)", EBUSY) => {
            "F_SEAL_WRITE waits until no shared writable mapping is left; F_SEAL_FUTURE_WRITE does not"
        }
        ("fcntl(F_ADD_SEALS)" | "fcntl(F_GET_SEALS)", EINVAL) => {
            "only memfds and files of tmpfs and hugetlbfs have seals, and only the known ones"
        }
        (_, ENOSPC) => "the file system or its limit (tmpfs size, hugetlb pool) has no room left",
        _ => "",
    }
}

fn creation(errno: i32) -> &'static str {
    match errno {
        EPERM => {
            "without CAP_SYS_PTRACE pass USER_MODE_ONLY, or set vm.unprivileged_userfaultfd=1, or open /dev/userfaultfd; in a container, allow the call in its seccomp profile"
        }
        ENOSYS => "this kernel was built without userfaultfd, or a seccomp profile hides it (containers, gVisor)",
        EINVAL => "the flags are CLOEXEC, NONBLOCK and, since Linux 5.11, USER_MODE_ONLY",
        ENOTTY => "/dev/userfaultfd needs Linux 6.1",
        _ => "",
    }
}

fn reach(errno: i32) -> &'static str {
    match errno {
        EFAULT => {
            "a part of the range is not mapped, does not allow this access, lies behind its file's end, or waits for a userfaultfd that serves user mode only"
        }
        EPERM | ENOSYS => "a seccomp profile forbids the call",
        _ => "",
    }
}

fn ioctl(call: &str, errno: i32) -> &'static str {
    match (call, errno) {
        ("ioctl(UFFDIO_API)", EINVAL) => {
            "a descriptor takes this call once, with features that the kernel has: ask a second descriptor for 0 features to see them"
        }
        ("ioctl(UFFDIO_API)", EPERM) => "EVENT_FORK needs CAP_SYS_PTRACE; or a seccomp profile forbids the call",
        ("ioctl(UFFDIO_REGISTER)", EINVAL) => {
            "the range must be mapped, page-aligned and of a kind that serves the mode: MINOR needs shared memory (Linux 5.14) or hugetlb, WP on shared memory Linux 5.19; UFFDIO_API comes first"
        }
        ("ioctl(UFFDIO_REGISTER)", EBUSY) => "another userfaultfd has a part of the range",
        ("ioctl(UFFDIO_REGISTER)", EPERM) => {
            "a shared file mapping must be writable to be registered; or a seccomp profile forbids the call"
        }
        ("ioctl(UFFDIO_COPY)" | "ioctl(UFFDIO_ZEROPAGE)" | "ioctl(UFFDIO_POISON)", EEXIST) => {
            "the first page is there already: somebody else served it; a thread that still sleeps in it goes on after wake()"
        }
        ("ioctl(UFFDIO_CONTINUE)", EEXIST) => {
            "the first page is mapped already: somebody else served it; a thread that still sleeps in it goes on after wake()"
        }
        ("ioctl(UFFDIO_COPY)", EINVAL) => {
            "address and length must be multiples of the page size and lie in one registered mapping; with the mode WP that mapping must be registered for WP, too; UFFDIO_API comes first"
        }
        ("ioctl(UFFDIO_CONTINUE)", EFAULT) => {
            "the file has no page there: write it through another view of the file first"
        }
        ("ioctl(UFFDIO_CONTINUE)", EINVAL) => {
            "only shared memory can be continued (a memfd, shared anonymous memory), in a range registered for MINOR, with the mode WP (Linux 6.4) for WP, too; private anonymous memory takes COPY or ZEROPAGE"
        }
        ("ioctl(UFFDIO_COPY)", EFAULT) => "the source cannot be read",
        ("ioctl(UFFDIO_COPY)", ENOSPC) => "the memory limit of the file or its hugetlb pool is reached",
        ("ioctl(UFFDIO_MOVE)", EINVAL) => {
            "both ranges must be private anonymous memory of this process, the destination registered, the pages not shared with a child; Linux 6.8"
        }
        ("ioctl(UFFDIO_MOVE)", EBUSY) => {
            "a source page is pinned or shared with a child: copy it instead, or set DONTFORK on the source"
        }
        ("ioctl(UFFDIO_MOVE)", EEXIST) => "the first page of the destination is there already",
        ("ioctl(UFFDIO_MOVE)", ENOENT) => "a source page is missing: ALLOW_SRC_HOLES skips it",
        ("ioctl(UFFDIO_ZEROPAGE)", EINVAL) => {
            "the range must be page-aligned, not empty, and mapped; hugetlb memory has no zero page"
        }
        ("ioctl(UFFDIO_WRITEPROTECT)", ENOENT) => "the range is not registered for WP with this descriptor",
        (_, ENOENT) => "the range is not registered with this descriptor",
        (_, ESRCH) => "the process that the descriptor belongs to has ended",
        (_, EAGAIN) => "the layout of the address space is changing: read the waiting events, then try again",
        (_, EINVAL) => {
            "address and length must be multiples of the page size and lie in one registered mapping; the ioctl must be known to this kernel (POISON 6.6, MOVE 6.8) and come after UFFDIO_API"
        }
        _ => "",
    }
}

fn anywhere(errno: i32) -> &'static str {
    match errno {
        EBADF => "the descriptor is closed, or of another kind",
        EMFILE | ENFILE => "close descriptors, or raise their limit (ulimit -n, fs.file-max)",
        ENOMEM => "the machine, or the limit of its control group, has no memory left",
        ENOSYS => "this kernel does not have the call, or a seccomp profile hides it",
        _ => "",
    }
}
