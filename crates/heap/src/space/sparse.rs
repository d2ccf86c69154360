//! How much of the memory in use holds nothing, and what of it a full collection would give back.

use super::allocator::Space;
use super::layout::{RegionId, Window};
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

    /// Bytes that evacuating the regions would give back of which at most `live_share` is in use. `left_bytes` says how much of
    /// a region mutators hold and do not use.
    ///
    /// O(regions x cost of `left_bytes`).
    #[must_use]
    pub fn sparse_bytes(&self, live_share: f64, left_bytes: impl Fn(RegionId) -> u64) -> u64 {
        let of_window = |window: Window| {
            let small = self.regions.iter(window).filter(|(_, region)| region.role() == Role::Small);
            let sparse = small.filter_map(|(id, region)| {
                let idle = region.dead_bytes() + left_bytes(id);
                let in_use = region.used_bytes().saturating_sub(idle);
                let is_sparse = in_use as f64 <= live_share * region.resident_bytes() as f64;
                is_sparse.then(|| self.gained(region.resident_bytes(), in_use))
            });
            sparse.sum::<u64>()
        };
        Window::ALL.into_iter().map(of_window).sum()
    }

    /// Bytes that evacuating this region alone gives back, after a mark.
    #[must_use]
    pub fn gives_back(&self, id: RegionId) -> u64 {
        let region = self.regions.get(id);
        self.gained(region.resident_bytes(), region.live_bytes())
    }

    /// What is left of `resident` when only `in_use` is: destinations become resident in steps, and what is gained is to be more than
    /// one.
    fn gained(&self, resident: u64, in_use: u64) -> u64 {
        let step = self.step_bytes();
        let gained = resident.saturating_sub(in_use.next_multiple_of(step));
        if gained > step { gained } else { 0 }
    }
}
