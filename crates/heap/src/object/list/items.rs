//! A list's items: how much room they get, and how they move in it.

use crate::mutator::{Op, Retry};
use crate::object::header::{Kind, SLOTS_MAX};
use crate::object::pieces::in_pieces;
use crate::object::value::{Ref, Value};

/// Slot of a List that holds its items.
const ITEMS: usize = 0;
/// Word of a List with its length.
const LEN: usize = 1;

/// A list with no more room than this keeps it however few items it has.
const KEPT: usize = 16;

/// What a List says about its items. Valid until the operation polls.
#[derive(Clone, Copy)]
pub(super) struct Body {
    /// The Items, if there are any.
    pub(super) items: Option<Ref>,
    /// How many of them are used.
    pub(super) len: usize,
}

impl Body {
    /// The body of a list.
    pub(super) fn of(op: &Op<'_>, list: Ref) -> Self {
        Self { items: op.load(list, ITEMS).as_ref(), len: op.word(list, LEN) as usize }
    }

    /// The object whose slot `i` is item `i`, if the list has that item.
    pub(super) fn slot(&self, i: usize) -> Option<Ref> {
        self.items.filter(|_| i < self.len)
    }

    fn capacity(&self, op: &Op<'_>) -> usize {
        self.items.map_or(0, |items| op.header(items).slots())
    }
}

/// Gives a list other items.
pub(super) fn install(op: &mut Op<'_>, list: Ref, items: Option<Ref>) {
    op.store(list, ITEMS, items.map_or(Value::EMPTY, Value::reference));
}

/// Says how many items a list has.
pub(super) fn set_len(op: &mut Op<'_>, list: Ref, len: usize) {
    op.set_word(list, LEN, len as u64);
}

/// Sees to it that a list has room for `needed` items, and returns its Items. Complete in itself: a user sees no change. Polls if
/// that means copying a long list. O(1) amortised over the items added.
///
/// # Errors
/// [`Retry`] when there is no room; the list has not changed then.
pub(super) fn make_room(op: &mut Op<'_>, list: &mut Ref, needed: usize) -> Result<Ref, Retry> {
    let body = Body::of(op, *list);
    match body.items {
        Some(items) if needed <= body.capacity(op) => Ok(items),
        _ => resize(op, list, roomier(needed)),
    }
}

/// Capacity for a list that needs room for `needed` items: an eighth more, and a multiple of 4.
fn roomier(needed: usize) -> usize {
    // The most that an object can have; whoever wants more is turned down by `alloc`.
    ((needed + needed / 8 + 3) & !3).min(SLOTS_MAX).max(needed)
}

/// Moves a list's items to new ones with this capacity. Polls if there are many; fails only before that.
fn resize(op: &mut Op<'_>, list: &mut Ref, capacity: usize) -> Result<Ref, Retry> {
    let new = op.alloc(Kind::Items, capacity, 0)?;
    let body = Body::of(op, *list);
    let mut refs = [*list, body.items.unwrap_or(new), new];
    in_pieces(op, &mut refs, body.len, |op, &[_, old, new], piece| {
        op.copy_slots(old, piece.start, new, piece.start, piece.len());
    });
    let new = refs[2];
    *list = refs[0];
    install(op, *list, Some(new));
    Ok(new)
}

/// Removes all items, and the room for them.
pub(super) fn empty(op: &mut Op<'_>, list: Ref) {
    install(op, list, None);
    set_len(op, list, 0);
}

/// Gives back memory of a list that does not use even a quarter of its room. Where there is no room for smaller items, the large
/// ones stay: to remove items must not need memory. Polls if there are many. O(1) amortised over the items removed.
pub(super) fn give_back(op: &mut Op<'_>, list: &mut Ref) {
    let body = Body::of(op, *list);
    if body.capacity(op) > KEPT && body.len < body.capacity(op) / 4 {
        // A failure leaves the list as it was.
        let _ = resize(op, list, roomier(body.len));
    }
}

// The functions below work on references of which the second is the Items; they poll where there is much to do, and keep all of
// them up to date.

/// Moves `count` slots from `from` on to `to` on, as memmove does. O(count).
pub(super) fn shift<const N: usize>(op: &mut Op<'_>, refs: &mut [Ref; N], from: usize, to: usize, count: usize) {
    if from == to {
        return;
    }
    in_pieces(op, refs, count, |op, refs, piece| {
        // Towards the front from the first on, towards the end from the last on: nothing is overwritten before it has moved.
        let first = if to < from { piece.start } else { count - piece.end };
        op.move_slots(refs[1], from + first, to + first, piece.len());
    });
}

/// Empties `count` slots from `from` on. O(count).
pub(super) fn wipe<const N: usize>(op: &mut Op<'_>, refs: &mut [Ref; N], from: usize, count: usize) {
    in_pieces(op, refs, count, |op, refs, piece| op.clear_slots(refs[1], from + piece.start, piece.len()));
}
