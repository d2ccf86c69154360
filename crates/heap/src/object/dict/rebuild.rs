//! New entries or a new index for a dict: larger, smaller, or without gaps.
//!
//! Entries and index are replaced one at a time, each step complete in itself and invisible to users: an operation that
//! finds no room for the second keeps the first when it is tried again. An index need not fit the entries exactly, only
//! be large enough.
//!
//! Closing gaps gives entries new numbers, and the index has to follow, without looking at a single key: those are
//! spread over the heap. The new number of an entry is the rank of its old one among the live entries, found as the
//! collector finds an object's new address: for each block of 64 entries one knows which of them are live, and how many
//! are live in front of the block. That takes a quarter of a byte an entry, little enough to stay in the processor's
//! caches while the index streams past.

use super::table::{self, Table};
use super::{SMALL_MAX, index};
use crate::memory;
use crate::mutator::{Op, Retry};
use crate::object::header::{Kind, SLOTS_MAX};
use crate::object::key;
use crate::object::pieces::in_pieces;
use crate::object::value::{Ref, Value};

/// From this many entries on, a table that only grows gets a quarter more instead of half.
const LARGE_MIN: usize = 4096;

/// New entries with room for `capacity`.
///
/// # Errors
/// [`Retry`] when there is no room, or never can be.
pub(super) fn allocate_entries(op: &mut Op<'_>, capacity: usize) -> Result<Ref, Retry> {
    op.alloc(Kind::DictEntries, capacity.saturating_mul(2), 0)
}

fn allocate_index(op: &mut Op<'_>, capacity: usize) -> Result<Ref, Retry> {
    op.alloc(Kind::DictIndex, 0, index::slots_for(capacity) * 8)
}

/// Sees to it that one more entry fits. Polls if that means copying a large table. O(1) amortised.
///
/// # Errors
/// [`Retry`] when there is no room; no user sees a change then.
pub(super) fn make_room(op: &mut Op<'_>, dict: &mut Ref) -> Result<(), Retry> {
    let table = Table::of(op, *dict);
    if table.used == table.capacity(op) {
        if table.used <= SMALL_MAX && table.has_gaps() {
            close_gaps(op, &table, *dict);
        } else {
            let new = allocate_entries(op, roomier(table.len, table.has_gaps()))?;
            renew_entries(op, dict, new)?;
        }
    }
    let table = Table::of(op, *dict);
    let slots = table.index.map_or(0, |index| index::slots(op, index));
    if table.used >= SMALL_MAX && slots < index::slots_for(table.len + 1) {
        let new = allocate_index(op, table.capacity(op))?;
        renew_index(op, dict, new);
    }
    Ok(())
}

/// Capacity for a table of `len` entries that is full. Where entries come and go, the spare room pays for copying all of them again, so
/// it is large.
pub(super) fn roomier(len: usize, has_gaps: bool) -> usize {
    let spare = match len {
        0..=3 => 4 - len,
        4..=7 => 2.min(SMALL_MAX - len),
        LARGE_MIN.. if !has_gaps => len / 4,
        _ => len / 2,
    };
    // The most that an object can have; who wants more is turned down by `alloc`.
    (len + spare).min(SLOTS_MAX / 2).max(len + 1)
}

/// Gives back memory where not even a quarter of the entries or of the index is needed. Where there is no room for a
/// smaller one, the large one stays: to remove entries must not need memory. Polls if the table is large. O(1)
/// amortised.
///
/// # Errors
/// [`Retry`] when it is worth another try; nothing has changed then.
pub(super) fn give_back(op: &mut Op<'_>, dict: &mut Ref) -> Result<(), Retry> {
    let table = Table::of(op, *dict);
    let capacity = table.capacity(op);
    // In vain it may be, so not at every removal.
    let is_due = table.len.is_multiple_of(capacity / 64 + 1);
    if is_due && capacity > SMALL_MAX && table.len < capacity / 4 {
        let slots = 2 * roomier(table.len, table.has_gaps());
        if let Some(new) = op.alloc_optional(Kind::DictEntries, slots, 0)? {
            match renew_entries(op, dict, new) {
                // The large one stays.
                Err(Retry::Refused(_)) => {}
                renewed => renewed?,
            }
        }
    }
    let table = Table::of(op, *dict);
    let capacity = table.capacity(op);
    let Some(index) = table.index else { return Ok(()) };
    if capacity <= SMALL_MAX {
        table::install(op, *dict, table.entries, None, table.len, table.used);
    } else if is_due && index::slots_for(capacity) < index::slots(op, index) / 2 {
        let bytes = index::slots_for(capacity) * 8;
        if let Some(new) = op.alloc_optional(Kind::DictIndex, 0, bytes)? {
            renew_index(op, dict, new);
        }
    }
    Ok(())
}

/// Moves the live entries of a small table to its front. O(1).
fn close_gaps(op: &mut Op<'_>, table: &Table, dict: Ref) {
    let Some(entries) = table.entries else { return };
    let mut len = 0;
    for entry in 0..table.used {
        if table.is_live(op, entry) {
            for half in 0..2 {
                let value = op.load(entries, 2 * entry + half);
                op.store_uncounted(entries, 2 * len + half, value);
            }
            len += 1;
        }
    }
    for slot in 2 * len..2 * table.used {
        op.store_uncounted(entries, slot, Value::EMPTY);
    }
    table::install_copied(op, dict, table.entries, table.index, len, len);
    table::bump_generation(op, dict);
}

/// Moves the live entries to new ones, which are empty and have room for them. Polls if there are many. O(used).
fn renew_entries(op: &mut Op<'_>, dict: &mut Ref, new: Ref) -> Result<(), Retry> {
    let mut refs = [*dict, new];
    let Table { len, used, .. } = Table::of(op, *dict);
    if len == used {
        copy_entries(op, &mut refs, used);
    } else {
        let ranks = copy_live_entries(op, &mut refs, used)?;
        renumber_index(op, &mut refs, &ranks);
        table::bump_generation(op, refs[0]);
    }
    let [moved, new] = refs;
    *dict = moved;
    let index = Table::of(op, moved).index;
    table::install_copied(op, moved, Some(new), index, len, len);
    Ok(())
}

/// Moves the index to a new one, which is empty and large enough; where there is none yet, the table is small, and its
/// keys are hashed. Polls if it is large. O(slots).
fn renew_index(op: &mut Op<'_>, dict: &mut Ref, new: Ref) {
    let mut refs = [*dict, new];
    carry_index(op, &mut refs, |entry| entry);
    let [moved, new] = refs;
    *dict = moved;
    let table = Table::of(op, moved);
    if table.index.is_none()
        && let Some(entries) = table.entries
    {
        hash_entries(op, entries, table.used, new);
    }
    table::install_copied(op, moved, table.entries, Some(new), table.len, table.used);
}

/// A copy of a dict, without gaps or spare room. Polls if it is large; fails only before that. O(used).
///
/// # Errors
/// [`Retry`] when there is no room.
pub(super) fn copy(op: &mut Op<'_>, dict: &mut Ref) -> Result<Ref, Retry> {
    let Table { len, used, index, .. } = Table::of(op, *dict);
    op.about_to_touch(4 * used)?;
    let copy = super::new(op, 0)?;
    if len == 0 {
        return Ok(copy);
    }
    let entries = allocate_entries(op, len)?;
    let new_index = if index.is_some() && len > SMALL_MAX { allocate_index(op, len)? } else { entries };
    let has_index = new_index != entries;
    let mut refs = [*dict, entries, copy, new_index];
    let ranks = if len == used {
        copy_entries(op, &mut refs, used);
        None
    } else {
        Some(copy_live_entries(op, &mut refs, used)?)
    };
    refs.swap(1, 3);
    if has_index {
        carry_index(op, &mut refs, |entry| ranks.as_ref().map_or(entry, |ranks| ranks.of(entry)));
    }
    let [source, index, copy, entries] = refs;
    *dict = source;
    table::install(op, copy, Some(entries), has_index.then_some(index), len, len);
    Ok(copy)
}

/// Where live entries end up when gaps close.
pub(super) struct Ranks(Vec<Block>);

/// Sixty-four entries.
struct Block {
    /// Which of them are live.
    live: u64,
    /// How many are live in the blocks before.
    in_front: usize,
}

impl Block {
    const ENTRIES: usize = u64::BITS as usize;
}

impl Ranks {
    /// How many live entries are in front of this one.
    pub(super) fn of(&self, entry: usize) -> usize {
        let block = &self.0[entry / Block::ENTRIES];
        let in_front = block.live & ((1 << (entry % Block::ENTRIES)) - 1);
        block.in_front + in_front.count_ones() as usize
    }
}

// The functions below work on references of which the first is the dict that is read and the second the object that is
// filled; they poll where there is much to do, and keep all of them up to date.

/// Copies the entries of a table without gaps.
pub(super) fn copy_entries<const N: usize>(op: &mut Op<'_>, refs: &mut [Ref; N], used: usize) {
    in_pieces(op, refs, 2 * used, |op, refs, piece| {
        if let Some(old) = Table::of(op, refs[0]).entries {
            op.copy_slots(old, piece.start, refs[1], piece.start, piece.len());
        }
    });
}

/// Copies the live entries of a table with gaps.
///
/// # Errors
/// [`Retry::Refused`]; nothing was copied.
pub(super) fn copy_live_entries<const N: usize>(
    op: &mut Op<'_>,
    refs: &mut [Ref; N],
    used: usize,
) -> Result<Ranks, Retry> {
    let mut ranks = Ranks(Vec::new());
    memory::reserve(&mut ranks.0, used.div_ceil(Block::ENTRIES))?;
    let mut copied = 0;
    in_pieces(op, refs, used, |op, refs, piece| {
        let table = Table::of(op, refs[0]);
        let Some(old) = table.entries else { return };
        for first in piece.clone().step_by(Block::ENTRIES) {
            let block = first..piece.end.min(first + Block::ENTRIES);
            let mut live = block.fold(0, |live, entry| live | u64::from(table.is_live(op, entry)) << (entry - first));
            ranks.0.push(Block { live, in_front: copied });
            while live != 0 {
                let start = live.trailing_zeros();
                let count = (live >> start).trailing_ones();
                let from = first + start as usize;
                op.copy_slots(old, 2 * from, refs[1], 2 * copied, 2 * count as usize);
                copied += count as usize;
                live &= u64::MAX.checked_shl(start + count).unwrap_or(0);
            }
        }
    });
    Ok(ranks)
}

/// Copies the dict's index, if it has one, with new numbers for the entries.
pub(super) fn carry_index<const N: usize>(op: &mut Op<'_>, refs: &mut [Ref; N], renumber: impl Fn(usize) -> usize) {
    let slots = Table::of(op, refs[0]).index.map_or(0, |old| index::slots(op, old));
    in_pieces(op, refs, slots, |op, refs, piece| {
        let Some(old) = Table::of(op, refs[0]).index else { return };
        for slot in piece {
            if let Some((tag, entry)) = index::read(op, old, slot) {
                index::insert(op, refs[1], tag, renumber(entry));
            }
        }
    });
}

/// Gives the entries in the dict's index, if it has one, their new numbers.
fn renumber_index<const N: usize>(op: &mut Op<'_>, refs: &mut [Ref; N], ranks: &Ranks) {
    let slots = Table::of(op, refs[0]).index.map_or(0, |index| index::slots(op, index));
    in_pieces(op, refs, slots, |op, refs, piece| {
        let Some(index) = Table::of(op, refs[0]).index else { return };
        for slot in piece {
            if let Some((tag, entry)) = index::read(op, index, slot) {
                index::write(op, index, slot, tag, ranks.of(entry));
            }
        }
    });
}

/// Fills the first index of a table that was small until now.
pub(super) fn hash_entries(op: &mut Op<'_>, entries: Ref, used: usize, index: Ref) {
    for entry in 0..used {
        let key = op.load(entries, 2 * entry);
        if key != Value::DELETED
            && let Some(hash) = key::hash_stored(op, key)
        {
            index::insert(op, index, index::tag(hash), entry);
        }
    }
}
