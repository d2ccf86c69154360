//! Finding a key: entry by entry in a small table, by the index in a larger one.

use super::index;
use super::table::{Found, Table};
use crate::Interned;
use crate::mutator::Op;
use crate::object::intern;
use crate::object::key::{self, Key, SHARED_KEY_MAX};
use crate::object::value::Value;

/// Finds `key`. Allocates nothing. O(1) expected.
pub(super) fn find(op: &Op<'_>, table: &Table, key: &Key<'_>) -> Option<Found> {
    match table.index {
        None => find_small(op, table, key),
        Some(index) => {
            let twin = immediate(key);
            index::find(op, index, index::tag(key.hash(op)?), |entry| {
                let stored = table.key(op, entry);
                twin == Some(stored) || key.equals(op, stored)
            })
        }
    }
}

/// Searches a table of at most [`super::SMALL_MAX`] entries: first for the very bits that the key is most likely stored as, then,
/// unless these are the only ones it can have, for an equal key.
fn find_small(op: &Op<'_>, table: &Table, key: &Key<'_>) -> Option<Found> {
    let entry = |found| Found { entry: found, slot: None };
    let twin = immediate(key);
    if let Some(twin) = twin.or_else(|| interned(op, key)) {
        let found = (0..table.used).find(|at| table.key(op, *at) == twin);
        if found.is_some() {
            return found.map(entry);
        }
    }
    if twin.is_some() && !is_number(key) {
        return None;
    }
    (0..table.used).find(|at| key.equals(op, table.key(op, *at))).map(entry)
}

/// The slot content that a key has when it needs no object. Only for numbers is that not the one form of all equal keys.
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

/// The interned string that equals the key.
fn interned(op: &Op<'_>, key: &Key<'_>) -> Option<Value> {
    match *key {
        Key::Str(bytes) if bytes.len() <= SHARED_KEY_MAX => {
            intern::find(op, Interned::Keys, bytes, key::hash_bytes(op, bytes))
        }
        _ => None,
    }
}

/// Where a live entry is, in the index too.
pub(super) fn locate(op: &Op<'_>, table: &Table, entry: usize) -> Found {
    let slot = table.index.and_then(|index| {
        let tag = index::tag(key::hash_stored(op, table.key(op, entry))?);
        index::find(op, index, tag, |found| found == entry)?.slot
    });
    Found { entry, slot }
}
