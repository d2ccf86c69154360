//! The phase of a move, and who is serving pages in it.
//!
//! ```text
//!            begin              ending                 end
//!   IDLE ------------> MOVING ------------> ENDING ------------> IDLE
//!          flip                 all pages            nothing is registered,
//!                               in use are ready     and nobody is serving
//! ```
//!
//! Whoever makes pages ready uses the shadow and the forwarding table, which go when a move is over. A thread can be late: it
//! faults on a page that came into use behind the worker, and is not scheduled until the move is over; or it is the monitor,
//! with a fault that was served meanwhile. `[inv.move.served]` So a server says that it serves and then looks at the phase;
//! the collector sets the phase and then waits for those who serve. One of the two sees the other.
//!
//! Fault path: no lock, no allocation, no logging.

use crate::sync::{AtomicU32, Ordering, fence, relax};

/// No move is under way.
const IDLE: u32 = 0;
/// Pages may be not ready.
const MOVING: u32 = 1;
/// All pages in use are ready; the registration is being ended.
const ENDING: u32 = 2;

/// The phase of a heap's move.
pub struct Phase {
    phase: AtomicU32,
    servers: AtomicU32,
}

/// Says that a thread is serving, as long as it lives.
pub struct Serving<'p>(&'p Phase);

impl Phase {
    /// No move.
    #[must_use]
    pub fn idle() -> Self {
        Self { phase: AtomicU32::new(IDLE), servers: AtomicU32::new(0) }
    }

    /// Whether a move is under way.
    #[inline]
    #[must_use]
    pub fn is_moving(&self) -> bool {
        // Acquire: pairs with `begin`.
        self.phase.load(Ordering::Acquire) != IDLE
    }

    /// Whether all pages in use are ready, or there is no move.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.phase.load(Ordering::Acquire) != MOVING
    }

    /// In the rendezvous of the flip.
    pub fn begin(&self) {
        // Release: whoever sees the move sees the plan and the descriptor.
        self.phase.store(MOVING, Ordering::Release);
    }

    /// Before the registration ends: faults that are on their way are served as before, but may find that there is nothing
    /// left to install into.
    pub fn ending(&self) {
        self.phase.store(ENDING, Ordering::Release);
    }

    /// When nothing is registered any more. Returns when nobody serves, which takes as long as some pages do.
    pub fn end(&self) {
        self.phase.store(IDLE, Ordering::Release);
        // With the fence in `serve`: either the server sees that the move is over, or we see the server.
        fence(Ordering::SeqCst);
        let mut attempt = 0;
        // Acquire: pairs with the end of `Serving`, so that what was done with the shadow is done before it goes.
        while self.servers.load(Ordering::Acquire) != 0 {
            relax(attempt);
            attempt += 1;
        }
    }

    /// Begins to serve. `None` when there is no move: the access that was caught goes through when it is tried again.
    #[must_use]
    pub fn serve(&self) -> Option<Serving<'_>> {
        self.servers.fetch_add(1, Ordering::Relaxed);
        let serving = Serving(self);
        // See `end`.
        fence(Ordering::SeqCst);
        self.is_moving().then_some(serving)
    }
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        // Release: see `end`.
        self.0.servers.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn nobody_serves_outside_a_move() {
        let phase = Phase::idle();
        assert!(phase.serve().is_none() && !phase.is_moving());
        phase.begin();
        assert!(phase.serve().is_some() && phase.is_moving() && !phase.is_ending());
        phase.ending();
        assert!(phase.serve().is_some() && phase.is_moving() && phase.is_ending());
        phase.end();
        assert!(phase.serve().is_none() && !phase.is_moving());
    }
}

/// Model-checked with loom: two late servers and the collector that ends the move; every interleaving with at most three
/// preemptions.
#[cfg(all(test, loom))]
mod loom_models {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    struct Move {
        phase: Phase,
        shadow: UnsafeCell<bool>,
    }

    // SAFETY: the protocol under test orders the accesses to `shadow`; loom checks every one.
    unsafe impl Sync for Move {}
    // SAFETY: as above.
    unsafe impl Send for Move {}

    #[test]
    fn loom_the_shadow_goes_when_nobody_serves() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let moving = Arc::new(Move { phase: Phase::idle(), shadow: UnsafeCell::new(true) });
            moving.phase.begin();
            let servers: Vec<_> = (0..2)
                .map(|_| {
                    let moving = Arc::clone(&moving);
                    thread::spawn(move || {
                        if let Some(_serving) = moving.phase.serve() {
                            // SAFETY: serving: the shadow is there. loom verifies.
                            moving.shadow.with(|shadow| assert!(unsafe { *shadow }, "[inv.move.served]"));
                        }
                    })
                })
                .collect();
            moving.phase.ending();
            moving.phase.end();
            // SAFETY: nobody serves, and nobody will. loom verifies.
            moving.shadow.with_mut(|shadow| unsafe { *shadow = false });
            servers.into_iter().for_each(|server| server.join().unwrap());
        });
    }
}
