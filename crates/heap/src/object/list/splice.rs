//! Replacing a range of a list's items: insertion, deletion and slice assignment.

use smallvec::SmallVec;

use super::items::{self, Body};
use crate::mutator::{Handle, Op, Retry};
use crate::object::header::Kind;
use crate::object::pieces::{PIECE, in_pieces};
use crate::object::scalar::Scalar;
use crate::object::tuple;
use crate::object::value::{Ref, Value};

/// The range of items that is replaced: inside the list, whatever was asked for.
#[derive(Clone, Copy)]
struct Cut {
    start: usize,
    deleted: usize,
    added: usize,
    len: usize,
}

impl Cut {
    fn of(op: &Op<'_>, list: Ref, start: usize, delete_count: usize, added: usize) -> Self {
        let len = Body::of(op, list).len;
        let start = start.min(len);
        Self { start, deleted: delete_count.min(len - start), added, len }
    }

    fn new_len(&self) -> usize {
        self.len - self.deleted + self.added
    }

    /// How many items are behind the range.
    fn tail(&self) -> usize {
        self.len - self.start - self.deleted
    }
}

/// Replaces `delete_count` items from `start` on by `new`; what of that lies beyond the list counts for nothing, as in
/// Python's slices. May poll. O(items behind `start` + new items).
///
/// All of `new` is stored in one operation, so the room for all of it has to be had at once: give a long sequence to a
/// list of its own bit by bit, and then to [`splice_from`].
///
/// # Errors
/// [`Retry`] when there is no room or another thread is using the list; no user sees a change then. With nothing new,
/// no room is needed.
pub fn splice(
    op: &mut Op<'_>,
    mut list: Ref,
    start: usize,
    delete_count: usize,
    new: &[Scalar<'_>],
) -> Result<(), Retry> {
    op.locked(&mut list, |op, list| {
        let cut = Cut::of(op, *list, start, delete_count, new.len());
        let Some(items) = make_room(op, list, cut)? else { return Ok(()) };
        if cut.tail().max(cut.deleted).max(cut.added) > PIECE {
            let mut refs = [*list, items, op.alloc(Kind::Items, cut.added, 0)?];
            let staged = stage_values(op, &mut refs, new);
            *list = refs[0];
            staged?;
            replace(op, &mut refs, cut);
            *list = refs[0];
            return Ok(());
        }
        // Short enough to be done without a safepoint, so the new values stay valid.
        let values = new.iter().map(|item| item.materialise(op)).collect::<Result<SmallVec<[Value; 8]>, _>>()?;
        open(op, &mut [*list, items], cut);
        for (i, value) in values.into_iter().enumerate() {
            op.store(items, cut.start + i, value);
        }
        Ok(())
    })
}

/// As [`splice`], with the first `count` items of a list or tuple, or all of them if they are fewer. It may be the list
/// itself. May poll. O(items behind `start` + new items).
///
/// # Errors
/// [`Retry`] when there is no room or another thread is using one of the lists; no user sees a change then.
pub fn splice_from(
    op: &mut Op<'_>,
    mut list: Ref,
    start: usize,
    delete_count: usize,
    from: Handle,
    count: usize,
) -> Result<(), Retry> {
    op.locked(&mut list, |op, list| {
        let from_now = op.handle_get(from);
        let (_, available) = sequence(op, from_now);
        let cut = Cut::of(op, *list, start, delete_count, count.min(available));
        let Some(items) = make_room(op, list, cut)? else { return Ok(()) };
        let mut from = op.handle_get(from);
        if from == *list {
            let mut refs = [*list, items, op.alloc(Kind::Items, cut.added, 0)?];
            stage_own_items(op, &mut refs, cut.added);
            replace(op, &mut refs, cut);
            *list = refs[0];
            return Ok(());
        }
        if op.header(from).kind() == Kind::Tuple {
            let mut refs = [*list, items, from];
            replace(op, &mut refs, cut);
            *list = refs[0];
            return Ok(());
        }
        op.locked(&mut from, |op, from| {
            let (slots, available) = sequence(op, *from);
            if available < cut.added {
                // It was changed before its lock was taken.
                return Err(Retry::Busy);
            }
            let mut refs = [*list, items, slots, *from];
            replace(op, &mut refs, cut);
            [*list, _, _, *from] = refs;
            Ok(())
        })
    })
}

/// The object whose first slots are the items of a list or tuple, and how many items there are.
fn sequence(op: &Op<'_>, object: Ref) -> (Ref, usize) {
    if op.header(object).kind() == Kind::Tuple {
        return (object, tuple::len(op, object));
    }
    let body = Body::of(op, object);
    (body.items.unwrap_or(object), body.len)
}

/// Makes room for what is added, and returns the list's Items; if nothing is, removes the range, which is all there is
/// to do.
fn make_room(op: &mut Op<'_>, list: &mut Ref, cut: Cut) -> Result<Option<Ref>, Retry> {
    if cut.added > 0 {
        return items::make_room(op, list, cut.new_len()).map(Some);
    }
    items::cut_out(op, list, cut.start, cut.deleted)?;
    Ok(None)
}

// The functions below work on references of which the first is the list, the second its Items and the third an object
// whose first slots are the new items; they poll where there is much to do, and keep all of them up to date.

/// Stores new values in the third object.
fn stage_values(op: &mut Op<'_>, refs: &mut [Ref; 3], new: &[Scalar<'_>]) -> Result<(), Retry> {
    let mut stored = Ok(());
    in_pieces(op, refs, new.len(), |op, &[_, _, staged], piece| {
        for i in piece {
            if stored.is_ok() {
                stored = new[i].materialise(op).map(|value| op.store(staged, i, value));
            }
        }
    });
    stored
}

/// Copies the list's own first items to the third object.
fn stage_own_items(op: &mut Op<'_>, refs: &mut [Ref; 3], count: usize) {
    in_pieces(op, refs, count, |op, &[_, items, staged], piece| {
        op.copy_slots(items, piece.start, staged, piece.start, piece.len());
    });
}

/// Replaces the range by the first items of the third object.
fn replace<const N: usize>(op: &mut Op<'_>, refs: &mut [Ref; N], cut: Cut) {
    open(op, refs, cut);
    in_pieces(op, refs, cut.added, |op, refs, piece| {
        for i in piece {
            let item = op.load(refs[2], i);
            op.store(refs[1], cut.start + i, item);
        }
    });
}

/// Moves the items behind the range to where they belong, and sets the length. The range is still to be filled.
fn open<const N: usize>(op: &mut Op<'_>, refs: &mut [Ref; N], cut: Cut) {
    items::shift(op, refs, cut.start + cut.deleted, cut.start + cut.added, cut.tail());
    items::wipe(op, refs, cut.new_len(), cut.len.saturating_sub(cut.new_len()));
    items::set_len(op, refs[0], cut.new_len());
}
