//! A real fault of each kind, served in a SIGBUS handler, in a forked child.
//!
//! The child runs nothing but system calls, on memory of its own: other threads of the parent may have held any lock at
//! the fork. It notes each step in a page it shares with the parent, so that its death is an answer as well.

use std::os::fd::AsFd;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicUsize, Ordering};

use super::Attempt;
use crate::memfd::Memfd;
use crate::memory::Reservation;
use crate::signal::Disposition;
use crate::uffd::{FEATURE_MINOR_SHMEM, FEATURE_MISSING_SHMEM, FEATURE_SIGBUS, Userfaultfd, continue_pages};
use crate::{KernelError, Result, page_size};

const MINOR_MARK: u8 = 0x5d;
const MISSING_MARK: u8 = 0x5e;
/// Longest time the child may take, in seconds.
const PATIENCE_S: u32 = 5;

/// What the child does, in order.
const STEPS: [&str; 6] =
    ["mmap(memfd)", "userfaultfd", "ioctl(UFFDIO_REGISTER)", "sigaction(SIGBUS)", "minor fault", "missing fault"];

// What the handler works with; set in the child only.
static UFFD: AtomicI32 = AtomicI32::new(-1);
static VIEW: AtomicUsize = AtomicUsize::new(0);
static ALIAS: AtomicUsize = AtomicUsize::new(0);

/// How far the child came, in a page that both processes see.
struct Progress {
    /// Steps begun.
    step: AtomicU32,
    /// Errno of the step that failed.
    errno: AtomicI32,
    /// 1 once all steps are done.
    done: AtomicU32,
}

/// The shared page.
struct Shared(*mut Progress);

impl Shared {
    fn new() -> Result<Self> {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        // SAFETY: a fresh mapping at an address of the kernel's choice touches no existing memory.
        let page = unsafe { libc::mmap(ptr::null_mut(), size_of::<Progress>(), prot, flags, -1, 0) };
        if page == libc::MAP_FAILED {
            return Err(KernelError::last("mmap(MAP_SHARED)", 0, size_of::<Progress>(), ""));
        }
        Ok(Self(page.cast()))
    }

    fn progress(&self) -> &Progress {
        // SAFETY: the page is mapped until drop, aligned, zeroed at first (a valid Progress), and all fields are atomic.
        unsafe { &*self.0 }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new`, and references to it end with `self`.
        unsafe { libc::munmap(self.0.cast(), size_of::<Progress>()) };
    }
}

/// Forks a child that takes a minor and a missing fault and serves both in its SIGBUS handler.
pub(super) fn attempt() -> Attempt {
    fork_and_wait().unwrap_or_else(|error| Attempt::from(&error))
}

fn fork_and_wait() -> Result<Attempt> {
    let memfd = Memfd::new("subduct-probe", 2 * page_size())?;
    let shared = Shared::new()?;
    // SAFETY: the child calls nothing but system calls and then _exit.
    let child = unsafe { libc::fork() };
    if child < 0 {
        return Err(KernelError::last("fork", 0, 0, ""));
    }
    if child == 0 {
        run_child(&memfd, shared.progress());
    }
    let mut status = 0;
    // SAFETY: `status` outlives the call. Whatever else ends the loop, the child is gone or somebody else reaps it.
    while unsafe { libc::waitpid(child, &raw mut status, 0) } < 0 && crate::errno() == libc::EINTR {}
    let progress = shared.progress();
    let step = progress.step.load(Ordering::Acquire) as usize;
    let errno = progress.errno.load(Ordering::Acquire);
    Ok(if progress.done.load(Ordering::Acquire) == 1 {
        Attempt::Works
    } else if errno != 0 {
        Attempt::Refused { call: STEPS.get(step).copied().unwrap_or(""), errno }
    } else {
        Attempt::Misbehaves("a fault was not served: the page had the wrong content, or the process that tried it died")
    })
}

fn run_child(memfd: &Memfd, progress: &Progress) -> ! {
    // SAFETY: plain system calls; a handler for SIGALRM that the parent had must not stand in the way of the alarm.
    unsafe {
        libc::signal(libc::SIGALRM, libc::SIG_DFL);
        libc::alarm(PATIENCE_S);
    }
    match take_faults(memfd, progress) {
        Ok(true) => progress.done.store(1, Ordering::Release),
        Ok(false) => {}
        Err(error) => progress.errno.store(error.errno, Ordering::Release),
    }
    // SAFETY: ends the child without running destructors or exit handlers, which belong to the parent.
    unsafe { libc::_exit(0) }
}

/// Whether both pages were read with the content they should have.
fn take_faults(memfd: &Memfd, progress: &Progress) -> Result<bool> {
    let page = page_size();
    let length = 2 * page;
    let begin = |step: u32| progress.step.store(step, Ordering::Release);
    begin(0);
    let ranges = Reservation::new(2 * length, page)?;
    let (view, alias) = (ranges.base(), ranges.base() + length);
    ranges.map_file(view, length, memfd.as_fd(), 0)?;
    ranges.map_file(alias, length, memfd.as_fd(), 0)?;
    // SAFETY: the alias is mapped, writable and not registered; this puts the first page into the file.
    unsafe { (alias as *mut u8).write_volatile(MINOR_MARK) };
    begin(1);
    let uffd = Userfaultfd::new(FEATURE_SIGBUS | FEATURE_MISSING_SHMEM | FEATURE_MINOR_SHMEM)?;
    begin(2);
    uffd.register(view, length)?;
    VIEW.store(view, Ordering::Relaxed);
    ALIAS.store(alias, Ordering::Relaxed);
    UFFD.store(uffd.raw(), Ordering::Release);
    begin(3);
    Disposition::install(libc::SIGBUS, on_fault)?;
    begin(4);
    // SAFETY: the view is mapped; the handler makes the page present.
    let minor = unsafe { (view as *const u8).read_volatile() };
    begin(5);
    // SAFETY: as above.
    let missing = unsafe { ((view + page) as *const u8).read_volatile() };
    Ok(minor == MINOR_MARK && missing == MISSING_MARK)
}

extern "C" fn on_fault(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    let page = page_size();
    // SAFETY: the kernel passes a valid siginfo, and SIGBUS carries an address.
    let address = unsafe { (*info).si_addr() } as usize & !(page - 1);
    let offset = address.wrapping_sub(VIEW.load(Ordering::Relaxed));
    if offset == page {
        // SAFETY: the alias's second page is mapped and writable; writing it fills the hole.
        unsafe { ((ALIAS.load(Ordering::Relaxed) + page) as *mut u8).write_volatile(MISSING_MARK) };
    }
    if offset > page || continue_pages(UFFD.load(Ordering::Acquire), address, page).errno != 0 {
        // SAFETY: returning would fault again for ever.
        unsafe { libc::_exit(1) };
    }
}
