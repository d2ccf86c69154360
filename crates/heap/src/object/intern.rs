//! Equal strings stored once: a small cache in front of the allocation of string leaves.
//!
//! An interner is a slot array seen as sets of [`WAYS`] ways; a string's hash says its set. A hit climbs one way towards the front
//! and a newcomer enters in the middle and pushes the last way out, so a flood of strings that occur once cannot displace those
//! that occur often. It is a cache and no registry: two equal strings may both be stored, and only the references say that two
//! are one. Threads may use it at the same time without a lock, as every way holds some string whole at any time; the worst that
//! two at once do is to forget one.

use super::header::Kind;
use super::scalar::{is_leaf_of, leaf};
use super::value::{Ref, Value};
use crate::Interned;
use crate::mutator::{Op, Retry};

/// Ways of a set.
const WAYS: usize = 4;
/// The way at which a newcomer enters.
const ENTRANCE: usize = WAYS / 2;

/// The interned string with these bytes, if there is one. Changes nothing. O(length).
pub(super) fn find(op: &Op<'_>, which: Interned, bytes: &[u8], hash: u64) -> Option<Value> {
    let interner = op.interner(which);
    find_in_set(op, interner, first_slot(op, interner, hash), bytes).map(|(_, value)| value)
}

/// The interned string with these bytes; if there is none, a new leaf, which takes a place in the cache. O(length).
///
/// # Errors
/// [`Retry`] when there is no room for the leaf; the cache has not changed then.
pub(super) fn share(op: &mut Op<'_>, which: Interned, bytes: &[u8], hash: u64) -> Result<Value, Retry> {
    let interner = op.interner(which);
    let set = first_slot(op, interner, hash);
    if let Some((way, value)) = find_in_set(op, interner, set, bytes) {
        if way > 0 {
            let ahead = op.load(interner, set + way - 1);
            op.store(interner, set + way - 1, value);
            op.store(interner, set + way, ahead);
        }
        return Ok(value);
    }
    let value = leaf(op, Kind::Str, bytes)?;
    for way in (ENTRANCE + 1..WAYS).rev() {
        let ahead = op.load(interner, set + way - 1);
        op.store(interner, set + way, ahead);
    }
    op.store(interner, set + ENTRANCE, value);
    Ok(value)
}

/// The first slot of the set that a hash belongs to.
fn first_slot(op: &Op<'_>, interner: Ref, hash: u64) -> usize {
    let sets = op.header(interner).slots() / WAYS;
    (hash as usize % sets) * WAYS
}

/// The way that holds these bytes, and what was seen in it: another thread may write the slot right after.
fn find_in_set(op: &Op<'_>, interner: Ref, set: usize, bytes: &[u8]) -> Option<(usize, Value)> {
    (0..WAYS)
        .map(|way| (way, op.load(interner, set + way)))
        .find(|(_, held)| held.as_ref().is_some_and(|object| is_leaf_of(op, object, Kind::Str, bytes)))
}

#[cfg(test)]
#[path = "intern/tests.rs"]
mod tests;
