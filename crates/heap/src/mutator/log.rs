//! The barrier's log: references that mutators overwrote while marking, on their way to the marker.
//!
//! A mutator collects them in a vector of its own, inside operations, and hands a full one over. The marker takes what was
//! handed over at any time, and what mutators still hold in the rendezvous that ends marking. Where there is no memory for a
//! log, or the marker is too far behind, the mutator marks the object itself and has the marker look at all marked objects
//! again.
//!
//! `[inv.log.complete]` Every reference that was overwritten while marking is seen by the marker before marking ends, or marked.

#[cfg(loom)]
use loom::sync::Mutex;
#[cfg(not(loom))]
use std::sync::Mutex;

/// Entries that a mutator keeps before it hands them over: 4 KiB.
pub const LOG_MAX: usize = if cfg!(loom) { 2 } else { 512 };
/// Logs that wait for the marker at most: 8 MiB.
const LOGS_MAX: usize = 2048;

/// Logs that mutators have handed over.
pub struct Logs<T>(Mutex<Vec<Vec<T>>>);

impl<T> Default for Logs<T> {
    fn default() -> Self {
        Self(Mutex::new(Vec::new()))
    }
}

impl<T> Logs<T> {
    /// Adds a reference to a mutator's own log, handing that over when it is full. Inside an operation. False where there is no
    /// room: the reference was not added.
    #[must_use]
    pub fn push(&self, own: &mut Vec<T>, overwritten: T) -> bool {
        if own.len() >= LOG_MAX && !self.hand_over(own) {
            return false;
        }
        if own.capacity() < LOG_MAX && own.try_reserve_exact(LOG_MAX - own.len()).is_err() {
            return false;
        }
        own.push(overwritten);
        true
    }

    /// Hands a log over, which is empty then. False, and nothing changed, where there is no room.
    #[must_use]
    pub fn hand_over(&self, own: &mut Vec<T>) -> bool {
        self.locked(|logs| {
            let has_room = logs.len() < LOGS_MAX && logs.try_reserve(1).is_ok();
            if has_room {
                logs.push(std::mem::take(own));
            }
            has_room
        })
    }

    /// Everything that was handed over.
    pub fn take(&self) -> Vec<Vec<T>> {
        self.locked(std::mem::take)
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
            let logged = heap.own.with_mut(|own| heap.logs.push(unsafe { &mut *own }, overwritten));
            assert!(logged);
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
            while !heap.gate.close([&heap.presence].into_iter()) {}
            heap.barrier.store(1, Ordering::Relaxed);
            heap.gate.open();
            let mut marked: Vec<u32> = heap.slots.iter().map(|slot| slot.load(Ordering::Acquire)).collect();
            marked.extend(heap.logs.take().into_iter().flatten());
            while !heap.gate.close([&heap.presence].into_iter()) {}
            marked.extend(heap.logs.take().into_iter().flatten());
            // SAFETY: in a rendezvous. loom verifies.
            heap.own.with_mut(|own| marked.append(unsafe { &mut *own }));
            heap.gate.open();
            mutator.join().unwrap();
            assert!(marked.contains(&1) && marked.contains(&2), "[inv.log.complete] {marked:?}");
        });
    }
}
