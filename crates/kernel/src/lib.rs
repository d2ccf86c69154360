//! The system calls subduct stands on, typed, with what the kernel said when one fails.
//!
//! Nothing here knows what a heap or a collector is. Each module binds one kernel facility:
//!
//! | module | facility |
//! |---|---|
//! | [`memory`] | reservations, views of a memfd, `mremap(MREMAP_DONTUNMAP)`, `madvise` |
//! | [`memfd`] | the sealed, sparse file behind a heap; its exact resident size |
//! | [`uffd`] | userfaultfd: register, unregister, wake, continue |
//! | [`membarrier`] | the process-wide fence that lets mutators run without one |
//! | [`futex`] | sleeping on a word, usable in a signal handler |
//! | [`signal`] | who owns a signal, taking it over, handing it on |
//! | [`thread`] | whether a thread sleeps |
//! | [`time`] | how long a thread has had a processor; sleeping |
//! | [`inject`] | refusing calls on purpose, in tests |
//! | [`placement`] | mappings that own their place and cannot replace foreign memory |
//! | [`probe`] | what this machine allows, found out by trying |
//! | [`look`] | what this process's memory looks like, for a comparison with a model |
//! | [`raw`] | the bare calls, nothing checked: for bindings and self-tests |
//! | [`serving`] | who wakes a thread whose page fault another process failed to serve |

mod error;
pub mod futex;
pub mod huge;
pub mod inject;
pub mod kept;
pub mod look;
pub mod membarrier;
pub mod memfd;
pub mod memory;
pub mod placement;
pub mod probe;
pub mod raw;
pub mod serving;
pub mod signal;
pub mod thread;
pub mod time;
pub mod uffd;

pub use error::{KernelError, Result, errno, is_forbidden};

/// Bytes in 1 GiB: the step of the kernel's fastest page-table move, and the unit of a window.
pub const GIB: usize = 1 << 30;

/// Size of an OS page in bytes, asked from the kernel once.
#[must_use]
pub fn page_size() -> usize {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static SIZE: AtomicUsize = AtomicUsize::new(0);
    // Relaxed: every thread that finds 0 computes the same number.
    let known = SIZE.load(Ordering::Relaxed);
    if known != 0 {
        return known;
    }
    // SAFETY: sysconf has no preconditions.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let size = usize::try_from(size).unwrap_or(4096);
    SIZE.store(size, Ordering::Relaxed);
    size
}
