//! How much of the memory in use holds nothing, and what of it a full collection would give back.

use super::allocator::Space;
use super::layout::RegionId;
use super::role::Role;

impl Space {
    /// Notes for each region that the last mark looked at what it found dead. Before anything is carved from them again.
    pub fn note_dead(&self) {
        for (id, region) in self.regions.iter_all() {
            if self.held_role(id) == Some(Role::Small) {
                region.set_dead_bytes(region.used_bytes().saturating_sub(region.live_bytes()));
            }
        }
    }

    /// Bytes that evacuating all regions would give back. `left_bytes` says how much of a region mutators hold and do not use.
    ///
    /// O(regions x cost of `left_bytes`).
    #[must_use]
    pub fn sparse_bytes(&self, left_bytes: impl Fn(RegionId) -> u64) -> u64 {
        let regions = self.regions.iter_all().map(|(id, region)| match region.role() {
            Role::Small => {
                let idle = region.dead_bytes() + left_bytes(id);
                self.gained(region.resident_bytes(), region.used_bytes().saturating_sub(idle))
            }
            _ => 0,
        });
        regions.sum()
    }

    /// Bytes that evacuating this region alone gives back, after a mark.
    #[must_use]
    pub fn gives_back(&self, id: RegionId) -> u64 {
        let region = self.regions.get(id);
        self.gained(region.resident_bytes(), region.live_bytes())
    }

    /// What is left of `resident` when only `in_use` is: destinations become resident in pages, and what is gained is to be more than
    /// one.
    fn gained(&self, resident: u64, in_use: u64) -> u64 {
        let page = self.geometry().page_bytes();
        let gained = resident.saturating_sub(in_use.next_multiple_of(page));
        if gained > page { gained } else { 0 }
    }
}
