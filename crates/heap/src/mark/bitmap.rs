//! The mark bitmap and the two figures kept with it for each page.
//!
//! Every word of a marked object has its bit set, header included, so that the number of live words before a word, and
//! with it the word's new place, is a count of bits. A large object (regions of its own) has only its first bit set.
//! An object is marked when the bit of its header is set: no object starts inside another.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::object::{Header, Ref};
use crate::space::layout::{BLOCK_BYTES, LARGE_BYTES, bit_of, block_of};
use crate::space::region::RegionTable;
use crate::space::table::SideTable;
use crate::space::windows::prefetch_address;
use crate::space::{Geometry, PageId, RegionId};

/// The mark bitmap, each page's first object and each page's signature.
pub struct Marks {
    bits: SideTable<AtomicU64>,
    /// For each page: 1 + the word number, within the region, of the object that reaches into the page from before;
    /// 0 where there is none.
    reaching: SideTable<AtomicU32>,
    /// For each page of the slots window: a bit for each region, modulo 64, that its slots point into.
    signatures: SideTable<AtomicU64>,
    geometry: Geometry,
}

impl Marks {
    /// Tables in which nothing is marked.
    ///
    /// # Errors
    /// As [`SideTable::new`].
    pub fn new(geometry: Geometry) -> subduct_kernel::Result<Self> {
        let total = geometry.total_bytes();
        let pages = (total / geometry.page_bytes()) as usize;
        Ok(Self {
            bits: SideTable::new((total / BLOCK_BYTES) as usize)?,
            reaching: SideTable::new(pages)?,
            signatures: SideTable::new(pages)?,
            geometry,
        })
    }

    /// Unmaps the tables before they are dropped.
    ///
    /// # Safety
    /// Nobody uses them any more.
    pub unsafe fn release(&self) {
        // SAFETY: by this function's contract.
        unsafe {
            self.bits.release();
            self.reaching.release();
            self.signatures.release();
        }
    }

    /// Whether the object at `offset` is marked.
    #[inline]
    #[must_use]
    pub fn is_marked(&self, offset: u64) -> bool {
        // Relaxed: marks are compared only by their setter (fetch_or is a single point of decision) or after a
        // rendezvous that orders everything.
        self.bits.get(block_of(offset)).load(Ordering::Relaxed) >> bit_of(offset) & 1 == 1
    }

    /// Asks for the word that [`Marks::is_marked`] will look at.
    #[inline]
    pub fn prefetch(&self, offset: u64) {
        prefetch_address(std::ptr::from_ref(self.bits.get(block_of(offset))) as usize);
    }

    /// Marks an object and counts it. False if it was marked before.
    #[inline]
    pub fn mark(&self, regions: &RegionTable, object: Ref, header: Header) -> bool {
        let offset = object.offset();
        let bytes = header.bytes();
        if self.is_marked(offset) {
            return false;
        }
        let (block, bit) = (block_of(offset), bit_of(offset) as usize);
        let words = if bytes <= LARGE_BYTES { header.words() } else { 1 };
        // A block may be shared with an object that another thread allocates: fetch_or. Release: who finds the object by its bit
        // (`Marker::scan_marked`) finds its header.
        let here = words.min(64 - bit);
        let before = self.bits.get(block).fetch_or((u64::MAX >> (64 - here)) << bit, Ordering::Release);
        if before >> bit & 1 == 1 {
            return false;
        }
        regions.of(offset).add_live_bytes(bytes);
        if bytes <= LARGE_BYTES {
            self.set_words(block + 1, words - here);
            self.note_reach(offset, offset + bytes);
        }
        true
    }

    /// Sets the bits of `words` words from the start of a block on.
    fn set_words(&self, mut block: usize, mut words: usize) {
        while words > 0 {
            let here = words.min(64);
            self.bits.get(block).fetch_or(u64::MAX >> (64 - here), Ordering::Relaxed);
            words -= here;
            block += 1;
        }
    }

    /// Notes, for every page that the object reaches into from the page before, where it starts. Only one live object
    /// can cross a page's start, so nobody else writes the entry.
    fn note_reach(&self, start: u64, end: u64) {
        let first = self.geometry.page_of(start).0 + 1;
        let last = self.geometry.page_of(end - 1).0;
        let word = (start - RegionId::of(start).start()) / 8;
        for page in first..=last {
            self.reaching.get(PageId(page).index()).store(word as u32 + 1, Ordering::Relaxed);
        }
    }

    /// The marked object that reaches into a page from the page before.
    #[inline]
    #[must_use]
    pub fn reaching_into(&self, page: PageId) -> Option<Ref> {
        let word = self.reaching.get(page.index()).load(Ordering::Relaxed);
        let region = self.geometry.region_of_page(page);
        (word != 0).then(|| Ref::at(region.start() + u64::from(word - 1) * 8))
    }

    /// Offset of the first marked word in `[offset, end)`. Behind an object's last word that is an object's first.
    #[inline]
    #[must_use]
    pub fn next_marked(&self, offset: u64, end: u64) -> Option<u64> {
        if offset >= end {
            return None;
        }
        let mut block = block_of(offset);
        let mut bits = self.block(block) & (u64::MAX << bit_of(offset));
        loop {
            if bits != 0 {
                let found = block as u64 * BLOCK_BYTES + u64::from(bits.trailing_zeros()) * 8;
                return (found < end).then_some(found);
            }
            block += 1;
            if block as u64 * BLOCK_BYTES >= end {
                return None;
            }
            bits = self.block(block);
        }
    }

    /// The first run of marked words in `[offset, end)`, at most `bytes_max` of it. It begins and ends within objects only
    /// where `offset` and `bytes_max` do.
    #[inline]
    #[must_use]
    pub fn next_run(&self, offset: u64, end: u64, bytes_max: u64) -> Option<Range<u64>> {
        let start = self.next_marked(offset, end)?;
        let end = end.min(start + bytes_max);
        let mut block = block_of(start);
        let mut gaps = !self.block(block) & (u64::MAX << bit_of(start));
        loop {
            if gaps != 0 {
                let found = block as u64 * BLOCK_BYTES + u64::from(gaps.trailing_zeros()) * 8;
                return Some(start..found.min(end));
            }
            block += 1;
            if block as u64 * BLOCK_BYTES >= end {
                return Some(start..end);
            }
            gaps = !self.block(block);
        }
    }

    /// The marked words of a block.
    #[inline]
    #[must_use]
    pub fn block(&self, block: usize) -> u64 {
        self.bits.get(block).load(Ordering::Relaxed)
    }

    /// The regions, modulo 64, that a page's slots may point into.
    #[inline]
    #[must_use]
    pub fn signature(&self, page: PageId) -> u64 {
        self.signatures.get(page.index()).load(Ordering::Relaxed)
    }

    /// Notes that a slot at `offset` points to `target`. Marker and mutators add at the same time.
    #[inline]
    pub fn note_reference(&self, offset: u64, target: Ref) {
        let bit = signature_bit(RegionId::of(target.offset()));
        let entry = self.signatures.get(self.geometry.page_of(offset).index());
        // The load saves the locked instruction in the common case that the bit is set.
        if entry.load(Ordering::Relaxed) & bit == 0 {
            entry.fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// Notes that the slots in `[start, end)` may point anywhere.
    pub fn note_any_reference(&self, start: u64, end: u64) {
        for page in self.geometry.pages(start, end) {
            self.signatures.get(PageId(page).index()).store(u64::MAX, Ordering::Relaxed);
        }
    }

    /// Forgets all marks of a region. No thread may be marking.
    pub fn clear_region(&self, regions: &RegionTable, id: RegionId) {
        self.bits.clear(block_of(id.start())..block_of(id.end()));
        let pages = self.geometry.pages(id.start(), id.end());
        let pages = pages.start as usize..pages.end as usize;
        self.reaching.clear(pages.clone());
        self.signatures.clear(pages);
        regions.get(id).clear_live_bytes();
    }
}

/// A region's bit in a signature.
#[inline]
#[must_use]
pub fn signature_bit(id: RegionId) -> u64 {
    1 << (id.0 & 63)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Kind;
    use proptest::prelude::*;

    fn tables() -> (Marks, RegionTable) {
        let geometry = Geometry::new(4096, 1 << 30, 1 << 30);
        (Marks::new(geometry).unwrap(), RegionTable::new(geometry).unwrap())
    }

    proptest! {
        #[test]
        fn objects_are_found_again_by_their_bits(
            gaps_and_slots in proptest::collection::vec((0_u64..9, 0_usize..700), 1..200),
        ) {
            let (marks, regions) = tables();
            let mut objects = Vec::new();
            let mut offset = 8;
            for (gap, slots) in gaps_and_slots {
                offset += gap * 8;
                let header = Header::new(Kind::Tuple, slots, 0).unwrap();
                if offset + header.bytes() > (2 << 20) {
                    break;
                }
                prop_assert!(marks.mark(&regions, Ref::at(offset), header));
                prop_assert!(!marks.mark(&regions, Ref::at(offset), header));
                objects.push((offset, header));
                offset += header.bytes();
            }
            let mut at = 0;
            for (offset, header) in &objects {
                prop_assert_eq!(marks.next_marked(at, 2 << 20), Some(*offset));
                at = offset + header.bytes();
            }
            prop_assert_eq!(marks.next_marked(at, 2 << 20), None);
            let mut runs: Vec<Range<u64>> = Vec::new();
            for (offset, header) in &objects {
                match runs.last_mut() {
                    Some(run) if run.end == *offset => run.end += header.bytes(),
                    _ => runs.push(*offset..offset + header.bytes()),
                }
            }
            let mut found = Vec::new();
            let mut from = 0;
            while let Some(run) = marks.next_run(from, 2 << 20, u64::MAX >> 1) {
                let part = marks.next_run(from, 2 << 20, 40).unwrap();
                prop_assert_eq!(part, run.start..run.end.min(run.start + 40));
                from = run.end;
                found.push(run);
            }
            prop_assert_eq!(found, runs);
            let live: u64 = objects.iter().map(|(_, header)| header.bytes()).sum();
            prop_assert_eq!(regions.get(RegionId(0)).live_bytes(), live);
            for page in 0..512 {
                let start = u64::from(page) * 4096;
                let reaching = objects.iter().find(|(offset, header)| *offset < start && offset + header.bytes() > start);
                prop_assert_eq!(marks.reaching_into(PageId(page)), reaching.map(|(offset, _)| Ref::at(*offset)));
            }
            marks.clear_region(&regions, RegionId(0));
            prop_assert_eq!(marks.next_marked(0, 2 << 20), None);
        }
    }
}
