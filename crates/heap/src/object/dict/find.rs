//! Finding a key: entry by entry in a small table, by the index in a larger one.

use std::cell::OnceCell;

use super::index;
use super::table::{Found, Table};
use crate::mutator::Op;
use crate::object::key::{self, Key};
use crate::object::value::Value;

/// A key that is looked up, and its hash from when it was needed first.
pub(super) struct Probe<'k, 'a> {
    /// The key.
    pub(super) key: &'k Key<'a>,
    hash: OnceCell<Option<u64>>,
}

impl<'k, 'a> Probe<'k, 'a> {
    /// For one operation on one dict.
    pub(super) fn new(key: &'k Key<'a>) -> Self {
        Self { key, hash: OnceCell::new() }
    }

    /// The key's hash, or `None` for one that equals nothing.
    pub(super) fn hash(&self, op: &Op<'_>) -> Option<u64> {
        *self.hash.get_or_init(|| self.key.hash(op))
    }
}

/// Finds a key. Allocates nothing. O(1) expected.
pub(super) fn find(op: &Op<'_>, table: &Table, probe: &Probe<'_, '_>) -> Option<Found> {
    let key = probe.key;
    match table.index {
        None => find_small(op, table, key),
        Some(index) => {
            let twin = immediate(key);
            index::find(op, index, index::tag(probe.hash(op)?), |entry| {
                // The entries behind are of a merge that is not complete.
                if entry >= table.used {
                    return false;
                }
                let stored = table.key(op, entry);
                twin == Some(stored) || key.equals(op, stored)
            })
        }
    }
}

/// Finds the entry with a key that is stored elsewhere, and has this hash, which a table without an index needs not. O(1) expected.
pub(super) fn find_stored(op: &Op<'_>, table: &Table, key: Value, hash: Option<u64>) -> Option<usize> {
    let Some(index) = table.index else {
        return (0..table.used).find(|entry| key::stored_equals(op, table.key(op, *entry), key));
    };
    let found = index::find(op, index, index::tag(hash?), |entry| {
        entry < table.used && key::stored_equals(op, table.key(op, entry), key)
    });
    found.map(|found| found.entry)
}

/// Searches a table of at most [`super::SMALL_MAX`] entries: by the bits of the key if it has only one form, else by
/// comparing.
fn find_small(op: &Op<'_>, table: &Table, key: &Key<'_>) -> Option<Found> {
    let entry = match immediate(key) {
        Some(twin) if !is_number(key) => (0..table.used).find(|entry| table.key(op, *entry) == twin),
        _ => (0..table.used).find(|entry| key.equals(op, table.key(op, *entry))),
    };
    entry.map(|entry| Found { entry, slot: None })
}

/// The slot content that a key has when it needs no object. Only for numbers is that not the one form of all equal
/// keys.
fn immediate(key: &Key<'_>) -> Option<Value> {
    match *key {
        Key::None => Some(Value::NONE),
        Key::Bool(value) => Some(Value::boolean(value)),
        Key::Int(value) => Value::small_int(value),
        Key::Float(value) => Value::float(value),
        Key::Str(bytes) => Value::short_str(bytes),
        Key::Bytes(bytes) => Value::short_bytes(bytes),
        Key::Big(_) | Key::Tuple(_) => None,
    }
}

fn is_number(key: &Key<'_>) -> bool {
    matches!(key, Key::Bool(_) | Key::Int(_) | Key::Big(_) | Key::Float(_))
}

/// Where a live entry is, in the index too.
pub(super) fn locate(op: &Op<'_>, table: &Table, entry: usize) -> Found {
    let slot = table.index.and_then(|index| {
        let tag = index::tag(key::hash_stored(op, table.key(op, entry))?);
        index::find(op, index, tag, |found| found == entry)?.slot
    });
    Found { entry, slot }
}
