//! The protocol by which exactly one thread makes a page ready. All its compare-and-swaps are here.
//!
//! ```text
//!             claim (CAS, acquire)             publish (swap, release)
//!  Pending ------------------------> Claimed ---------------------------> Ready
//!     ^                                 |                                   ^ |
//!     |                   await (CAS)   v         publish (swap, release)   | |
//!     |                              Awaited -------------------------------+ |
//!     +---------------------------------------------------------------------+
//!                       reset, between moves, when no thread looks
//! ```
//!
//! | state | meaning |
//! |---|---|
//! | Pending | nobody has looked at the page since the flip; it is not mapped in the view |
//! | Claimed | one thread fixes or builds it through the shadow; everybody else keeps off |
//! | Awaited | as Claimed, and somebody sleeps until it is published |
//! | Ready | its content is right; whoever finds it unmapped may map it |
//!
//! `[inv.page.claim-once]` Between two resets exactly one `claim` of a page succeeds.
//! `[inv.page.ready-after]` Whoever sees Ready sees everything the claimer wrote before `publish`.

use crate::sync::{Ordering, Word, point, relax};

const PENDING: u32 = 0;
const CLAIMED: u32 = 1;
const AWAITED: u32 = 2;
const READY: u32 = 3;

/// Looks at a claimed page before a waiter goes to sleep.
const SPINS: u32 = if cfg!(loom) { 0 } else { 64 };

/// What an attempt to claim found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The caller now owns the page and must publish it.
    Mine,
    /// Another thread owns it.
    Busy,
    /// It is done.
    Ready,
}

/// The state of one page.
#[repr(transparent)]
pub struct PageState(Word);

impl PageState {
    /// Tries to become the one who makes the page ready.
    #[inline]
    pub fn claim(&self) -> Claim {
        point();
        // Acquire on success: what was done with the page in the last move comes before; the plan and the marks that the
        // claimer is about to use come with the phase of the move. Acquire on failure: [inv.page.ready-after].
        match self.0.compare_exchange(PENDING, CLAIMED, Ordering::Acquire, Ordering::Acquire) {
            Ok(_) => Claim::Mine,
            Err(READY) => Claim::Ready,
            Err(_) => Claim::Busy,
        }
    }

    /// Declares the page ready. Only for the one who claimed it.
    pub fn publish(&self) {
        point();
        // Release: [inv.page.ready-after]. A swap, because a waiter may have changed Claimed to Awaited.
        let before = self.0.swap(READY, Ordering::Release);
        debug_assert!(before == CLAIMED || before == AWAITED, "[inv.page.claim-once] published from state {before}");
        if before == AWAITED {
            self.0.wake_all();
        }
    }

    /// Waits until the page is ready: briefly by looking, then asleep. Fault path: one system call, no lock.
    pub fn wait_ready(&self) {
        let mut attempt = 0;
        loop {
            // Acquire: [inv.page.ready-after].
            let seen = self.0.load(Ordering::Acquire);
            if seen == READY {
                return;
            }
            if attempt < SPINS {
                relax(attempt);
            } else if seen == AWAITED || self.announce_waiter() {
                self.0.wait(AWAITED);
            }
            attempt += 1;
        }
    }

    /// Changes Claimed to Awaited, so that the publisher knows that somebody sleeps. Relaxed: nothing is read on the
    /// strength of it.
    fn announce_waiter(&self) -> bool {
        self.0.compare_exchange(CLAIMED, AWAITED, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Whether the page is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire) == READY
    }
}

#[cfg(not(loom))]
// SAFETY: transparently an AtomicU32, for which zero is Pending; atomics are Sync.
unsafe impl crate::space::table::ZeroIsValid for PageState {}

#[cfg(test)]
impl PageState {
    fn pending() -> Self {
        Self(Word::new(PENDING))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_page_goes_from_pending_to_ready_once() {
        let page = PageState::pending();
        assert_eq!(page.claim(), Claim::Mine);
        assert_eq!(page.claim(), Claim::Busy);
        assert!(!page.is_ready());
        page.publish();
        assert_eq!(page.claim(), Claim::Ready);
        page.wait_ready();
    }

    #[test]
    fn waiters_wake_when_the_page_is_published() {
        let page = PageState::pending();
        assert_eq!(page.claim(), Claim::Mine);
        std::thread::scope(|scope| {
            let waiters: Vec<_> = (0..4).map(|_| scope.spawn(|| page.wait_ready())).collect();
            // One of them is about to sleep, or does.
            while page.0.load(Ordering::Relaxed) != AWAITED {
                std::thread::yield_now();
            }
            page.publish();
            for waiter in waiters {
                waiter.join().unwrap();
            }
        });
        assert!(page.is_ready());
    }
}

/// Model-checked with loom: three threads, of which one is the worker, meet at one page. Every interleaving with at most
/// three preemptions is explored.
#[cfg(all(test, loom))]
mod loom_models {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    struct Page {
        state: PageState,
        content: UnsafeCell<u32>,
    }

    // SAFETY: the protocol under test is what makes access to `content` exclusive; loom checks every access.
    unsafe impl Sync for Page {}
    // SAFETY: as above.
    unsafe impl Send for Page {}

    /// What a fault does: make the page ready or wait for it, then read it.
    fn fault(page: &Page) -> bool {
        let mine = match page.state.claim() {
            Claim::Mine => {
                // SAFETY: claimed: exclusive until published. loom verifies.
                page.content.with_mut(|content| unsafe { *content += 1 });
                page.state.publish();
                true
            }
            Claim::Busy => {
                page.state.wait_ready();
                false
            }
            Claim::Ready => false,
        };
        // SAFETY: ready: written by nobody until the next reset. loom verifies.
        page.content.with(|content| assert_eq!(unsafe { *content }, 1, "[inv.page.ready-after]"));
        mine
    }

    #[test]
    fn loom_exactly_one_thread_makes_a_page_ready_and_all_see_it() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let page = Arc::new(Page { state: PageState::pending(), content: UnsafeCell::new(0) });
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let page = Arc::clone(&page);
                    thread::spawn(move || fault(&page))
                })
                .collect();
            let mut claims = usize::from(fault(&page));
            for thread in threads {
                claims += usize::from(thread.join().unwrap());
            }
            assert_eq!(claims, 1, "[inv.page.claim-once]");
        });
    }
}
