//! Where a moved object is now, in constant time, from the mark bitmap and one address for each 512-byte block.
//!
//! ```text
//! new address = base of the block + 8 x (marked words of the block before the object)
//! ```
//!
//! (H. Kermany, E. Petrank: The Compressor, PLDI 2006.) Objects go to destinations in address order, without gaps, so
//! one base serves all objects of a block. The exception is the block in which a destination region ends: its base
//! carries a flag, and the *split* of that destination says from which word on objects went to which region instead.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::object::Ref;
use crate::space::layout::{BLOCK_BYTES, bit_of, block_of};
use crate::space::table::{SideTable, ZeroIsValid};
use crate::space::windows::prefetch_address;
use crate::space::{Geometry, RegionId};

const SPLIT: u64 = 1;

/// Base and marked words of a block, side by side: one cache line serves a lookup.
#[repr(C)]
struct Block {
    base: AtomicU64,
    bits: AtomicU64,
}

// SAFETY: two integers; zero is valid; atomics are Sync.
unsafe impl ZeroIsValid for Block {}

/// The place of a word, given its block's entry and the split of the destination that the base points into.
fn place(base: u64, bits: u64, bit: u32, split: impl FnOnce(RegionId) -> (RegionId, u32)) -> u64 {
    let before = bits & ((1 << bit) - 1);
    if base & SPLIT == 0 {
        return base.wrapping_add(u64::from(before.count_ones()) * 8);
    }
    let base = base & !SPLIT;
    let (next, word) = split(RegionId::of(base));
    if bit < word {
        return base.wrapping_add(u64::from(before.count_ones()) * 8);
    }
    let skipped = (1_u64 << word) - 1;
    next.start() + u64::from((before & !skipped).count_ones()) * 8
}

/// The forwarding table of one heap. Written by the plan, read by everybody during the move.
pub struct Forwarding {
    blocks: SideTable<Block>,
    /// For each destination region that ends inside a block: the region that follows it, and the first word that
    /// went there.
    splits: SideTable<AtomicU64>,
    /// For each region: 1 while its objects are moving. A table of its own, so that the check on every reference
    /// stays in the cache.
    moving: SideTable<AtomicU64>,
}

impl Forwarding {
    /// A table by which nothing moves.
    ///
    /// # Errors
    /// As [`SideTable::new`].
    pub fn new(geometry: &Geometry) -> subduct_kernel::Result<Self> {
        let regions = geometry.all_regions().len();
        Ok(Self {
            blocks: SideTable::new((geometry.total_bytes() / BLOCK_BYTES) as usize)?,
            splits: SideTable::new(regions)?,
            moving: SideTable::new(regions.div_ceil(64))?,
        })
    }

    /// Unmaps the table before it is dropped.
    ///
    /// # Safety
    /// Nobody uses it any more.
    pub unsafe fn release(&self) {
        // SAFETY: by this function's contract.
        unsafe {
            self.blocks.release();
            self.splits.release();
            self.moving.release();
        }
    }

    /// For looking many objects up.
    #[inline]
    #[must_use]
    pub fn lookup(&self) -> Lookup<'_> {
        Lookup { blocks: self.blocks.entries(), moving: self.moving.entries(), splits: self.splits.entries() }
    }

    /// Declares that the objects of a region move, or that they no longer do.
    pub fn set_moving(&self, id: RegionId, moving: bool) {
        let (entry, bit) = (self.moving.get(id.index() / 64), 1 << (id.index() % 64));
        if moving {
            entry.fetch_or(bit, Ordering::Relaxed);
        } else {
            entry.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    /// Gives the entries of a region back that no longer moves: a table that kept them for every region that ever moved
    /// would be a thirtieth of the heap.
    pub fn give_back(&self, id: RegionId) {
        self.blocks.give_back(block_of(id.start())..block_of(id.end()));
    }

    /// Copies a block's marked words and forgets its base.
    pub fn begin_block(&self, block: usize, bits: u64) {
        let entry = self.blocks.get(block);
        entry.bits.store(bits, Ordering::Relaxed);
        entry.base.store(0, Ordering::Relaxed);
    }

    /// Records that the object at `from` goes to `to`. Objects must be recorded in address order; the first of each
    /// block decides the base, and the first that does not follow from it is recorded as a split.
    pub fn record(&self, from: Ref, to: Ref) {
        let (from, to) = (from.offset(), to.offset());
        let entry = self.blocks.get(block_of(from));
        let (bit, bits) = (bit_of(from), entry.bits.load(Ordering::Relaxed));
        let base = entry.base.load(Ordering::Relaxed);
        let before = u64::from((bits & ((1 << bit) - 1)).count_ones()) * 8;
        if base == 0 {
            // The words before may belong to an object of the block before; only the sum matters.
            entry.base.store(to.wrapping_sub(before), Ordering::Relaxed);
        } else if base & SPLIT == 0 && base.wrapping_add(before) != to {
            debug_assert!(to == RegionId::of(to).start(), "a split starts a region");
            let region = RegionId::of(base);
            let split = u64::from(RegionId::of(to).0) << 6 | u64::from(bit);
            self.splits.get(region.index()).store(split, Ordering::Relaxed);
            entry.base.store(base | SPLIT, Ordering::Relaxed);
        }
        debug_assert_eq!(self.lookup().forward(Ref::at(from)).offset(), to, "[inv.forward.total]");
    }
}

/// A forwarding table for looking objects up: where its parts are stays in registers.
#[derive(Clone, Copy)]
pub struct Lookup<'f> {
    blocks: &'f [Block],
    moving: &'f [AtomicU64],
    splits: &'f [AtomicU64],
}

impl Lookup<'_> {
    /// Whether the objects of a region are moving.
    #[inline]
    #[must_use]
    pub fn is_moving(self, id: RegionId) -> bool {
        // Relaxed, here and below: the plan is complete before the flip, whose rendezvous orders it before readers.
        self.moving[id.index() / 64].load(Ordering::Relaxed) >> (id.index() % 64) & 1 == 1
    }

    /// Where an object of a moving region goes.
    #[inline]
    #[must_use]
    pub fn forward(self, object: Ref) -> Ref {
        let offset = object.offset();
        let block = &self.blocks[block_of(offset)];
        let (base, bits) = (block.base.load(Ordering::Relaxed), block.bits.load(Ordering::Relaxed));
        Ref::at(place(base, bits, bit_of(offset), |region| {
            let entry = self.splits[region.index()].load(Ordering::Relaxed);
            (RegionId((entry >> 6) as u32), (entry & 63) as u32)
        }))
    }

    /// Asks for the entry that [`Lookup::forward`] will need.
    #[inline]
    pub fn prefetch(self, object: Ref) {
        prefetch_address(std::ptr::from_ref(&self.blocks[block_of(object.offset())]) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a naive compactor: objects laid out at random are packed into destinations of random room.
        #[test]
        fn every_object_is_found_where_a_naive_compactor_puts_it(
            objects in proptest::collection::vec((0_u64..6, 1_u64..40), 1..400),
            rooms in proptest::collection::vec(40_u64..600, 1..40),
        ) {
            let geometry = Geometry::new(4096, 1 << 30, 1 << 30);
            let forwarding = Forwarding::new(&geometry).unwrap();
            let mut bitmap = vec![0_u64; 4096];
            let mut laid_out = Vec::new();
            let mut word = 1;
            for (gap, words) in objects {
                word += gap;
                laid_out.push((word, words));
                (word..word + words).for_each(|w| bitmap[w as usize / 64] |= 1 << (w % 64));
                word += words;
            }
            for (block, bits) in bitmap.iter().enumerate() {
                forwarding.begin_block(block, *bits);
            }
            // Destination k has room for rooms[k] words, counted back from its end, so that regions end mid-block.
            let mut rooms = rooms.into_iter().cycle();
            let (mut region, mut room) = (RegionId(10), rooms.next().unwrap());
            let mut at = region.end() - room * 8;
            let mut expected = Vec::new();
            for (word, words) in laid_out {
                if room < words {
                    region = region.offset_by(1);
                    // Later destinations are full regions: splits of one block never meet.
                    room = 1 << 18;
                    at = region.start();
                }
                forwarding.record(Ref::at(word * 8), Ref::at(at));
                expected.push((word, at));
                at += words * 8;
                room -= words;
            }
            for (word, at) in expected {
                prop_assert_eq!(forwarding.lookup().forward(Ref::at(word * 8)).offset(), at);
            }
        }
    }
}
