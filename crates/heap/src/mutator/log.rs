//! The barrier's log: references that mutators overwrote while marking, on their way to the marker.
//!
//! A mutator collects them in a vector of its own, inside operations, and hands a full one over. The marker takes what was
//! handed over at any time, and what mutators still hold in the rendezvous that ends marking.
//!
//! `[inv.log.complete]` Every reference that was overwritten while marking is seen by the marker before marking ends.

#[cfg(loom)]
use loom::sync::Mutex;
#[cfg(not(loom))]
use std::sync::Mutex;

/// Entries that a mutator keeps before it hands them over.
pub const LOG_MAX: usize = if cfg!(loom) { 2 } else { 1024 };

/// Logs that mutators have handed over.
pub struct Logs<T>(Mutex<Vec<Vec<T>>>);

impl<T> Default for Logs<T> {
    fn default() -> Self {
        Self(Mutex::new(Vec::new()))
    }
}

impl<T> Logs<T> {
    /// Adds a reference to a mutator's own log; hands that over when it is full. Inside an operation.
    pub fn push(&self, own: &mut Vec<T>, overwritten: T) {
        own.push(overwritten);
        if own.len() >= LOG_MAX {
            self.locked(|logs| logs.push(std::mem::take(own)));
        }
    }

    /// Everything that was handed over.
    pub fn take(&self) -> Vec<T> {
        self.locked(|logs| std::mem::take(logs).into_iter().flatten().collect())
    }

    fn locked<R>(&self, f: impl FnOnce(&mut Vec<Vec<T>>) -> R) -> R {
        #[cfg(loom)]
        return f(&mut self.0.lock().unwrap());
        #[cfg(not(loom))]
        f(&mut crate::sync::lock(&self.0))
    }
}

/// Model-checked with loom: a mutator moves references out of the marker's way while it scans; every interleaving with at
/// most three preemptions. The slots are read and written as those of the heap are; the rest is the real log and gate.
#[cfg(all(test, loom))]
mod loom_models {
    use super::*;
    use crate::mutator::safepoint::{Gate, Presence};
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicU32, Ordering};
    use loom::thread;

    /// Slots that hold 0 or the number of an object; all objects are leaves.
    struct Heap {
        slots: [AtomicU32; 4],
        logs: Logs<u32>,
        own: UnsafeCell<Vec<u32>>,
        gate: Gate,
        presence: Presence,
        barrier: AtomicU32,
    }

    // SAFETY: `own` belongs to the mutator inside operations and to the marker in a rendezvous; loom checks.
    unsafe impl Sync for Heap {}
    // SAFETY: as above.
    unsafe impl Send for Heap {}

    /// Moves a reference from one slot to another: what loses an object without a log.
    fn hide(heap: &Heap, from: usize, to: usize) {
        heap.presence.enter(&heap.gate);
        let moved = heap.slots[from].load(Ordering::Acquire);
        heap.slots[to].store(moved, Ordering::Release);
        if heap.barrier.load(Ordering::Relaxed) != 0 {
            let overwritten = heap.slots[from].load(Ordering::Acquire);
            // SAFETY: inside an operation. loom verifies.
            heap.own.with_mut(|own| heap.logs.push(unsafe { &mut *own }, overwritten));
        }
        heap.slots[from].store(0, Ordering::Release);
        heap.presence.exit(&heap.gate);
    }

    #[test]
    fn loom_what_is_hidden_from_the_marker_is_in_the_log() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let heap = Arc::new(Heap {
                slots: [0, 0, 1, 2].map(AtomicU32::new),
                logs: Logs::default(),
                own: UnsafeCell::new(Vec::new()),
                gate: Gate::default(),
                presence: Presence::default(),
                barrier: AtomicU32::new(0),
            });
            let mutator = {
                let heap = Arc::clone(&heap);
                thread::spawn(move || {
                    hide(&heap, 2, 0);
                    hide(&heap, 3, 1);
                })
            };
            heap.gate.close([&heap.presence].into_iter());
            heap.barrier.store(1, Ordering::Relaxed);
            heap.gate.open();
            let mut marked: Vec<u32> = heap.slots.iter().map(|slot| slot.load(Ordering::Acquire)).collect();
            marked.extend(heap.logs.take());
            heap.gate.close([&heap.presence].into_iter());
            marked.extend(heap.logs.take());
            // SAFETY: in a rendezvous. loom verifies.
            heap.own.with_mut(|own| marked.append(unsafe { &mut *own }));
            heap.gate.open();
            mutator.join().unwrap();
            assert!(marked.contains(&1) && marked.contains(&2), "[inv.log.complete] {marked:?}");
        });
    }
}
