//! Lists, with Python's semantics.
//!
//! ```text
//! List   slots: [items]               words: [lock, len]
//! Items  slots: the items, then spare room, which is EMPTY
//! ```
//!
//! An empty list may have no Items at all. Every function here takes the list's lock, so threads may share a list, and what a function
//! does is whole for others; those that say so may poll, after which the caller's references are no longer valid. The
//! values they return are, until the operation polls again or ends. Long ones only claim the list: others read it
//! meanwhile, and change it afterwards.

mod beside;
mod items;
mod slice;
mod splice;

use super::header::Kind;
use super::pieces::in_pieces;
use super::scalar::Scalar;
use super::value::{Ref, Value};
use crate::mutator::{Handle, Op, Retry};
use items::Body;

pub use slice::{Slice, Span, assign_slice, copy_slice, delete_slice};
pub use splice::{repeat, splice, splice_from};

/// Most slots read or written by a change in place, while readers wait. A longer one is prepared beside what they read.
const SHORT_MAX: usize = 4096;

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

/// The Items of a new list with room for some, and what says how many of them are used: for containers that fill a list.
pub(super) fn items_of(op: &Op<'_>, list: Ref) -> Option<Ref> {
    Body::of(op, list).items
}

/// See [`items_of`].
pub(super) fn set_filled(op: &mut Op<'_>, list: Ref, len: usize) {
    items::set_len(op, list, len);
}

/// Number of items. O(1).
///
/// # Errors
/// [`Retry`] when another thread is using the list.
pub fn len(op: &mut Op<'_>, mut list: Ref) -> Result<usize, Retry> {
    op.reading(&mut list, |op, list| Ok(Body::of(op, *list).len))
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
    op.reading(&mut list, |op, list| {
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
    if Body::of(op, list).len > SHORT_MAX {
        beside::grow(op, &mut list)?;
    }
    op.locked(&mut list, |op, list| {
        let len = Body::of(op, *list).len;
        let items = items::make_room(op, list, len + 1)?;
        let item = item.materialise(op)?;
        op.store(items, len, item);
        items::set_len(op, *list, len + 1);
        Ok(())
    })
}

/// Inserts an item at a position as Python's `insert` has it: counted from the end where it is negative, and at an end where
/// it lies beyond. May poll. O(items behind).
///
/// # Errors
/// [`Retry`] when there is no room or another thread is using the list; its content has not changed then.
pub fn insert_at(op: &mut Op<'_>, list: Ref, at: isize, item: &Scalar<'_>) -> Result<(), Retry> {
    let place = |len| (Slice { start: at, ..Slice::ALL }.span(len).start, 0);
    splice::splice_at(op, list, place, std::slice::from_ref(item))
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
pub fn remove(op: &mut Op<'_>, list: Ref, i: usize) -> Result<Option<Value>, Retry> {
    remove_if(op, list, i, |_, _, _| Ok(true))
}

/// As [`remove`], if `wanted` says so, which gets the list and the item and must not poll.
///
/// # Errors
/// As [`remove`], and those of `wanted`.
pub fn remove_if(
    op: &mut Op<'_>,
    mut list: Ref,
    i: usize,
    wanted: impl FnOnce(&mut Op<'_>, Ref, Value) -> Result<bool, Retry>,
) -> Result<Option<Value>, Retry> {
    op.locked_if(&mut list, |op, list| {
        let len = Body::of(op, *list).len;
        if i >= len {
            return Ok(None);
        }
        op.about_to_touch(len - i)?;
        items::give_back(op, list)?;
        let Some(items) = Body::of(op, *list).slot(i) else { return Ok(None) };
        let removed = op.load(items, i);
        if !wanted(op, *list, removed)? {
            return Ok(None);
        }
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
        op.about_to_touch(body.len)?;
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
pub fn copy(op: &mut Op<'_>, list: Ref, start: usize, step: isize, count: usize) -> Result<Ref, Retry> {
    let span = |len| Span { start, step, count: count.min(steps_inside(len, start, step)) };
    copy_of(op, list, span).map(|(copy, _)| copy)
}

/// A new list with the items of a slice, and how often the list was changed before. May poll. O(items).
///
/// # Errors
/// [`Retry`] when there is no room or another thread is using the list.
pub fn snapshot(op: &mut Op<'_>, list: Ref, slice: Slice) -> Result<(Ref, u64), Retry> {
    copy_of(op, list, |len| slice.span(len))
}

/// A new list with the items that `span` tells from the list's length, all of which it has, and how often the list was changed before.
fn copy_of(op: &mut Op<'_>, mut list: Ref, span: impl Fn(usize) -> Span) -> Result<(Ref, u64), Retry> {
    let copy = |op: &mut Op<'_>, list: &mut Ref| {
        let (body, changes) = (Body::of(op, *list), op.changes(*list));
        let span = span(body.len);
        let copy = new(op, span.count)?;
        let (Some(from), Some(to)) = (body.items, Body::of(op, copy).items) else { return Ok((copy, changes)) };
        let mut refs = [*list, copy, from, to];
        in_pieces(op, &mut refs, span.count, |op, &[_, _, from, to], piece| {
            if span.step == 1 {
                return op.copy_slots(from, span.start + piece.start, to, piece.start, piece.len());
            }
            for i in piece {
                let item = op.load(from, span.at(i));
                op.store(to, i, item);
            }
        });
        let [source, copy, ..] = refs;
        *list = source;
        items::set_len(op, copy, span.count);
        Ok((copy, changes))
    };
    // A guess: only the lock makes it certain, but how it is done is all that it decides.
    let count = span(Body::of(op, list).len).count;
    op.about_to_touch(count)?;
    if count <= SHORT_MAX { op.reading(&mut list, copy) } else { op.claimed(&mut list, copy) }
}

/// A new list with the items of a list or tuple, and then those of another; they may be the same. May poll. O(items).
///
/// # Errors
/// [`Retry`] when there is no room or another thread is using one of the lists.
pub fn concat(op: &mut Op<'_>, left: Handle, right: Handle) -> Result<Ref, Retry> {
    let mut first = op.handle_get(left);
    let is_shared = |op: &Op<'_>, object: Ref| op.header(object).kind() == Kind::List;
    if !is_shared(op, first) {
        return concat_claimed(op, &mut first, right);
    }
    op.claimed(&mut first, |op, first| {
        let mut second = op.handle_get(right);
        if second == *first || !is_shared(op, second) {
            return concat_claimed(op, first, right);
        }
        op.claimed(&mut second, |op, second| {
            let joined = concat_claimed(op, first, right);
            *second = op.handle_get(right);
            joined
        })
    })
}

/// The first of which is `first`, which is kept up to date. Both are claimed.
fn concat_claimed(op: &mut Op<'_>, first: &mut Ref, right: Handle) -> Result<Ref, Retry> {
    let (left_slots, left_len) = splice::sequence(op, *first);
    let (right_slots, right_len) = splice::sequence(op, op.handle_get(right));
    op.about_to_touch(left_len + right_len)?;
    let joined = new(op, left_len + right_len)?;
    let Some(items) = Body::of(op, joined).items else { return Ok(joined) };
    let mut refs = [*first, left_slots, joined, items, right_slots];
    beside::copy_range(op, &mut refs, (0, 0), left_len);
    refs.swap(1, 4);
    beside::copy_range(op, &mut refs, (0, left_len), right_len);
    items::set_len(op, refs[2], left_len + right_len);
    *first = refs[0];
    Ok(refs[2])
}

/// Gives a list the items of another one, which nobody else knows and which loses them, unless it was changed since it had been `changes`
/// times: whether it was not. O(1).
///
/// # Errors
/// [`Retry`] when another thread is using the list; it has not changed then.
pub fn replace_unchanged(op: &mut Op<'_>, mut list: Ref, changes: u64, from: Ref) -> Result<bool, Retry> {
    op.locked(&mut list, |op, list| {
        if op.changes(*list) != changes {
            return Ok(false);
        }
        let Body { items, len } = Body::of(op, from);
        items::install(op, *list, items);
        items::set_len(op, *list, len);
        items::empty(op, from);
        Ok(true)
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
