//! What a failed system call leaves behind: the call, its arguments, the errno, and what to do about it.

use std::fmt;

/// Result of a system call.
pub type Result<T> = std::result::Result<T, KernelError>;

/// A system call that failed, with everything needed to act on it.
#[derive(Debug, Clone)]
pub struct KernelError {
    /// Name of the call, with the operation where one call has many (`ioctl(UFFDIO_REGISTER)`).
    pub call: &'static str,
    /// First address the call was about; 0 where it has none.
    pub address: usize,
    /// Length in bytes; 0 where it has none.
    pub length: usize,
    /// What the kernel answered.
    pub errno: i32,
    /// What the person who reads this can do.
    pub remedy: &'static str,
}

impl KernelError {
    /// The error of the call that just failed on this thread.
    #[must_use]
    pub fn last(call: &'static str, address: usize, length: usize, remedy: &'static str) -> Self {
        Self { call, address, length, errno: errno(), remedy }
    }
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed: {}", self.call, std::io::Error::from_raw_os_error(self.errno))?;
        if self.length != 0 {
            write!(f, " (address {:#x}, {} bytes)", self.address, self.length)?;
        }
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "; {}", self.remedy) }
    }
}

impl std::error::Error for KernelError {}

/// The errno of this thread. Safe to call in a signal handler.
#[must_use]
pub fn errno() -> i32 {
    // SAFETY: __errno_location returns a valid pointer to this thread's errno.
    unsafe { *libc::__errno_location() }
}

/// What to do where a filter answers.
pub(crate) const FORBIDDEN: &str =
    "a filter on system calls (a container's seccomp profile) or a security module forbids it: allow it";
/// What to do where a process has too many descriptors, or the machine too many open files.
pub(crate) const DESCRIPTORS: &str = "raise the limit on open files (ulimit -n, fs.file-max), or close some";

/// Whether an errno is what a filter on system calls (seccomp, a security module) answers.
#[must_use]
pub fn is_forbidden(errno: i32) -> bool {
    matches!(errno, libc::EPERM | libc::EACCES | libc::ENOSYS | libc::EOPNOTSUPP)
}
