//! The heaps that are open. Those that nobody closed are closed when the interpreter has ended: threads use heaps to the very end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use subduct_heap::Heap;

use crate::cpython;

/// By number. Locked with the GIL, or when there is no interpreter: a fork of Python's never comes in between.
static OPEN: Mutex<BTreeMap<u64, Heap>> = Mutex::new(BTreeMap::new());

/// A heap's place among the open ones, as long as this lives.
pub struct Place(u64);

impl Place {
    /// Enters a heap.
    pub fn new(heap: &Heap) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // Relaxed: it counts.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        open().insert(number, heap.clone());
        Self(number)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let heap = open().remove(&self.0);
        // Not under the lock: the last of a heap closes it.
        drop(heap);
    }
}

fn open() -> MutexGuard<'static, BTreeMap<u64, Heap>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has the heaps closed that are open when the interpreter has ended. If CPython has no room for one call more, the end of the
/// process does it.
pub fn close_at_exit(py: Python<'_>) {
    cpython::at_exit(py, close_all);
}

/// No Python is left by then. Threads may still be inside operations, which end first, or have stopped for ever outside (`calls`).
extern "C" fn close_all() {
    let heaps = std::mem::take(&mut *open());
    heaps.values().for_each(Heap::close);
}
