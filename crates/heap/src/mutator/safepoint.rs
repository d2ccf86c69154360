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
//! Where the kernel refuses membarrier, from the start or from some day on, the gate is *fenced*: the mutator's fence is a full
//! one, too, and so is the collector's. A thread that has not noticed yet would still rely on membarrier, so the presence says
//! whether its thread has, and the gate closes only when all have. `[inv.gate.fenced]`
//!
//! `[inv.gate.exclusive]` From the return of `close` to `open`, no thread is inside an operation.
//! `[inv.gate.visible]` What a thread did in operations before is visible to the collector inside the rendezvous, and
//! what the collector did there is visible to operations after it.

use crate::sync::{AtomicU8, Ordering, Word, fence, heavy_fence, light_fence, point, relax};

/// Bits of a presence: the thread is inside an operation; it knows that the gate is fenced.
const INSIDE: u32 = 1;
const KNOWS: u32 = 2;

/// Bits of the gate: it is closed; membarrier is refused.
const CLOSED: u32 = 1;
const FENCED: u32 = 2;

/// Looks at a closed gate before a thread goes to sleep.
const GATE_SPINS: u32 = if cfg!(loom) { 0 } else { 32 };
/// Looks at a thread that is inside before the collector goes to sleep: some microseconds, longer than a usual operation. A
/// thread that takes longer is likely not running; the processor that the collector then leaves free can take it.
const PRESENCE_SPINS: u32 = if cfg!(loom) { 0 } else { 500 };

/// Whether one thread is inside an operation on one heap.
pub struct Presence {
    word: Word,
    /// The thread slept when the gate was fenced already: it knows when it wakes. Set by the collector.
    was_asleep: AtomicU8,
}

/// Whether threads may enter operations on one heap.
pub struct Gate {
    word: Word,
    /// Whether membarrier works, in a model of the day on which it is refused.
    #[cfg(loom)]
    refuses: bool,
}

impl Default for Presence {
    fn default() -> Self {
        Self { word: Word::new(0), was_asleep: AtomicU8::new(0) }
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            word: Word::new(0),
            #[cfg(loom)]
            refuses: false,
        }
    }
}

impl Presence {
    /// Enters an operation, waiting while the gate is closed.
    #[inline]
    pub fn enter(&self, gate: &Gate) {
        loop {
            let knows = gate.is_fenced();
            // Relaxed: the heavy fence of the other side, or both sides' own, makes this store visible, or makes us see the
            // closed gate.
            self.word.store(if knows { INSIDE | KNOWS } else { INSIDE }, Ordering::Relaxed);
            gate.mutator_fence(knows);
            point();
            // Acquire: [inv.gate.visible], pairs with the release in `open`.
            if gate.word.load(Ordering::Acquire) & CLOSED == 0 {
                return;
            }
            self.exit(gate);
            gate.wait_open();
        }
    }

    /// Leaves an operation.
    #[inline]
    pub fn exit(&self, gate: &Gate) {
        let knows = gate.is_fenced();
        // Release: [inv.gate.visible], pairs with the acquire in `close`.
        self.word.store(if knows { KNOWS } else { 0 }, Ordering::Release);
        gate.mutator_fence(knows);
        point();
        // The collector may sleep on this word. If this load misses the closed gate, then it comes before the collector's
        // heavy fence, which then makes the store visible before the collector looks.
        if gate.is_closed() {
            self.word.wake_all();
        }
    }

    /// Whether the owning thread is inside an operation; exact for the owner only.
    #[must_use]
    pub fn is_inside(&self) -> bool {
        self.word.load(Ordering::Relaxed) & INSIDE != 0
    }

    /// Whether the owning thread fences by itself from now on: `[inv.gate.fenced]`.
    #[must_use]
    pub fn knows(&self) -> bool {
        // Relaxed: the owner read the bit of the gate before it stored this, and never reads an older gate again.
        self.word.load(Ordering::Relaxed) & KNOWS != 0 || self.was_asleep.load(Ordering::Relaxed) != 0
    }

    /// Notes that the owner was seen asleep, outside the few instructions between its look at the gate and its fence, after the
    /// gate was fenced.
    pub fn note_asleep(&self) {
        self.was_asleep.store(1, Ordering::Relaxed);
    }
}

impl Gate {
    /// The fence between a store to a presence and a load of the gate.
    #[inline]
    fn mutator_fence(&self, knows: bool) {
        if knows {
            fence(Ordering::SeqCst);
            return;
        }
        #[cfg(loom)]
        if self.refuses {
            return;
        }
        light_fence();
    }

    fn collector_fence(&self) -> bool {
        #[cfg(loom)]
        if self.refuses {
            return false;
        }
        heavy_fence()
    }

    /// Whether a long operation should let the collector in.
    #[inline]
    #[must_use]
    pub fn is_closed(&self) -> bool {
        // Relaxed: a hint; the decision is made in `enter`.
        self.word.load(Ordering::Relaxed) & CLOSED != 0
    }

    /// Whether threads have to fence by themselves.
    #[inline]
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        // Relaxed: the bit is set once, and the gate closes only when all threads have read it.
        self.word.load(Ordering::Relaxed) & FENCED != 0
    }

    /// Has threads fence by themselves from now on, because membarrier is refused.
    pub fn set_fenced(&self) {
        self.word.fetch_or(FENCED, Ordering::SeqCst);
    }

    /// Closes the gate and waits until every thread is outside. The caller makes sure that no presence is added and
    /// that nobody else closes the gate until `open`. False, with the gate open, where the kernel has refused membarrier and
    /// not every thread knows it yet.
    #[must_use]
    pub fn close<'p>(&self, presences: impl Iterator<Item = &'p Presence> + Clone) -> bool {
        let was_fenced = self.is_fenced();
        if was_fenced && !presences.clone().all(Presence::knows) {
            return false;
        }
        // Relaxed: the heavy fence orders it before the looks at the presences.
        self.word.fetch_or(CLOSED, Ordering::Relaxed);
        if was_fenced {
            fence(Ordering::SeqCst);
        } else if !self.collector_fence() {
            self.set_fenced();
            self.open();
            return false;
        }
        point();
        for presence in presences {
            let mut attempt = 0;
            loop {
                // Acquire: [inv.gate.visible].
                let word = presence.word.load(Ordering::Acquire);
                if word & INSIDE == 0 {
                    break;
                }
                if attempt < PRESENCE_SPINS {
                    std::hint::spin_loop();
                    point();
                } else {
                    presence.word.wait(word);
                }
                attempt += 1;
            }
        }
        true
    }

    /// Lets the threads go on.
    pub fn open(&self) {
        // Release: [inv.gate.visible].
        self.word.fetch_and(!CLOSED, Ordering::Release);
        self.word.wake_all();
    }

    fn wait_open(&self) {
        let mut attempt = 0;
        loop {
            let word = self.word.load(Ordering::Acquire);
            if word & CLOSED == 0 {
                return;
            }
            if attempt < GATE_SPINS {
                relax(attempt);
            } else {
                self.word.wait(word);
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
        nobody_is_inside(false);
    }

    #[test]
    fn nobody_is_inside_while_the_gate_is_closed_by_fences() {
        nobody_is_inside(true);
    }

    fn nobody_is_inside(fenced: bool) {
        let gate = Gate::default();
        if fenced {
            gate.set_fenced();
        }
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
                while !gate.close(presences.iter()) {}
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
        heap_where(false)
    }

    /// A heap in a process to which membarrier may be refused.
    fn heap_where(refuses: bool) -> Arc<Heap> {
        Arc::new(Heap {
            gate: Gate { refuses, ..Gate::default() },
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
        while !heap.gate.close(heap.presences[..threads].iter()) {
            thread::yield_now();
        }
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

    /// The light fence is no fence at all here, and the heavy one is refused: only those that threads make themselves count.
    #[test]
    fn loom_the_gate_excludes_a_mutator_when_membarrier_is_refused() {
        model(|| {
            let heap = heap_where(true);
            let mutator = {
                let heap = Arc::clone(&heap);
                thread::spawn(move || (0..2).for_each(|_| operate(&heap, 0)))
            };
            // Once, and not until it closes: a thread that is done would never know.
            let closed = heap.gate.close(heap.presences[..1].iter()) || heap.gate.close(heap.presences[..1].iter());
            if closed {
                // SAFETY: [inv.gate.exclusive]: no thread is inside. loom verifies.
                heap.content[0].with_mut(|content| unsafe { *content += 10 });
                heap.gate.open();
            }
            mutator.join().unwrap();
            // SAFETY: every thread has been joined.
            heap.content[0].with(|content| {
                let expected = if closed { 12 } else { 2 };
                assert_eq!(unsafe { *content }, expected, "[inv.gate.visible]");
            });
        });
    }

    #[test]
    fn loom_the_gate_excludes_mutators_that_fence_from_the_start() {
        model(|| {
            let heap = heap_where(true);
            heap.gate.set_fenced();
            heap.presences.iter().for_each(|presence| presence.exit(&heap.gate));
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
