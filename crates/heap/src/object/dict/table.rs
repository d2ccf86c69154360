//! A dict's entries, and the gaps that removed ones leave.
//!
//! The key of a removed entry is `DELETED`, and its value says how far one may skip. In a maximal run of removed
//! entries the first one holds the run's length and the last one the length negated; a run of one holds 1. That makes
//! removal O(1), as runs that become neighbours merge at their ends, and makes skipping a run O(1) from either end: a
//! queue that takes from the front of a dict with `next(iter(d))` never walks over what it took before. A count inside
//! a run may be one that an end held once: it is short of the run's end then, but never beyond it, since what was
//! removed stays so until the whole table is written anew.
//!
//! A run at the end stays, too: were its positions used again, an iterator that is behind them would not see what is
//! inserted there. Only taking the last entry out gives positions back, as in CPython ([`Table::pop`]).

use super::index;
use crate::mutator::Op;
use crate::object::pieces::PIECE;
use crate::object::value::{Ref, Value, View};

/// Slot of a Dict that holds its entries.
const ENTRIES: usize = 0;
/// Slot of a Dict that holds its index.
const INDEX: usize = 1;
/// Word of a Dict with its number of entries, and how many of the table are used.
const COUNTS: usize = 1;
/// Word of a Dict with its layout generation.
const GENERATION: usize = 2;

/// What a Dict says about its table. Valid until the operation polls.
#[derive(Clone, Copy)]
pub(super) struct Table {
    dict: Ref,
    /// The DictEntries, if there are any.
    pub(super) entries: Option<Ref>,
    /// The DictIndex, if there is one: always where more than [`super::SMALL_MAX`] entries are used.
    pub(super) index: Option<Ref>,
    /// Entries that are live.
    pub(super) len: usize,
    /// Entries that are live or were removed.
    pub(super) used: usize,
}

/// Where a key was found.
#[derive(Clone, Copy)]
pub(super) struct Found {
    /// Its entry.
    pub(super) entry: usize,
    /// Its slot of the index, if it has one.
    pub(super) slot: Option<usize>,
}

impl Table {
    /// The table of a dict.
    pub(super) fn of(op: &Op<'_>, dict: Ref) -> Self {
        let counts = op.word(dict, COUNTS);
        Self {
            dict,
            entries: op.load(dict, ENTRIES).as_ref(),
            index: op.load(dict, INDEX).as_ref(),
            len: (counts & 0xffff_ffff) as usize,
            used: (counts >> 32) as usize,
        }
    }

    /// How many entries there is room for.
    pub(super) fn capacity(&self, op: &Op<'_>) -> usize {
        self.entries.map_or(0, |entries| op.header(entries).slots() / 2)
    }

    /// Whether entries were removed between those that are live.
    pub(super) fn has_gaps(&self) -> bool {
        self.len < self.used
    }

    fn entries(&self) -> Ref {
        self.entries.expect("a dict with a used entry has a table")
    }

    /// The key of a used entry; `DELETED` if it was removed.
    pub(super) fn key(&self, op: &Op<'_>, entry: usize) -> Value {
        op.load(self.entries(), 2 * entry)
    }

    /// The value of a live entry.
    pub(super) fn value(&self, op: &Op<'_>, entry: usize) -> Value {
        op.load(self.entries(), 2 * entry + 1)
    }

    /// Whether a used entry was not removed.
    pub(super) fn is_live(&self, op: &Op<'_>, entry: usize) -> bool {
        self.key(op, entry) != Value::DELETED
    }

    fn set_value(&self, op: &mut Op<'_>, entry: usize, value: Value) {
        op.store(self.entries(), 2 * entry + 1, value);
    }

    /// Sets the value of a live entry and returns the old one.
    pub(super) fn replace(&self, op: &mut Op<'_>, entry: usize, value: Value) -> Value {
        let old = self.value(op, entry);
        self.set_value(op, entry, value);
        old
    }

    /// Adds an entry; there is room. A key without a hash equals nothing and needs no place in the index.
    pub(super) fn append(&mut self, op: &mut Op<'_>, hash: Option<u64>, key: Value, value: Value) {
        let entry = self.used;
        op.store(self.entries(), 2 * entry, key);
        self.set_value(op, entry, value);
        if let (Some(index), Some(hash)) = (self.index, hash) {
            index::insert(op, index, index::tag(hash), entry);
        }
        self.set_counts(op, self.len + 1, entry + 1);
    }

    /// Removes a live entry.
    pub(super) fn erase(&mut self, op: &mut Op<'_>, found: Found) {
        if self.is_given_back(op, found) {
            return;
        }
        let entry = found.entry;
        let in_front = if entry == 0 { 0 } else { self.run_with_end_at(op, entry - 1) };
        let behind = if entry + 1 == self.used { 0 } else { self.run_with_end_at(op, entry + 1) };
        op.store(self.entries(), 2 * entry, Value::DELETED);
        let run = in_front + 1 + behind;
        self.set_value(op, entry, hint(1));
        if run > 1 {
            self.set_value(op, entry + behind, hint(-(run as i64)));
            self.set_value(op, entry - in_front, hint(run as i64));
        }
        if in_front > 0 && behind > 0 {
            self.set_value(op, entry, hint(behind as i64 + 1));
        }
        self.set_counts(op, self.len - 1, self.used);
    }

    /// Removes the last live entry, and the positions from its own on.
    pub(super) fn pop(&mut self, op: &mut Op<'_>, found: Found) {
        if self.is_given_back(op, found) {
            return;
        }
        op.clear_slots(self.entries(), 2 * found.entry, 2);
        self.set_counts(op, self.len - 1, found.entry);
    }

    /// Removes the place of an entry in the index. The last entry of what was a large table goes with the table: that
    /// gives memory back and takes none.
    fn is_given_back(&self, op: &mut Op<'_>, found: Found) -> bool {
        let Some(index) = self.index else { return false };
        if self.len == 1 {
            install(op, self.dict, None, None, 0, 0);
            bump_generation(op, self.dict);
            return true;
        }
        if let Some(slot) = found.slot {
            index::remove(op, index, slot);
        }
        false
    }

    /// Length of the run of removed entries that has `entry` as its first or last; 0 if that is live.
    fn run_with_end_at(&self, op: &Op<'_>, entry: usize) -> usize {
        if self.is_live(op, entry) { 0 } else { self.hint(op, entry).unsigned_abs() as usize }
    }

    /// What a removed entry says: from it, this many entries forward, or backward if it is negative, are removed.
    fn hint(&self, op: &Op<'_>, entry: usize) -> i64 {
        match self.value(op, entry).view() {
            View::Int(hint) => hint,
            _ => panic!("removed dict entry {entry} says nothing about its run"),
        }
    }

    fn set_counts(&mut self, op: &mut Op<'_>, len: usize, used: usize) {
        (self.len, self.used) = (len, used);
        op.set_word(self.dict, COUNTS, len as u64 | (used as u64) << 32);
    }
}

fn hint(entries: i64) -> Value {
    Value::small_int(entries).expect("the length of a table fits a slot")
}

/// The first live entry at `position` or behind it. Polls while it walks over removed entries one by one.
pub(super) fn first_live_from(op: &mut Op<'_>, dict: &mut Ref, position: usize) -> Option<usize> {
    let mut at = position;
    loop {
        let table = Table::of(op, *dict);
        for _ in 0..PIECE {
            if at >= table.used {
                return None;
            }
            if table.is_live(op, at) {
                return Some(at);
            }
            at += table.hint(op, at).max(1) as usize;
        }
        poll(op, dict);
    }
}

/// The last live entry in front of `position`. Polls while it walks over removed entries one by one.
pub(super) fn last_live_before(op: &mut Op<'_>, dict: &mut Ref, position: usize) -> Option<usize> {
    let mut end = position.min(Table::of(op, *dict).used);
    loop {
        let table = Table::of(op, *dict);
        for _ in 0..PIECE {
            let entry = end.checked_sub(1)?;
            if table.is_live(op, entry) {
                return Some(entry);
            }
            end -= table.hint(op, entry).min(-1).unsigned_abs() as usize;
        }
        poll(op, dict);
    }
}

fn poll(op: &mut Op<'_>, dict: &mut Ref) {
    op.poll(std::slice::from_mut(dict));
}

/// The dict's layout generation.
pub(super) fn generation(op: &Op<'_>, dict: Ref) -> u64 {
    op.word(dict, GENERATION)
}

/// Says that entries changed their positions.
pub(super) fn bump_generation(op: &mut Op<'_>, dict: Ref) {
    let next = generation(op, dict).wrapping_add(1);
    op.set_word(dict, GENERATION, next);
}

/// Gives a dict other entries and another index, of which `used` are in use and `len` live.
pub(super) fn install(op: &mut Op<'_>, dict: Ref, entries: Option<Ref>, index: Option<Ref>, len: usize, used: usize) {
    put(op, Op::store, Table { dict, entries, index, len, used });
}

/// As [`install`], where all live entries were copied to those.
pub(super) fn install_copied(
    op: &mut Op<'_>,
    dict: Ref,
    entries: Option<Ref>,
    index: Option<Ref>,
    len: usize,
    used: usize,
) {
    put(op, Op::store_copied, Table { dict, entries, index, len, used });
}

fn put<'h>(op: &mut Op<'h>, store: fn(&mut Op<'h>, Ref, usize, Value), mut table: Table) {
    store(op, table.dict, ENTRIES, table.entries.map_or(Value::EMPTY, Value::reference));
    store(op, table.dict, INDEX, table.index.map_or(Value::EMPTY, Value::reference));
    table.set_counts(op, table.len, table.used);
}
