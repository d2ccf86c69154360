//! The hash table of a dict: from a hash to entry numbers.
//!
//! Open addressing with linear probing. A word is `tag << 32 | entry + 1`, or 0 where it is free; the tag is the upper
//! half of the hash. A tag's home is `tag * slots >> 32`, which grows with the tag: an index copied into another one of
//! any size is read and written from one end to the other. At most two thirds of the slots are taken. A removed key
//! leaves no trace: what follows moves up.

use super::table::Found;
use crate::mutator::Op;
use crate::object::value::Ref;

/// The part of a hash that an index works with.
pub(super) fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// Slots of the index of a table with room for `capacity` entries.
pub(super) fn slots_for(capacity: usize) -> usize {
    capacity + capacity.div_ceil(2)
}

/// Slots of an index.
pub(super) fn slots(op: &Op<'_>, index: Ref) -> usize {
    op.header(index).raw_words()
}

/// Where an index is read, and how far around it.
struct Cursor {
    slot: usize,
    slots: usize,
}

impl Cursor {
    fn at_home(op: &Op<'_>, index: Ref, tag: u32) -> Self {
        let slots = slots(op, index);
        Self { slot: home(tag, slots), slots }
    }

    fn advance(&mut self) {
        self.slot += 1;
        if self.slot == self.slots {
            self.slot = 0;
        }
    }
}

fn home(tag: u32, slots: usize) -> usize {
    ((u64::from(tag) * slots as u64) >> 32) as usize
}

/// The tag and entry in a slot, if it is taken.
pub(super) fn read(op: &Op<'_>, index: Ref, slot: usize) -> Option<(u32, usize)> {
    let word = op.word(index, slot);
    (word != 0).then(|| ((word >> 32) as u32, (word & 0xffff_ffff) as usize - 1))
}

/// Fills a slot.
pub(super) fn write(op: &mut Op<'_>, index: Ref, slot: usize, tag: u32, entry: usize) {
    op.set_word(index, slot, u64::from(tag) << 32 | (entry as u64 + 1));
}

/// The first entry with this tag that `is_it` accepts. O(1) expected.
pub(super) fn find(op: &Op<'_>, index: Ref, tag: u32, mut is_it: impl FnMut(usize) -> bool) -> Option<Found> {
    let mut cursor = Cursor::at_home(op, index, tag);
    while let Some((held, entry)) = read(op, index, cursor.slot) {
        if held == tag && is_it(entry) {
            return Some(Found { entry, slot: Some(cursor.slot) });
        }
        cursor.advance();
    }
    None
}

/// Adds an entry. O(1) expected.
pub(super) fn insert(op: &mut Op<'_>, index: Ref, tag: u32, entry: usize) {
    let mut cursor = Cursor::at_home(op, index, tag);
    while read(op, index, cursor.slot).is_some() {
        cursor.advance();
    }
    write(op, index, cursor.slot, tag, entry);
}

/// Frees a slot, and moves up what was only behind it because it was taken. O(1) expected.
pub(super) fn remove(op: &mut Op<'_>, index: Ref, slot: usize) {
    let slots = slots(op, index);
    let distance = |from: usize, to: usize| if to >= from { to - from } else { to + slots - from };
    let mut hole = slot;
    let mut cursor = Cursor { slot, slots };
    cursor.advance();
    while let Some((tag, entry)) = read(op, index, cursor.slot) {
        if distance(home(tag, slots), cursor.slot) >= distance(hole, cursor.slot) {
            write(op, index, hole, tag, entry);
            hole = cursor.slot;
        }
        cursor.advance();
    }
    op.set_word(index, hole, 0);
}
