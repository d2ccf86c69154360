//! Tuples: slots that are written once, before anybody else sees them, and read without a lock ever after.

use super::header::Kind;
use super::pieces::in_pieces;
use super::scalar::Scalar;
use super::value::{Ref, Value};
use crate::mutator::{Op, Retry};

/// A new tuple of `n` items, all None until [`init`] says otherwise. Polls if `n` is large. O(n).
///
/// # Errors
/// [`Retry`] when there is no room.
pub fn new(op: &mut Op<'_>, n: usize) -> Result<Ref, Retry> {
    let mut refs = [op.alloc(Kind::Tuple, n, 0)?];
    in_pieces(op, &mut refs, n, |op, &[tuple], piece| {
        for i in piece {
            op.store(tuple, i, Value::NONE);
        }
    });
    Ok(refs[0])
}

/// Sets item `i` of a tuple that nobody else has seen yet. Never polls. O(1), O(length) for a string or bytes.
///
/// # Errors
/// [`Retry`] when there is no room; the tuple has not changed then.
///
/// # Panics
/// When there is no item `i`.
pub fn init(op: &mut Op<'_>, tuple: Ref, i: usize, item: &Scalar<'_>) -> Result<(), Retry> {
    assert!(i < len(op, tuple), "a tuple of {} items has no item {i}", len(op, tuple));
    let item = item.materialise(op)?;
    op.store(tuple, i, item);
    Ok(())
}

/// Number of items. O(1).
#[must_use]
pub fn len(op: &Op<'_>, tuple: Ref) -> usize {
    op.header(tuple).slots()
}

/// Item `i`, if there is one. O(1).
#[must_use]
pub fn get(op: &Op<'_>, tuple: Ref, i: usize) -> Option<Value> {
    (i < len(op, tuple)).then(|| op.load(tuple, i))
}

#[cfg(test)]
mod tests;
