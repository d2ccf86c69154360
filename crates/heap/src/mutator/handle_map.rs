//! Where handles are: the part of the handle table that is read without a lock.
//!
//! `[inv.handles.published]` Whoever learns of a handle, from the thread that made it or from the count, finds its region,
//! and that region's memory as it was when the region was added.

use crate::sync::{AtomicU32, Ordering};

/// The regions of a handle table, and how many handles were handed out.
pub struct HandleMap {
    /// 1 + the number of each region; 0 where there is none yet.
    regions: Box<[AtomicU32]>,
    next: AtomicU32,
}

impl HandleMap {
    /// A map with room for `regions`, which has none yet.
    #[must_use]
    pub fn new(regions: usize) -> Self {
        Self { regions: (0..regions).map(|_| AtomicU32::new(0)).collect(), next: AtomicU32::new(0) }
    }

    /// How many regions there can be.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.regions.len()
    }

    /// Adds a region, whose memory is ready.
    pub fn publish_region(&self, ordinal: usize, region: u32) {
        // Release: who sees the region sees its memory.
        self.regions[ordinal].store(region + 1, Ordering::Release);
    }

    /// The number of a region; `None` where there is none yet.
    #[inline]
    #[must_use]
    pub fn region(&self, ordinal: usize) -> Option<u32> {
        // Acquire: pairs with the release in `publish_region`.
        self.regions[ordinal].load(Ordering::Acquire).checked_sub(1)
    }

    /// Hands out all handles up to `end`, whose regions were published before.
    pub fn publish_count(&self, end: u32) {
        // Release: who sees the count sees the regions.
        self.next.store(end, Ordering::Release);
    }

    /// Handles that were ever handed out.
    #[must_use]
    pub fn count(&self) -> u32 {
        // Acquire: pairs with the release in `publish_count`.
        self.next.load(Ordering::Acquire)
    }
}

/// Model-checked with loom: one thread adds two regions while the marker looks at all handles; every interleaving.
#[cfg(all(test, loom))]
mod loom_models {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    struct Table {
        map: HandleMap,
        memory: [UnsafeCell<u32>; 2],
    }

    // SAFETY: the protocol under test orders the accesses to `memory`; loom checks every one.
    unsafe impl Sync for Table {}
    // SAFETY: as above.
    unsafe impl Send for Table {}

    #[test]
    fn loom_a_handle_that_is_counted_can_be_read() {
        loom::model(|| {
            let table = Arc::new(Table { map: HandleMap::new(2), memory: [UnsafeCell::new(0), UnsafeCell::new(0)] });
            let grower = {
                let table = Arc::clone(&table);
                thread::spawn(move || {
                    for ordinal in 0..2 {
                        // SAFETY: not published yet. loom verifies.
                        table.memory[ordinal].with_mut(|memory| unsafe { *memory = 7 });
                        table.map.publish_region(ordinal, ordinal as u32 + 40);
                        table.map.publish_count(ordinal as u32 + 1);
                    }
                })
            };
            for handle in 0..table.map.count() {
                let region = table.map.region(handle as usize);
                assert_eq!(region, Some(handle + 40), "[inv.handles.published]");
                // SAFETY: published. loom verifies.
                table.memory[handle as usize].with(|memory| assert_eq!(unsafe { *memory }, 7));
            }
            grower.join().unwrap();
        });
    }
}
