//! The bare system calls: arguments as the kernel takes them, the errno as it gives it, nothing checked before.
//!
//! The rest of the crate asks only what it knows the answer to. This module is for those who must be able to ask wrong
//! questions: bindings, self-tests, a model that is compared with the running kernel. It goes past the C library where
//! that would change an argument (`mremap` drops the address of a hint).
//!
//! | module | calls |
//! |---|---|
//! | [`memory`] | `mmap`, `munmap`, `mremap`, `madvise`, `mprotect`, `mlock`, `munlock`, `mseal`, `mincore` |
//! | [`memfd`] | `memfd_create`, `ftruncate`, `fallocate`, seals |
//! | [`uffd`] | `userfaultfd`, its device, its ioctls and its messages |
//! | [`access`] | loads and stores that may fault, and their twins that return an error instead |
//! | [`remedy`] | what to do about an errno of one of these calls |

pub mod access;
pub mod memfd;
pub mod memory;
pub mod remedy;
pub mod uffd;

/// What a bare call returns: its result, or the errno.
pub type Result<T> = std::result::Result<T, i32>;

/// The errno of a call that a signal ended before it did anything.
pub const INTERRUPTED: i32 = libc::EINTR;

/// The result of a system call as the C library reports it: -1 stands for an errno.
fn answer(returned: libc::c_long) -> Result<usize> {
    if returned == -1 { Err(crate::errno()) } else { Ok(returned.cast_unsigned() as usize) }
}

/// As [`answer`], where success says nothing.
fn done(returned: libc::c_long) -> Result<()> {
    answer(returned).map(drop)
}
