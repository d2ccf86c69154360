//! What each region is used for, and how full it is.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::bits::Bits;
use super::layout::{Geometry, REGION_BYTES, RegionId, Window};
use super::role::{Role, Tenure};
use super::table::{ZeroIsValid, Zeroed};
use crate::memory::Refused;

/// One region. Fields are written under the space's lock or by the collector while nobody else uses the region, and
/// read by anybody.
pub struct Region {
    tenure: Tenure,
    used_bytes: AtomicU32,
    resident_bytes: AtomicU32,
    live_bytes: AtomicU64,
    dead_bytes: AtomicU32,
    head: AtomicU32,
}

// SAFETY: atomic integers, for which zero is a value; a role of zero is Free, that of a region that was never used; atomics are Sync.
unsafe impl ZeroIsValid for Region {}

impl Region {
    /// What the region is used for.
    #[inline]
    #[must_use]
    pub fn role(&self) -> Role {
        self.tenure.role()
    }

    /// Changes what the region is used for.
    pub fn set_role(&self, role: Role) {
        self.tenure.set_role(role);
    }

    /// Bytes handed out, from the start.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        // Relaxed, here and below: figures; what depends on them is ordered by the space's lock or by the role.
        u64::from(self.used_bytes.load(Ordering::Relaxed))
    }

    /// Sets the bytes handed out.
    pub fn set_used_bytes(&self, bytes: u64) {
        self.used_bytes.store(bytes as u32, Ordering::Relaxed);
    }

    /// Bytes resident, from the start.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        u64::from(self.resident_bytes.load(Ordering::Acquire))
    }

    /// Sets the bytes resident.
    pub fn set_resident_bytes(&self, bytes: u64) {
        debug_assert!(bytes <= REGION_BYTES);
        // Release: whoever sees the figure may touch the pages.
        self.resident_bytes.store(bytes as u32, Ordering::Release);
    }

    /// Bytes of marked objects that start here. Counts large objects whole.
    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        self.live_bytes.load(Ordering::Relaxed)
    }

    /// Counts a marked object. Marker and allocating mutators add at the same time.
    #[inline]
    pub fn add_live_bytes(&self, bytes: u64) {
        self.live_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Forgets what was marked.
    pub fn clear_live_bytes(&self) {
        self.live_bytes.store(0, Ordering::Relaxed);
    }

    /// Bytes handed out that hold no object, or one that the last mark did not find.
    #[must_use]
    pub fn dead_bytes(&self) -> u64 {
        u64::from(self.dead_bytes.load(Ordering::Relaxed))
    }

    /// Sets what [`Region::dead_bytes`] says.
    pub fn set_dead_bytes(&self, bytes: u64) {
        self.dead_bytes.store(bytes as u32, Ordering::Relaxed);
    }

    /// A mutator leaves `bytes` of its chunk.
    pub fn add_dead_bytes(&self, bytes: u64) {
        self.dead_bytes.fetch_add(bytes as u32, Ordering::Relaxed);
    }

    /// Gives the region a new user.
    pub fn take(&self, role: Role, era: u32) {
        self.tenure.take(role, era);
    }

    /// What the region is used for, if it was taken before `era`.
    #[must_use]
    pub fn role_before(&self, era: u32) -> Option<Role> {
        self.tenure.role_before(era)
    }

    /// For a part of a large object the region in which it starts; for a source the source that follows it.
    #[must_use]
    pub fn head(&self) -> RegionId {
        RegionId(self.head.load(Ordering::Relaxed))
    }

    /// Sets what [`Region::head`] says.
    pub fn set_head(&self, head: RegionId) {
        self.head.store(head.0, Ordering::Relaxed);
    }
}

/// All regions of a heap. What it costs is what was used.
pub struct RegionTable {
    regions: Zeroed<Region>,
    sets: Sets,
    geometry: Geometry,
}

/// Sets of regions. All change under the space's lock.
pub(super) struct Sets {
    /// Those that may not be as new.
    touched: Bits,
    /// Those that are in use or have resident pages: all but the holes.
    pub(super) filled: Bits,
    /// Free ones with resident pages.
    pub(super) pooled: Bits,
}

impl RegionTable {
    /// A table of free regions.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn new(geometry: Geometry) -> Result<Self, Refused> {
        let end = geometry.all_regions().end;
        let sets = Sets { touched: Bits::new(end)?, filled: Bits::new(end)?, pooled: Bits::new(end)? };
        Ok(Self { regions: Zeroed::new(end as usize)?, sets, geometry })
    }

    /// One region.
    #[inline]
    #[must_use]
    pub fn get(&self, id: RegionId) -> &Region {
        &self.regions[id.index()]
    }

    /// The region that holds a byte.
    #[inline]
    #[must_use]
    pub fn of(&self, offset: u64) -> &Region {
        self.get(RegionId::of(offset))
    }

    pub(super) fn sets(&self) -> &Sets {
        &self.sets
    }

    /// Notes that a region is about to be used. Under the space's lock.
    pub fn touch(&self, id: RegionId) {
        self.sets.touched.insert(id.0);
    }

    /// Whether a region is free and has no resident pages. Under the space's lock.
    pub fn is_hole(&self, id: RegionId) -> bool {
        !self.sets.filled.contains(id.0)
    }

    /// Notes that a region is as new: free, without resident pages, marks and states of pages. Under the space's lock.
    pub fn forget(&self, id: RegionId) {
        self.sets.touched.remove(id.0);
    }

    /// The regions of a window that may not be as new, by address: all that are used, and those that were used lately. O(those +
    /// regions / 64).
    pub fn iter(&self, window: Window) -> impl Iterator<Item = (RegionId, &Region)> {
        self.sets
            .touched
            .iter(self.geometry.regions(window))
            .map(|number| (RegionId(number), self.get(RegionId(number))))
    }

    /// Those of all windows, by address.
    pub fn iter_all(&self) -> impl Iterator<Item = (RegionId, &Region)> {
        Window::ALL.into_iter().flat_map(|window| self.iter(window))
    }
}
