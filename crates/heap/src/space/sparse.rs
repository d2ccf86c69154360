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
            let (mut resident, mut packed) = (0, 0);
            for (id, region) in self.regions.iter(window).filter(|(_, region)| region.role() == Role::Small) {
                let idle = region.dead_bytes() + left_bytes(id);
                let in_use = region.used_bytes().saturating_sub(idle);
                if in_use as f64 <= live_share * region.resident_bytes() as f64 {
                    resident += region.resident_bytes();
                    packed += in_use;
                }
            }
            // Destinations become resident in steps.
            resident.saturating_sub(packed.next_multiple_of(self.step_bytes()))
        };
        Window::ALL.into_iter().map(of_window).sum()
    }
}
