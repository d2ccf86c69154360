//! The handle table: the roots.
//!
//! Handles lie in regions of the slots window, so that the flip covers them and their pages are fixed lazily like any
//! other: no root is updated in the pause. A handle's slot holds a reference, or is empty while the handle is free.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::memory;
use crate::mutator::handle_map::HandleMap;
use crate::space::layout::REGION_BYTES;
use crate::space::{RegionId, Shortage, Space};
use crate::sync::lock;

/// Handles in one region.
const PER_REGION: u32 = (REGION_BYTES / 8) as u32;
/// Regions the table can grow to: 268 million handles.
const REGIONS_MAX: usize = 1024;

/// A root: keeps an object alive and finds it wherever it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle(u32);

impl Handle {
    /// Its number, from 0 on.
    #[inline]
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Default)]
struct Free {
    handles: Vec<Handle>,
    /// First handle that was never used.
    next: u32,
    /// First handle that has no memory yet.
    end: u32,
}

/// All handles of one heap.
pub struct HandleTable {
    map: HandleMap,
    free: Mutex<Free>,
    in_use: AtomicU64,
}

impl Default for HandleTable {
    fn default() -> Self {
        Self { map: HandleMap::new(REGIONS_MAX), free: Mutex::default(), in_use: AtomicU64::new(0) }
    }
}

impl HandleTable {
    /// How many handles there can be within a budget.
    #[must_use]
    pub fn most(budget_bytes: u64) -> usize {
        REGIONS_MAX.min(budget_bytes.div_ceil(REGION_BYTES) as usize) * PER_REGION as usize
    }

    /// Offset of a handle's slot.
    #[inline]
    #[must_use]
    pub fn slot(&self, handle: Handle) -> u64 {
        let region = self.map.region((handle.0 / PER_REGION) as usize);
        RegionId(region.expect("[inv.handles.published]")).start() + u64::from(handle.0 % PER_REGION) * 8
    }

    /// Offsets of the slots of all handles that were ever handed out. Others may be handed out meanwhile.
    pub fn slots(&self) -> impl Iterator<Item = u64> {
        (0..self.map.count()).map(|number| self.slot(Handle(number)))
    }

    /// Moves up to `count` free handles to `to`, at least one.
    ///
    /// # Errors
    /// [`Shortage`] when the table cannot grow.
    pub fn take(&self, space: &Space, to: &mut Vec<Handle>, count: usize) -> Result<(), Shortage> {
        let free = &mut *lock(&self.free);
        if free.handles.is_empty() {
            if free.next == free.end {
                self.grow(space, free)?;
            }
            let end = free.end.min(free.next + count as u32);
            to.extend((free.next..end).map(Handle));
            free.next = end;
            self.map.publish_count(end);
        } else {
            let keep = free.handles.len().saturating_sub(count);
            to.extend(free.handles.drain(keep..));
        }
        Ok(())
    }

    /// Takes back handles whose slots are empty.
    pub fn give_back(&self, handles: impl Iterator<Item = Handle>) {
        lock(&self.free).handles.extend(handles);
    }

    /// Makes sure that there is a free handle.
    ///
    /// # Errors
    /// As [`HandleTable::take`].
    pub fn make_room(&self, space: &Space) -> Result<(), Shortage> {
        let free = &mut *lock(&self.free);
        if free.handles.is_empty() && free.next == free.end { self.grow(space, free) } else { Ok(()) }
    }

    fn grow(&self, space: &Space, free: &mut Free) -> Result<(), Shortage> {
        let ordinal = (free.end / PER_REGION) as usize;
        if ordinal >= self.map.capacity() {
            return Err(Shortage::Fragmented);
        }
        let id = if free.end.is_multiple_of(PER_REGION) {
            let id = space.take_handles()?;
            self.map.publish_region(ordinal, id.0);
            id
        } else {
            let id = RegionId(self.map.region(ordinal).expect("its first part is in use"));
            space.grow_handles(id, space.regions.get(id).resident_bytes() + 1)?;
            id
        };
        let end = ordinal as u32 * PER_REGION + (space.regions.get(id).resident_bytes() / 8) as u32;
        // Room for all handles there are: giving one back needs no memory.
        let missing = (end as usize).saturating_sub(free.handles.len());
        memory::reserve(&mut free.handles, missing).map_err(|refused| Shortage::Kernel(refused.into()))?;
        free.end = end;
        Ok(())
    }

    /// Counts a handle that came into use, or went out of it.
    pub fn count(&self, change: i64) {
        self.in_use.fetch_add(change.cast_unsigned(), Ordering::Relaxed);
    }

    /// Handles in use.
    #[must_use]
    pub fn in_use(&self) -> u64 {
        self.in_use.load(Ordering::Relaxed)
    }
}
