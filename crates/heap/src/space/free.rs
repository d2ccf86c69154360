//! The free regions of a window.

use std::ops::Range;

use super::layout::{Geometry, RegionId, Window};
use super::region::RegionTable;

/// Those with resident pages, the pool, and those without, holes. Which these are the region table's sets say. Takes and gives back in
/// O(regions / 64) at worst.
#[derive(Default)]
pub struct FreeRegions {
    /// The window's regions; none once it is closed.
    range: Range<u32>,
    pooled_bytes: u64,
    /// No region outside is pooled.
    pooled_within: Range<u32>,
    /// No region before is a hole.
    holes_from: u32,
    /// The region behind those that runs are taken from while they have one.
    near_end: u32,
}

impl FreeRegions {
    /// With all regions of a window, none of which has resident pages. Runs come from the first `near` of them while they have one: what
    /// lies far apart takes more page tables and a longer file.
    pub fn new(geometry: &Geometry, window: Window, near: u32) -> Self {
        let range = geometry.regions(window);
        Self {
            pooled_bytes: 0,
            pooled_within: range.start..range.start,
            holes_from: range.start,
            near_end: range.start.saturating_add(near).min(range.end),
            range,
        }
    }

    /// Resident bytes of the pool.
    pub fn pooled_bytes(&self) -> u64 {
        self.pooled_bytes
    }

    /// Adds a region. Its resident bytes change no more while it is free.
    pub fn put(&mut self, regions: &RegionTable, id: RegionId) {
        let resident = regions.get(id).resident_bytes();
        if resident == 0 {
            regions.sets().filled.remove(id.0);
            self.holes_from = self.holes_from.min(id.0);
        } else if regions.sets().pooled.insert(id.0) {
            self.pooled_bytes += resident;
            self.pooled_within = match self.pooled_within.is_empty() {
                true => id.0..id.0 + 1,
                false => self.pooled_within.start.min(id.0)..self.pooled_within.end.max(id.0 + 1),
            };
        }
    }

    /// Takes a region: pooled ones and low addresses first.
    pub fn take(&mut self, regions: &RegionTable) -> Option<RegionId> {
        let pooled = regions.sets().pooled.first(self.pooled_within.clone());
        self.pooled_within.start = pooled.unwrap_or(self.pooled_within.end);
        let number = match pooled {
            Some(number) => number,
            None => regions.sets().filled.first_missing(self.holes_from.max(self.range.start)..self.range.end)?,
        };
        if pooled.is_none() {
            self.holes_from = number + 1;
        }
        self.remove(regions, RegionId(number));
        Some(RegionId(number))
    }

    /// Takes the pooled region with the highest address.
    pub fn take_pooled(&mut self, regions: &RegionTable) -> Option<RegionId> {
        let last = regions.sets().pooled.last(self.pooled_within.clone());
        self.pooled_within.end = last.map_or(self.pooled_within.start, |last| last + 1);
        let id = RegionId(last?);
        self.remove(regions, id);
        Some(id)
    }

    /// Takes this region, if it is free.
    pub fn remove(&mut self, regions: &RegionTable, id: RegionId) {
        if regions.sets().pooled.remove(id.0) {
            self.pooled_bytes -= regions.get(id).resident_bytes();
        }
        regions.sets().filled.insert(id.0);
        regions.touch(id);
    }

    /// The first region of the last run of `count`, of those near the window's begin if they have one. O(free regions behind its end +
    /// regions / 64).
    pub fn last_run(&self, regions: &RegionTable, count: u32) -> Option<RegionId> {
        let near = self.last_run_before(regions, self.near_end, count);
        near.or_else(|| self.last_run_before(regions, self.range.end, count))
    }

    fn last_run_before(&self, regions: &RegionTable, end: u32, count: u32) -> Option<RegionId> {
        let sets = regions.sets();
        let below = |end: u32| self.range.start..end.min(self.range.end);
        let (mut run, mut at) = (0, below(end).end);
        while run < count {
            let free = sets.filled.last_missing(below(at)).max(sets.pooled.last(below(at)))?;
            run = if run > 0 && free + 1 == at { run + 1 } else { 1 };
            at = free;
        }
        Some(RegionId(at))
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
        let mut free = FreeRegions::new(&geometry, Window::Slots, all.len() as u32);
        let end = all.len();
        assert_eq!(free.last_run(&regions, 3), Some(all[end - 3]));
        assert_eq!(free.last_run(&regions, end as u32 + 1), None);
        free.remove(&regions, all[end - 2]);
        assert_eq!((free.last_run(&regions, 1), free.last_run(&regions, 2)), (Some(all[end - 1]), Some(all[end - 4])));
        regions.get(all[end - 2]).set_resident_bytes(4096);
        free.put(&regions, all[end - 2]);
        assert_eq!((free.last_run(&regions, 3), free.pooled_bytes()), (Some(all[end - 3]), 4096));
        assert_eq!((free.take(&regions), free.pooled_bytes()), (Some(all[end - 2]), 0));
        assert_eq!(free.take(&regions), Some(all[0]));
    }

    #[test]
    fn runs_lie_near_the_begin_while_there_is_room() {
        let geometry = Geometry::new(4096, 1 << 30, 1 << 30);
        let regions = RegionTable::new(geometry).unwrap();
        let all: Vec<_> = geometry.regions(Window::Leaves).map(RegionId).collect();
        let mut free = FreeRegions::new(&geometry, Window::Leaves, 8);
        assert_eq!(free.last_run(&regions, 3), Some(all[5]));
        assert_eq!(free.last_run(&regions, 9), Some(all[all.len() - 9]));
        (5..8).for_each(|i| free.remove(&regions, all[i]));
        assert_eq!((free.last_run(&regions, 5), free.last_run(&regions, 6)), (Some(all[0]), Some(all[all.len() - 6])));
    }
}
