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
    #[inline]
    pub(super) fn of(op: &Op<'_>, list: Ref) -> Self {
        Self { items: op.load(list, ITEMS).as_ref(), len: op.word(list, LEN) as usize }
    }

    /// The object whose slot `i` is item `i`, if the list has that item.
    pub(super) fn slot(&self, i: usize) -> Option<Ref> {
        self.items.filter(|_| i < self.len)
    }
}

/// How many items there is room for.
pub(super) fn capacity(op: &Op<'_>, body: &Body) -> usize {
    body.items.map_or(0, |items| op.header(items).slots())
}

/// Gives a list other items.
pub(super) fn install(op: &mut Op<'_>, list: Ref, items: Option<Ref>) {
    op.store(list, ITEMS, items.map_or(Value::EMPTY, Value::reference));
}

/// Says how many items a list has.
pub(super) fn set_len(op: &mut Op<'_>, list: Ref, len: usize) {
    op.set_word(list, LEN, len as u64);
}

/// Sees to it that a list has room for `needed` items, and returns its Items. Complete in itself: a user sees no
/// change. Polls if that means copying a long list. O(1) amortised over the items added.
///
/// # Errors
/// [`Retry`] when there is no room; the list has not changed then.
pub(super) fn make_room(op: &mut Op<'_>, list: &mut Ref, needed: usize) -> Result<Ref, Retry> {
    let body = Body::of(op, *list);
    match body.items {
        Some(items) if needed <= capacity(op, &body) => Ok(items),
        _ => {
            let new = op.alloc(Kind::Items, roomier(needed), 0)?;
            Ok(renew(op, list, new, 0, 0))
        }
    }
}

/// Capacity for a list that needs room for `needed` items: an eighth more, and a multiple of 4.
pub(super) fn roomier(needed: usize) -> usize {
    // The most that an object can have; who wants more is turned down by `alloc`.
    ((needed + needed / 8 + 3) & !3).min(SLOTS_MAX).max(needed)
}

/// Moves a list's items to new ones, which are empty and have room for them, but for `cut` items from `at` on, which
/// are left out. Polls if there are many. O(items that stay).
fn renew(op: &mut Op<'_>, list: &mut Ref, new: Ref, at: usize, cut: usize) -> Ref {
    let body = Body::of(op, *list);
    let mut refs = [*list, body.items.unwrap_or(new), new];
    for (from, to, count) in [(0, 0, at), (at + cut, at, body.len - at - cut)] {
        in_pieces(op, &mut refs, count, |op, &[_, old, new], piece| {
            op.copy_slots(old, from + piece.start, new, to + piece.start, piece.len());
        });
    }
    let [moved, _, new] = refs;
    *list = moved;
    if cut > 0 {
        install(op, moved, Some(new));
        set_len(op, moved, body.len - cut);
    } else {
        op.store_copied(moved, ITEMS, Value::reference(new));
    }
    new
}

/// Removes all items, and the room for them.
pub(super) fn empty(op: &mut Op<'_>, list: Ref) {
    install(op, list, None);
    set_len(op, list, 0);
}

/// Smaller items for a list that will use less than a quarter of its room with `len` items. `None` where it will not,
/// and where there is no room for them: then the large ones stay, as to remove items must not need memory.
///
/// # Errors
/// [`Retry`] when it is worth another try; nothing has changed then.
fn smaller(op: &mut Op<'_>, list: Ref, len: usize) -> Result<Option<Ref>, Retry> {
    let capacity = capacity(op, &Body::of(op, list));
    if capacity <= KEPT || len >= capacity / 4 {
        return Ok(None);
    }
    op.alloc_optional(Kind::Items, roomier(len), 0)
}

/// Removes `count` items from `at` on. Needs no room, but gives back what is not needed any more. Polls if there are
/// many items. O(items behind `at` + count), or O(items that stay).
///
/// # Errors
/// [`Retry`] when it is worth another try; nothing has changed then.
pub(super) fn cut_out(op: &mut Op<'_>, list: &mut Ref, at: usize, count: usize) -> Result<(), Retry> {
    let body = Body::of(op, *list);
    let Some(items) = body.items else { return Ok(()) };
    let left = body.len - count;
    if left == 0 {
        empty(op, *list);
    } else if let Some(new) = smaller(op, *list, left)? {
        renew(op, list, new, at, count);
    } else {
        let mut refs = [*list, items];
        shift(op, &mut refs, at + count, at, left - at);
        wipe(op, &mut refs, left, count);
        *list = refs[0];
        set_len(op, *list, left);
    }
    Ok(())
}

/// Gives back memory of a list that uses less than a quarter of its room. Polls if there are many items. O(1)
/// amortised.
///
/// # Errors
/// [`Retry`] when it is worth another try; nothing has changed then.
pub(super) fn give_back(op: &mut Op<'_>, list: &mut Ref) -> Result<(), Retry> {
    let body = Body::of(op, *list);
    // In vain it may be, so not at every removal.
    if body.len.is_multiple_of(capacity(op, &body) / 64 + 1)
        && let Some(new) = smaller(op, *list, body.len)?
    {
        renew(op, list, new, 0, 0);
    }
    Ok(())
}

/// As [`give_back`], after many removals at once, where it is too late to try again.
pub(super) fn give_back_now(op: &mut Op<'_>, list: &mut Ref) {
    let len = Body::of(op, *list).len;
    if let Ok(Some(new)) = smaller(op, *list, len) {
        renew(op, list, new, 0, 0);
    }
}

// The functions below work on references of which the second is the Items; they poll where there is much to do, and
// keep all of them up to date.

/// Moves `count` slots from `from` on to `to` on, as memmove does. O(count).
pub(super) fn shift<const N: usize>(op: &mut Op<'_>, refs: &mut [Ref; N], from: usize, to: usize, count: usize) {
    if from == to {
        return;
    }
    in_pieces(op, refs, count, |op, refs, piece| {
        // Towards the front from the first on, towards the end from the last on: nothing is overwritten before it has
        // moved.
        let first = if to < from { piece.start } else { count - piece.end };
        op.move_slots(refs[1], from + first, to + first, piece.len());
    });
}

/// Empties `count` slots from `from` on. O(count).
pub(super) fn wipe<const N: usize>(op: &mut Op<'_>, refs: &mut [Ref; N], from: usize, count: usize) {
    in_pieces(op, refs, count, |op, refs, piece| op.clear_slots(refs[1], from + piece.start, piece.len()));
}
