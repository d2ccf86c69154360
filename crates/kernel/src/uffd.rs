//! userfaultfd, as far as a collector needs it: shared memory, minor and missing faults, SIGBUS delivery.
//!
//! Works unprivileged (`UFFD_USER_MODE_ONLY`). The calls used on the fault path allocate nothing and report errors as
//! plain numbers.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::{KernelError, Result, errno};

const UFFD_USER_MODE_ONLY: i32 = 1;
const UFFD_API: u64 = 0xAA;

/// A fault in a registered range raises SIGBUS on the thread that touched it (Linux 4.14).
pub const FEATURE_SIGBUS: u64 = 1 << 7;
/// Missing faults on shared memory (Linux 4.11).
pub const FEATURE_MISSING_SHMEM: u64 = 1 << 5;
/// Minor faults on shared memory (Linux 5.14): the page is in the file, but not in the page table.
pub const FEATURE_MINOR_SHMEM: u64 = 1 << 10;

const REGISTER_MODE_MISSING: u64 = 1;
const REGISTER_MODE_MINOR: u64 = 4;

/// Directions of the kernel's ioctl numbering.
const READ: usize = 2;
const READ_WRITE: usize = 3;

const fn number(direction: usize, index: usize, size: usize) -> libc::c_ulong {
    ((direction << 30) | (size << 16) | (0xAA << 8) | index) as libc::c_ulong
}

#[repr(C)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Range {
    start: u64,
    len: u64,
}

#[repr(C)]
struct Register {
    range: Range,
    mode: u64,
    ioctls: u64,
}

#[repr(C)]
struct Continue {
    range: Range,
    mode: u64,
    mapped: i64,
}

const API: libc::c_ulong = number(READ_WRITE, 0x3f, size_of::<Api>());
const REGISTER: libc::c_ulong = number(READ_WRITE, 0, size_of::<Register>());
/// UNREGISTER and WAKE are numbered as if they wrote something back; the kernel's headers say it is too late to mend.
const UNREGISTER: libc::c_ulong = number(READ, 1, size_of::<Range>());
const WAKE: libc::c_ulong = number(READ, 2, size_of::<Range>());
const CONTINUE: libc::c_ulong = number(READ_WRITE, 7, size_of::<Continue>());

/// What `UFFDIO_CONTINUE` did: how far it got, and why it stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Continued {
    /// Bytes mapped by this call, from the start of the range.
    pub mapped: usize,
    /// 0 when the whole range is mapped; else why it stopped (`EEXIST`: the next page is mapped already).
    pub errno: i32,
}

/// An open userfaultfd.
#[derive(Debug)]
pub struct Userfaultfd {
    fd: OwnedFd,
}

impl Userfaultfd {
    /// Opens a descriptor that needs no privilege and asks for `features`. The features can be asked for only once
    /// on a descriptor: to find out which there are, use a throw-away one.
    ///
    /// # Errors
    /// `ENOSYS` or `EPERM` where the call is filtered (containers), `EINVAL` for a feature this kernel lacks.
    pub fn new(features: u64) -> Result<Self> {
        let flags = libc::O_CLOEXEC | libc::O_NONBLOCK | UFFD_USER_MODE_ONLY;
        // SAFETY: the call takes one integer and returns a new descriptor or -1.
        let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, flags) };
        if fd < 0 {
            let remedy = "allow the userfaultfd system call (container seccomp profile), or use delivery=\"pause\"";
            return Err(KernelError::last("userfaultfd(UFFD_USER_MODE_ONLY)", 0, 0, remedy));
        }
        // SAFETY: the descriptor was just created and is owned by nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
        let mut api = Api { api: UFFD_API, features, ioctls: 0 };
        // SAFETY: `api` is the structure UFFDIO_API reads and writes.
        if unsafe { libc::ioctl(fd.as_raw_fd(), API, &raw mut api) } != 0 {
            let remedy = "minor faults on shared memory need Linux 5.14; delivery=\"pause\" works without";
            return Err(KernelError::last("ioctl(UFFDIO_API)", 0, 0, remedy));
        }
        Ok(Self { fd })
    }

    /// Registers a range for missing and minor faults. Both: with minor faults alone the kernel fills a hole with
    /// zeros and says nothing, with missing faults alone it maps pages of the file and says nothing.
    ///
    /// # Errors
    /// `EINVAL` for a range that is not shared memory, `EBUSY` when another descriptor has it, `ENOMEM`.
    pub fn register(&self, address: usize, length: usize) -> Result<()> {
        let range = Range { start: address as u64, len: length as u64 };
        let mut register = Register { range, mode: REGISTER_MODE_MISSING | REGISTER_MODE_MINOR, ioctls: 0 };
        // SAFETY: `register` is the structure UFFDIO_REGISTER reads and writes.
        if unsafe { libc::ioctl(self.raw(), REGISTER, &raw mut register) } != 0 {
            return Err(KernelError::last("ioctl(UFFDIO_REGISTER)", address, length, ""));
        }
        Ok(())
    }

    /// Ends the registration of a range and wakes whoever sleeps in it: the kernel wakes missing faults by itself,
    /// minor faults only when told.
    ///
    /// # Errors
    /// `EINVAL` for an unaligned range, `ENOMEM` when mappings cannot be merged or split.
    pub fn unregister(&self, address: usize, length: usize) -> Result<()> {
        let mut range = Range { start: address as u64, len: length as u64 };
        // SAFETY: `range` is the structure UFFDIO_UNREGISTER reads.
        if unsafe { libc::ioctl(self.raw(), UNREGISTER, &raw mut range) } != 0 {
            return Err(KernelError::last("ioctl(UFFDIO_UNREGISTER)", address, length, ""));
        }
        // SAFETY: as above for UFFDIO_WAKE; its failure would only mean that nobody waits.
        unsafe { libc::ioctl(self.raw(), WAKE, &raw mut range) };
        Ok(())
    }

    /// The descriptor's number, for tables that a signal or fork handler reads.
    #[must_use]
    pub fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// Maps pages that are in the file into a registered range (`UFFDIO_CONTINUE`, Linux 5.14 for shared memory): about
/// 0.3 us a page in batches. Fault path: no allocation, no lock; errno of the thread is changed.
#[must_use]
pub fn continue_pages(fd: RawFd, address: usize, length: usize) -> Continued {
    let range = Range { start: address as u64, len: length as u64 };
    // `mapped` starts at 0: before Linux 6.15 the kernel leaves it alone in some errors.
    let mut arguments = Continue { range, mode: 0, mapped: 0 };
    // SAFETY: `arguments` is the structure UFFDIO_CONTINUE reads and writes.
    if unsafe { libc::ioctl(fd, CONTINUE, &raw mut arguments) } == 0 {
        return Continued { mapped: length, errno: 0 };
    }
    let errno = errno();
    // A negative count repeats the errno: nothing was mapped.
    Continued { mapped: usize::try_from(arguments.mapped).unwrap_or(0), errno }
}

/// Features this kernel offers to an unprivileged descriptor, found with a throw-away one.
///
/// # Errors
/// As [`Userfaultfd::new`].
pub fn features() -> Result<u64> {
    let probe = libc::O_CLOEXEC | libc::O_NONBLOCK | UFFD_USER_MODE_ONLY;
    // SAFETY: as in `Userfaultfd::new`.
    let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, probe) };
    if fd < 0 {
        return Err(KernelError::last("userfaultfd(UFFD_USER_MODE_ONLY)", 0, 0, ""));
    }
    // SAFETY: the descriptor was just created and is owned by nobody else.
    let fd = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
    let mut api = Api { api: UFFD_API, features: 0, ioctls: 0 };
    // SAFETY: `api` is the structure UFFDIO_API reads and writes.
    if unsafe { libc::ioctl(fd.as_raw_fd(), API, &raw mut api) } != 0 {
        return Err(KernelError::last("ioctl(UFFDIO_API)", 0, 0, ""));
    }
    Ok(api.features)
}
