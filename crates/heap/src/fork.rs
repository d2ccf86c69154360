//! A forked child has no heap: its memory is not inherited, its descriptors are closed, and its first use says so.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

use subduct_kernel::KernelError;
use subduct_kernel::kept::FileId;

use crate::fault::handler;

/// Descriptors that a child closes: two memfds and a userfaultfd with its spare for each of 256 heaps.
const DESCRIPTORS_MAX: usize = 1024;

static FORKS: AtomicU64 = AtomicU64::new(0);
/// The inode where nobody may look what it is.
const UNKNOWN: u64 = u64::MAX;
/// No descriptor.
const NONE: RawFd = -1;
/// A place that is being filled. A child that is forked then keeps that descriptor, which costs it memory only.
const FILLING: RawFd = -2;

/// A descriptor that a child closes, and what tells its file from one that somebody else has put under its number since.
struct Place {
    fd: AtomicI32,
    device: AtomicU64,
    inode: AtomicU64,
}

static PLACES: [Place; DESCRIPTORS_MAX] =
    [const { Place { fd: AtomicI32::new(NONE), device: AtomicU64::new(0), inode: AtomicU64::new(0) } };
        DESCRIPTORS_MAX];

/// How many forks lie between this process and the first that asked. A heap of another number is not ours.
#[inline]
#[must_use]
pub fn generation() -> u64 {
    // Relaxed: a child has one thread when the number changes.
    FORKS.load(Ordering::Relaxed)
}

/// Runs in a child, before anything else does. Async-signal-safe.
extern "C" fn in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    handler::forget_all();
    for place in &PLACES {
        let fd = place.fd.swap(NONE, Ordering::Relaxed);
        let (device, inode) = (place.device.load(Ordering::Relaxed), place.inode.load(Ordering::Relaxed));
        let id = (inode != UNKNOWN).then_some(FileId { device, inode });
        if fd >= 0 && FileId::is_at(id, fd) {
            // [kernel.uffd.fork.child-keeps-registration] [kernel.uffd.fork.child-serves-parent]
            // SAFETY: the child's copy of a descriptor that only its parent's heap uses; the owning object is never
            // dropped in a child (see `Shared`).
            unsafe { libc::close(fd) };
        }
    }
}

/// Makes children notice, from the first call on.
///
/// No `Once`, which another thread may be inside of when this process forks: the child would wait for that thread for ever. Threads
/// that call this at the same time for the first time have the handler run twice in each child, and the second run finds nothing to do.
///
/// # Errors
/// There is no memory for it.
pub fn watch() -> Result<(), KernelError> {
    static IS_WATCHED: AtomicBool = AtomicBool::new(false);
    // Relaxed: it guards nothing, and who sees it too late registers once more.
    if IS_WATCHED.load(Ordering::Relaxed) {
        return Ok(());
    }
    // SAFETY: the handler is a plain function that lives for ever and is async-signal-safe.
    let errno = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    if errno != 0 {
        let remedy = "give the process more memory";
        return Err(KernelError { call: "pthread_atfork", address: 0, length: 0, errno, remedy });
    }
    IS_WATCHED.store(true, Ordering::Relaxed);
    Ok(())
}

/// Has children close a descriptor. Without a free place it stays open in children, which costs them memory only.
pub fn close_in_child(fd: RawFd) {
    let FileId { device, inode } = match FileId::of(fd) {
        Ok(id) => id,
        Err(libc::EBADF) => return,
        Err(_) => FileId { device: 0, inode: UNKNOWN },
    };
    for place in &PLACES {
        if place.fd.compare_exchange(NONE, FILLING, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            place.device.store(device, Ordering::Relaxed);
            place.inode.store(inode, Ordering::Relaxed);
            // Release: a child that finds the number finds what it leads to.
            place.fd.store(fd, Ordering::Release);
            return;
        }
    }
}

/// Forgets a descriptor that is about to be closed here.
pub fn forget(fd: RawFd) {
    for place in &PLACES {
        let _ = place.fd.compare_exchange(fd, NONE, Ordering::Relaxed, Ordering::Relaxed);
    }
}
