//! The rendezvous: how the collector waits until no thread is inside a heap operation, and keeps them out for a moment.
//!
//! Each thread has a *presence* word that it alone writes; each heap has one *gate*. Entering an operation is a store
//! to the presence, a compiler fence and a load of the gate. Closing the gate is a store, a membarrier and a look at
//! every presence. Of the two sides at least one sees the other:
//!
//! ```text
//!    mutator: presence = Inside; (light fence); gate?        collector: gate = Closed; (heavy fence); presences?
//! ```
//!
//! `[inv.gate.exclusive]` From the return of `close` to `open`, no thread is inside an operation.
//! `[inv.gate.visible]` What a thread did in operations before is visible to the collector inside the rendezvous, and
//! what the collector did there is visible to operations after it.

use crate::sync::{Ordering, Word, heavy_fence, light_fence, point, relax};

const OUTSIDE: u32 = 0;
const INSIDE: u32 = 1;

const OPEN: u32 = 0;
const CLOSED: u32 = 1;

/// Looks at a closed gate before a thread goes to sleep.
const GATE_SPINS: u32 = if cfg!(loom) { 0 } else { 32 };
/// Looks at a thread that is inside before the collector goes to sleep: some microseconds, longer than a usual operation. A
/// thread that takes longer is likely not running; the processor that the collector then leaves free can take it.
const PRESENCE_SPINS: u32 = if cfg!(loom) { 0 } else { 500 };

/// Whether one thread is inside an operation on one heap.
pub struct Presence(Word);

/// Whether threads may enter operations on one heap.
pub struct Gate(Word);

impl Default for Presence {
    fn default() -> Self {
        Self(Word::new(OUTSIDE))
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self(Word::new(OPEN))
    }
}

impl Presence {
    /// Enters an operation, waiting while the gate is closed.
    #[inline]
    pub fn enter(&self, gate: &Gate) {
        loop {
            // Relaxed: the heavy fence of the other side makes this store visible, or makes us see the closed gate.
            self.0.store(INSIDE, Ordering::Relaxed);
            light_fence();
            point();
            // Acquire: [inv.gate.visible], pairs with the release in `open`.
            if gate.0.load(Ordering::Acquire) == OPEN {
                return;
            }
            self.exit(gate);
            gate.wait_open();
        }
    }

    /// Leaves an operation.
    #[inline]
    pub fn exit(&self, gate: &Gate) {
        // Release: [inv.gate.visible], pairs with the acquire in `close`.
        self.0.store(OUTSIDE, Ordering::Release);
        light_fence();
        point();
        // The collector may sleep on this word. If this load misses the closed gate, then it comes before the collector's
        // heavy fence, which then makes the store visible before the collector looks.
        if gate.is_closed() {
            self.0.wake_all();
        }
    }

    /// Whether the owning thread is inside an operation; exact for the owner only.
    #[must_use]
    pub fn is_inside(&self) -> bool {
        self.0.load(Ordering::Relaxed) == INSIDE
    }
}

impl Gate {
    /// Whether a long operation should let the collector in.
    #[inline]
    #[must_use]
    pub fn is_closed(&self) -> bool {
        // Relaxed: a hint; the decision is made in `enter`.
        self.0.load(Ordering::Relaxed) == CLOSED
    }

    /// Closes the gate and waits until every thread is outside. The caller makes sure that no presence is added and
    /// that nobody else closes the gate until `open`.
    pub fn close<'p>(&self, presences: impl Iterator<Item = &'p Presence>) {
        // Relaxed: the heavy fence orders it before the looks at the presences.
        self.0.store(CLOSED, Ordering::Relaxed);
        heavy_fence();
        point();
        for presence in presences {
            let mut attempt = 0;
            // Acquire: [inv.gate.visible].
            while presence.0.load(Ordering::Acquire) == INSIDE {
                if attempt < PRESENCE_SPINS {
                    std::hint::spin_loop();
                    point();
                } else {
                    presence.0.wait(INSIDE);
                }
                attempt += 1;
            }
        }
    }

    /// Lets the threads go on.
    pub fn open(&self) {
        // Release: [inv.gate.visible].
        self.0.store(OPEN, Ordering::Release);
        self.0.wake_all();
    }

    fn wait_open(&self) {
        let mut attempt = 0;
        while self.0.load(Ordering::Acquire) == CLOSED {
            if attempt < GATE_SPINS {
                relax(attempt);
            } else {
                self.0.wait(CLOSED);
            }
            attempt += 1;
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicU64};

    #[test]
    fn nobody_is_inside_while_the_gate_is_closed() {
        subduct_kernel::membarrier::register().unwrap();
        let gate = Gate::default();
        let presences = [Presence::default(), Presence::default()];
        let counters = [AtomicU64::new(0), AtomicU64::new(0)];
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for (presence, counter) in presences.iter().zip(&counters) {
                let (gate, stop) = (&gate, &stop);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        presence.enter(gate);
                        counter.fetch_add(1, Ordering::Relaxed);
                        counter.fetch_add(1, Ordering::Relaxed);
                        presence.exit(gate);
                    }
                });
            }
            for _ in 0..2000 {
                gate.close(presences.iter());
                let before: Vec<_> = counters.iter().map(|counter| counter.load(Ordering::Relaxed)).collect();
                assert!(before.iter().all(|count| count % 2 == 0), "[inv.gate.exclusive]");
                for _ in 0..50 {
                    std::hint::spin_loop();
                }
                let after: Vec<_> = counters.iter().map(|counter| counter.load(Ordering::Relaxed)).collect();
                assert_eq!(before, after, "[inv.gate.exclusive]");
                gate.open();
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}

/// Model-checked with loom: a collector that closes the gate once or twice, and one or two threads that enter; every
/// interleaving with at most three preemptions. Blind spot: the asymmetric fence is a full fence on both sides here
/// (see `sync`).
#[cfg(all(test, loom))]
mod loom_models {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    struct Heap {
        gate: Gate,
        presences: [Presence; 2],
        /// Written by both sides; only the rendezvous keeps them apart.
        content: [UnsafeCell<u32>; 2],
    }

    // SAFETY: the protocol under test is what makes access to `content` exclusive; loom checks every access.
    unsafe impl Sync for Heap {}
    // SAFETY: as above.
    unsafe impl Send for Heap {}

    fn heap() -> Arc<Heap> {
        Arc::new(Heap {
            gate: Gate::default(),
            presences: [Presence::default(), Presence::default()],
            content: [UnsafeCell::new(0), UnsafeCell::new(0)],
        })
    }

    fn operate(heap: &Heap, thread: usize) {
        heap.presences[thread].enter(&heap.gate);
        // SAFETY: inside an operation: the collector keeps off. loom verifies.
        heap.content[thread].with_mut(|content| unsafe { *content += 1 });
        heap.presences[thread].exit(&heap.gate);
    }

    fn stop_world(heap: &Heap, threads: usize) {
        heap.gate.close(heap.presences[..threads].iter());
        for content in &heap.content[..threads] {
            // SAFETY: [inv.gate.exclusive]: no thread is inside. loom verifies.
            content.with_mut(|content| unsafe { *content += 10 });
        }
        heap.gate.open();
    }

    fn model(run: impl Fn() + Sync + Send + 'static) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(run);
    }

    #[test]
    fn loom_the_gate_excludes_one_mutator_twice() {
        model(|| {
            let heap = heap();
            let mutator = {
                let heap = Arc::clone(&heap);
                thread::spawn(move || (0..2).for_each(|_| operate(&heap, 0)))
            };
            stop_world(&heap, 1);
            stop_world(&heap, 1);
            mutator.join().unwrap();
            // SAFETY: every thread has been joined.
            heap.content[0].with(|content| assert_eq!(unsafe { *content }, 22, "[inv.gate.visible]"));
        });
    }

    #[test]
    fn loom_the_gate_excludes_two_mutators() {
        model(|| {
            let heap = heap();
            let mutators: Vec<_> = (0..2)
                .map(|i| {
                    let heap = Arc::clone(&heap);
                    thread::spawn(move || operate(&heap, i))
                })
                .collect();
            stop_world(&heap, 2);
            for mutator in mutators {
                mutator.join().unwrap();
            }
            for content in &heap.content {
                // SAFETY: every thread has been joined.
                content.with(|content| assert_eq!(unsafe { *content }, 11, "[inv.gate.visible]"));
            }
        });
    }
}
