//! Lists, with Python's semantics.
//!
//! ```text
//! List   slots: [items]               words: [lock, len | changes << 32]
//! Items  slots: the items, then spare room, which is EMPTY
//! ```
//!
//! An empty list may have no Items at all. Every function here takes the list's lock, so threads may share a list;
//! those that say so may poll, after which the caller's references are no longer valid. The values they return are,
//! until the operation polls again or ends.

mod items;
mod splice;

use super::header::Kind;
use super::pieces::in_pieces;
use super::scalar::Scalar;
use super::value::{Ref, Value};
use crate::mutator::{Op, Retry};
use items::Body;

pub use splice::{splice, splice_from};

/// A new empty list with room for exactly `capacity` items. O(capacity).
///
/// # Errors
/// [`Retry`] when there is no room.
pub fn new(op: &mut Op<'_>, capacity: usize) -> Result<Ref, Retry> {
    let list = op.alloc(Kind::List, 1, 16)?;
    if capacity > 0 {
        let items = op.alloc(Kind::Items, capacity, 0)?;
        items::install(op, list, Some(items));
    }
    Ok(list)
}

/// Number of items. O(1).
///
/// # Errors
/// [`Retry`] when another thread is using the list.
pub fn len(op: &mut Op<'_>, mut list: Ref) -> Result<usize, Retry> {
    op.locked(&mut list, |op, list| Ok(Body::of(op, *list).len))
}

/// How often the list was changed, modulo 2^32: two equal counts with less than 2^32 changes between them mean that the
/// list is the same. O(1).
///
/// # Errors
/// [`Retry`] when another thread is using the list.
pub fn changes(op: &mut Op<'_>, mut list: Ref) -> Result<u32, Retry> {
    op.locked(&mut list, |op, list| Ok(items::changes(op, *list)))
}

/// Bytes of the list and of the room for its items. O(1).
///
/// # Errors
/// [`Retry`] when another thread is using the list.
pub fn bytes(op: &mut Op<'_>, mut list: Ref) -> Result<usize, Retry> {
    op.locked(&mut list, |op, list| {
        let parts = [Some(*list), Body::of(op, *list).items];
        Ok(parts.into_iter().flatten().map(|part| op.header(part).bytes() as usize).sum())
    })
}

/// Item `i`, if there is one. O(1).
///
/// # Errors
/// [`Retry`] when another thread is using the list.
pub fn get(op: &mut Op<'_>, mut list: Ref, i: usize) -> Result<Option<Value>, Retry> {
    op.locked(&mut list, |op, list| {
        let body = Body::of(op, *list);
        Ok(body.slot(i).map(|items| op.load(items, i)))
    })
}

/// Replaces item `i`; false if there is none. O(1), O(length) for a string or bytes.
///
/// # Errors
/// [`Retry`] when there is no room or another thread is using the list; it has not changed then.
pub fn set(op: &mut Op<'_>, mut list: Ref, i: usize, item: &Scalar<'_>) -> Result<bool, Retry> {
    op.locked(&mut list, |op, list| {
        let body = Body::of(op, *list);
        let Some(items) = body.slot(i) else { return Ok(false) };
        let item = item.materialise(op)?;
        op.store(items, i, item);
        items::set_len(op, *list, body.len);
        Ok(true)
    })
}

/// Adds an item at the end. May poll. O(1) amortised.
///
/// # Errors
/// [`Retry`] when there is no room or another thread is using the list; its content has not changed then.
pub fn push(op: &mut Op<'_>, mut list: Ref, item: &Scalar<'_>) -> Result<(), Retry> {
    op.locked(&mut list, |op, list| {
        let len = Body::of(op, *list).len;
        let items = items::make_room(op, list, len + 1)?;
        let item = item.materialise(op)?;
        op.store(items, len, item);
        items::set_len(op, *list, len + 1);
        Ok(())
    })
}

/// Inserts an item in front of item `i`, or at the end if there are not that many. May poll. O(len - i).
///
/// # Errors
/// [`Retry`] when there is no room or another thread is using the list; its content has not changed then.
pub fn insert(op: &mut Op<'_>, list: Ref, i: usize, item: &Scalar<'_>) -> Result<(), Retry> {
    splice(op, list, i, 0, std::slice::from_ref(item))
}

/// Removes item `i` and returns it, if there is one. May poll. O(len - i), amortised.
///
/// # Errors
/// [`Retry`] when another thread is using the list; removing needs no room.
pub fn remove(op: &mut Op<'_>, mut list: Ref, i: usize) -> Result<Option<Value>, Retry> {
    op.locked(&mut list, |op, list| {
        let len = Body::of(op, *list).len;
        if i >= len {
            return Ok(None);
        }
        items::give_back(op, list)?;
        let Some(items) = Body::of(op, *list).slot(i) else { return Ok(None) };
        let removed = op.load(items, i);
        // The removed item may be an object, which safepoints move too. For any other value, the items stand in.
        let mut refs = [*list, items, removed.as_ref().unwrap_or(items)];
        items::shift(op, &mut refs, i + 1, i, len - i - 1);
        let [moved, items, object] = refs;
        *list = moved;
        op.clear_slots(items, len - 1, 1);
        items::set_len(op, moved, len - 1);
        Ok(Some(if removed.is_ref() { Value::reference(object) } else { removed }))
    })
}

/// Removes all items from `len` on. May poll. O(items removed), amortised.
///
/// # Errors
/// [`Retry`] when another thread is using the list; removing needs no room.
pub fn truncate(op: &mut Op<'_>, list: Ref, len: usize) -> Result<(), Retry> {
    splice(op, list, len, usize::MAX, &[])
}

/// Removes all items. O(1).
///
/// # Errors
/// [`Retry`] when another thread is using the list.
pub fn clear(op: &mut Op<'_>, mut list: Ref) -> Result<(), Retry> {
    op.locked(&mut list, |op, list| {
        items::empty(op, *list);
        Ok(())
    })
}

/// Reverses the list in place. May poll. O(len).
///
/// # Errors
/// [`Retry`] when another thread is using the list.
pub fn reverse(op: &mut Op<'_>, mut list: Ref) -> Result<(), Retry> {
    op.locked(&mut list, |op, list| {
        let body = Body::of(op, *list);
        let Some(items) = body.items else { return Ok(()) };
        let mut refs = [*list, items];
        in_pieces(op, &mut refs, body.len / 2, |op, &[_, items], piece| {
            for i in piece {
                let (front, back) = (op.load(items, i), op.load(items, body.len - 1 - i));
                op.store(items, i, back);
                op.store(items, body.len - 1 - i, front);
            }
        });
        *list = refs[0];
        items::set_len(op, *list, body.len);
        Ok(())
    })
}

/// A new list with items `start`, `start + step`, ..., at most `count` of them; it ends early where an index leaves the
/// list. May poll. O(count).
///
/// # Errors
/// [`Retry`] when there is no room or another thread is using the list.
pub fn copy(op: &mut Op<'_>, mut list: Ref, start: usize, step: isize, count: usize) -> Result<Ref, Retry> {
    op.locked(&mut list, |op, list| {
        let body = Body::of(op, *list);
        let count = count.min(steps_inside(body.len, start, step));
        let copy = new(op, count)?;
        let (Some(from), Some(to)) = (body.items, Body::of(op, copy).items) else { return Ok(copy) };
        let mut refs = [*list, copy, from, to];
        in_pieces(op, &mut refs, count, |op, &[_, _, from, to], piece| {
            if step == 1 {
                return op.copy_slots(from, start + piece.start, to, piece.start, piece.len());
            }
            for i in piece {
                // Inside the list, as `count` was cut to that.
                let item = op.load(from, start.wrapping_add_signed(step.wrapping_mul(i as isize)));
                op.store(to, i, item);
            }
        });
        let [source, copy, ..] = refs;
        *list = source;
        items::set_len(op, copy, count);
        Ok(copy)
    })
}

/// How many of `start`, `start + step`, ... are below `len`, and not below 0, before the first that is not.
fn steps_inside(len: usize, start: usize, step: isize) -> usize {
    if start >= len {
        return 0;
    }
    match step {
        0 => usize::MAX,
        1.. => (len - 1 - start) / step.unsigned_abs() + 1,
        _ => start / step.unsigned_abs() + 1,
    }
}

#[cfg(test)]
mod tests;
