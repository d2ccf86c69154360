//! Equal strings stored once: a small cache in front of the allocation of string leaves.
//!
//! An interner is a slot array seen as sets of [`WAYS`] ways; a string's hash says its set. A newcomer to a full set
//! enters in the middle and pushes the last one out; one that is found in the back half goes to the front. So a flood
//! of strings that occur once cannot displace those that occur often. It is a cache and no registry: two equal strings
//! may both be stored, and equal references say that strings are equal, different ones say nothing. Threads may use it
//! at the same time without a lock, as every way holds some string whole at any time; the worst that two at once do is
//! to forget one.

use std::ops::Range;

use super::header::Kind;
use super::scalar::{is_leaf_of, leaf};
use super::value::{Ref, Value};
use crate::Interned;
use crate::mutator::{Op, Retry};

/// Ways of a set.
const WAYS: usize = 4;
/// The way at which a newcomer enters a full set.
const ENTRANCE: usize = WAYS / 2;

/// The interned string with these bytes; if there is none, a new leaf, which takes a place in the cache. O(length).
///
/// # Errors
/// [`Retry`] when there is no room for the leaf; the cache has not changed then.
pub(super) fn share(op: &mut Op<'_>, which: Interned, bytes: &[u8], hash: u64) -> Result<Value, Retry> {
    let interner = op.interner(which);
    let set = first_slot(op, interner, hash);
    if let Some((way, value)) = find_in_set(op, interner, set, bytes) {
        if way >= ENTRANCE {
            push_back(op, interner, set..set + way);
            op.store_uncounted(interner, set, value);
        }
        return Ok(value);
    }
    let value = leaf(op, Kind::Str, bytes)?;
    let way = (0..WAYS).find(|way| op.load(interner, set + way) == Value::EMPTY).unwrap_or_else(|| {
        push_back(op, interner, set + ENTRANCE..set + WAYS - 1);
        ENTRANCE
    });
    op.store_uncounted(interner, set + way, value);
    Ok(value)
}

/// Moves the strings in these slots one slot back, over what is there.
fn push_back(op: &mut Op<'_>, interner: Ref, slots: Range<usize>) {
    for slot in slots.rev() {
        let value = op.load(interner, slot);
        op.store_uncounted(interner, slot + 1, value);
    }
}

/// The first slot of the set that a hash belongs to.
fn first_slot(op: &Op<'_>, interner: Ref, hash: u64) -> usize {
    let sets = (op.header(interner).slots() / WAYS) as u64;
    // The lower half of the hash, scaled: dicts use the upper one.
    (((hash & 0xffff_ffff) * sets) >> 32) as usize * WAYS
}

/// The way that holds these bytes, and what was seen in it: another thread may write the slot right after.
fn find_in_set(op: &Op<'_>, interner: Ref, set: usize, bytes: &[u8]) -> Option<(usize, Value)> {
    (0..WAYS)
        .map(|way| (way, op.load(interner, set + way)))
        .find(|(_, held)| held.as_ref().is_some_and(|object| is_leaf_of(op, object, Kind::Str, bytes)))
}

#[cfg(test)]
mod tests;
