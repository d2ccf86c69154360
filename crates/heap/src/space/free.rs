//! The free regions of a window.

use std::collections::BTreeSet;

use super::layout::RegionId;
use super::region::RegionTable;

/// Those with resident pages, the pool, and those without, holes. Takes and gives back in O(log regions).
#[derive(Default)]
pub struct FreeRegions {
    pooled: BTreeSet<RegionId>,
    pooled_bytes: u64,
    holes: BTreeSet<RegionId>,
    /// The region behind those that runs are taken from while they have one.
    near_end: RegionId,
}

impl FreeRegions {
    /// With these, none of which has resident pages. Runs come from the first `near` of them while they have one: what lies far apart
    /// takes more page tables and a longer file.
    pub fn new(holes: impl Iterator<Item = RegionId>, near: u32) -> Self {
        let holes: BTreeSet<_> = holes.collect();
        let near_end = holes.first().map_or(RegionId(0), |first| first.offset_by(near));
        Self { holes, near_end, ..Self::default() }
    }

    /// Resident bytes of the pool.
    pub fn pooled_bytes(&self) -> u64 {
        self.pooled_bytes
    }

    /// Adds a region. Its resident bytes change no more while it is free.
    pub fn put(&mut self, regions: &RegionTable, id: RegionId) {
        let resident = regions.get(id).resident_bytes();
        let is_new = if resident > 0 { self.pooled.insert(id) } else { self.holes.insert(id) };
        self.pooled_bytes += resident * u64::from(is_new);
    }

    /// Takes a region: pooled ones and low addresses first.
    pub fn take(&mut self, regions: &RegionTable) -> Option<RegionId> {
        let pooled = self.pooled.pop_first();
        self.uncount(regions, pooled);
        pooled.or_else(|| self.holes.pop_first())
    }

    /// Takes the pooled region with the highest address.
    pub fn take_pooled(&mut self, regions: &RegionTable) -> Option<RegionId> {
        let pooled = self.pooled.pop_last();
        self.uncount(regions, pooled);
        pooled
    }

    /// Takes this region, if it is free.
    pub fn remove(&mut self, regions: &RegionTable, id: RegionId) {
        if self.pooled.remove(&id) {
            self.uncount(regions, Some(id));
        }
        self.holes.remove(&id);
    }

    /// The first region of the last run of `count`, of those near the window's begin if they have one. O(free regions behind its end).
    pub fn last_run(&self, count: u32) -> Option<RegionId> {
        self.last_run_before(self.near_end, count).or_else(|| self.last_run_before(RegionId(u32::MAX), count))
    }

    fn last_run_before(&self, end: RegionId, count: u32) -> Option<RegionId> {
        let mut pooled = self.pooled.range(..end).rev().peekable();
        let mut holes = self.holes.range(..end).rev().peekable();
        let (mut run, mut below) = (0, None);
        loop {
            let id = *if pooled.peek() > holes.peek() { pooled.next() } else { holes.next() }?;
            run = if below == Some(id) { run + 1 } else { 1 };
            if run == count {
                return Some(id);
            }
            below = id.0.checked_sub(1).map(RegionId);
        }
    }

    fn uncount(&mut self, regions: &RegionTable, pooled: Option<RegionId>) {
        self.pooled_bytes -= pooled.map_or(0, |id| regions.get(id).resident_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::layout::{Geometry, Window};

    #[test]
    fn the_last_run_is_found_among_pooled_regions_and_holes() {
        let geometry = Geometry::new(4096, 1 << 30, 1 << 30);
        let regions = RegionTable::new(geometry).unwrap();
        let all: Vec<_> = geometry.regions(Window::Slots).map(RegionId).collect();
        let mut free = FreeRegions::new(all.iter().copied(), all.len() as u32);
        let end = all.len();
        assert_eq!(free.last_run(3), Some(all[end - 3]));
        assert_eq!(free.last_run(end as u32 + 1), None);
        free.remove(&regions, all[end - 2]);
        assert_eq!((free.last_run(1), free.last_run(2)), (Some(all[end - 1]), Some(all[end - 4])));
        regions.get(all[end - 2]).set_resident_bytes(4096);
        free.put(&regions, all[end - 2]);
        assert_eq!((free.last_run(3), free.pooled_bytes()), (Some(all[end - 3]), 4096));
        assert_eq!((free.take(&regions), free.pooled_bytes()), (Some(all[end - 2]), 0));
        assert_eq!(free.take(&regions), Some(all[0]));
    }

    #[test]
    fn runs_lie_near_the_begin_while_there_is_room() {
        let geometry = Geometry::new(4096, 1 << 30, 1 << 30);
        let regions = RegionTable::new(geometry).unwrap();
        let all: Vec<_> = geometry.regions(Window::Leaves).map(RegionId).collect();
        let mut free = FreeRegions::new(all.iter().copied(), 8);
        assert_eq!(free.last_run(3), Some(all[5]));
        assert_eq!(free.last_run(9), Some(all[all.len() - 9]));
        (5..8).for_each(|i| free.remove(&regions, all[i]));
        assert_eq!((free.last_run(5), free.last_run(6)), (Some(all[0]), Some(all[all.len() - 6])));
    }
}
