//! Install: how a page that is ready gets into the view, and what is done when the kernel will not have it.
//!
//! | the kernel says | what it means | what is done |
//! |---|---|---|
//! | nothing | mapped | |
//! | `EEXIST` | somebody mapped the next page before us, which is as good | go on behind it |
//! | `EAGAIN`, part done | the next page is mapped already | go on there |
//! | `EAGAIN`, `ENOMEM` | the address space is changing, or memory is short | try again, a bounded number of times |
//! | `EBADF`, `ENOTTY` | somebody else closed the descriptor | go on with its spare; if that is closed, too, and a keeper keeps the registration: leave the page unmapped until the move has ended |
//! | `ENOENT`, `EINVAL`, after the last page | nothing is registered any more | nothing |
//! | anything else, or again too often | this page cannot be mapped | end the registration of what is left of the run: its pages are ready, and an ordinary access finds them in the file |
//!
//! Fault path: no lock, no allocation, no logging.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use subduct_kernel::uffd::is_lost;

use crate::compact::Mover;
use crate::fault::fatal;
use crate::space::PageId;
use crate::sync::yield_now;

/// How often an install is tried again before another way is taken.
const AGAIN_MAX: u32 = 1_000;

/// The descriptor of one move, as plain numbers for the fault path; -1 where there is none.
pub struct Installer {
    userfaultfd: AtomicI32,
    spare: AtomicI32,
    /// Whether the registration stays when both are lost.
    is_kept: AtomicBool,
}

impl Default for Installer {
    fn default() -> Self {
        Self { userfaultfd: AtomicI32::new(-1), spare: AtomicI32::new(-1), is_kept: AtomicBool::new(false) }
    }
}

impl Installer {
    /// Sets the descriptor and its spare for the next move. In the rendezvous of the flip.
    pub(super) fn begin(&self, numbers: Option<[RawFd; 2]>) {
        // Relaxed, here and below: `Mover::begin` publishes both with its phase.
        let [userfaultfd, spare] = numbers.unwrap_or([-1, -1]);
        self.userfaultfd.store(userfaultfd, Ordering::Relaxed);
        self.spare.store(spare, Ordering::Relaxed);
    }

    /// Sets whether somebody keeps the registrations of the next move. Before the flip.
    pub(crate) fn set_kept(&self, is_kept: bool) {
        self.is_kept.store(is_kept, Ordering::Relaxed);
    }

    /// Whether pages need no installing, because the view was never unmapped.
    #[inline]
    pub(super) fn is_software(&self) -> bool {
        self.spare.load(Ordering::Relaxed) < 0 && self.userfaultfd.load(Ordering::Relaxed) < 0
    }

    /// Whether a move goes on with the spare.
    pub(crate) fn is_damaged(&self) -> bool {
        let current = self.current();
        current >= 0 && current == self.spare.load(Ordering::Relaxed)
    }

    fn current(&self) -> RawFd {
        self.userfaultfd.load(Ordering::Relaxed)
    }

    /// Goes over to the spare descriptor. False when it is the one that is lost.
    fn lose(&self, lost: RawFd) -> bool {
        let spare = self.spare.load(Ordering::Relaxed);
        lost != spare && self.userfaultfd.compare_exchange(lost, spare, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

impl Mover {
    /// Maps pages that are ready into the view. False if somebody has closed the descriptor: they are not mapped, and stay registered.
    pub(super) fn install(&self, first: PageId, end: PageId) -> bool {
        if self.installer.is_software() {
            return true;
        }
        let geometry = self.space.geometry();
        let (mut at, stop) = (geometry.page_start(first), geometry.page_start(end));
        let mut again = 0;
        while at < stop {
            let fd = self.installer.current();
            let done = self.space.windows.install(fd, at, stop);
            at += done.mapped as u64;
            match done.errno {
                0 => return true,
                // [kernel.uffd.continue.eexist]
                libc::EEXIST => at += geometry.page_bytes(),
                libc::EAGAIN if done.mapped > 0 => {}
                libc::EAGAIN | libc::ENOMEM if again < AGAIN_MAX => {
                    again += 1;
                    self.counters.installs_again.fetch_add(1, Ordering::Relaxed);
                    yield_now();
                }
                // Lost by this thread, or by another one meanwhile.
                errno if is_lost(errno) && (self.installer.lose(fd) || self.installer.current() != fd) => {}
                // [kernel.uffd.continue.not-registered]
                _ if self.is_ending() => return true,
                // [kernel.uffd.close-ends-registrations] Not yet: the keeper has it open.
                errno if is_lost(errno) && self.installer.is_kept.load(Ordering::Relaxed) => return false,
                // [kernel.uffd.continue.hole]
                errno => {
                    self.expose(at, stop, errno);
                    return true;
                }
            }
        }
        true
    }

    /// Ends the registration of pages that are ready but cannot be mapped: whoever touches them gets them from the file.
    #[cold]
    fn expose(&self, start: u64, end: u64, errno: i32) {
        let windows = &self.space.windows;
        if windows.expose(self.installer.current(), start, end) != 0 {
            fatal("a page can neither be installed nor exposed", windows.view().address(start), errno);
        }
        self.counters.runs_unregistered.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(feature = "simulate")))]
mod tests {
    use super::*;
    use crate::space::{Geometry, Space, Window, Windows};
    use std::sync::Arc;

    /// Somebody else may map a page first, and the move may last for long after.
    #[test]
    fn pages_that_are_mapped_already_are_passed_over() {
        let features = crate::Delivery::Sigbus.features().unwrap();
        let geometry = Geometry::new(subduct_kernel::page_size(), 1 << 30, 1 << 30);
        let windows = Windows::new("subduct-test-install", geometry).unwrap();
        let end = geometry.page_start(PageId(8));
        windows.populate(0, end).unwrap();
        let userfaultfd = windows.try_out(features).unwrap();
        (0..8).for_each(|page| {
            let start = geometry.page_start(PageId(page));
            windows.word(windows.view(), start).store(u64::from(page), Ordering::Relaxed);
        });
        windows.move_view_to_shadow().unwrap();
        windows.arm(&userfaultfd, 0, geometry.window_bytes(Window::Slots)).unwrap();
        let mover = Arc::new(Mover::new(Space::new(windows, 64 << 20).unwrap()).unwrap());
        mover.begin(Some(userfaultfd.usable()));

        let its_mover = Arc::clone(&mover);
        let installing = std::thread::spawn(move || {
            its_mover.install(PageId(2), PageId(5));
            its_mover.install(PageId(2), PageId(5));
            its_mover.install(PageId(0), PageId(8));
        });
        // Each round gives the processor away: even on a busy machine these are more than a few calls need.
        let mut rounds = (0..10_000_000).inspect(|_| std::thread::yield_now());
        assert!(rounds.any(|_| installing.is_finished()), "installing goes on for ever");
        installing.join().unwrap();
        let windows = &mover.space.windows;
        let read = |page| windows.word(windows.view(), geometry.page_start(PageId(page))).load(Ordering::Relaxed);
        assert_eq!((0..8).map(read).collect::<Vec<_>>(), (0..8).collect::<Vec<u64>>());
        assert_eq!(mover.counters.installs_again.load(Ordering::Relaxed), 0);
        assert_eq!(mover.counters.runs_unregistered.load(Ordering::Relaxed), 0);
    }
}
