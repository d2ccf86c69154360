//! Replacing a range of a list's items: insertion, deletion and slice assignment.

use smallvec::SmallVec;

use super::items::{self, Body};
use super::slice::Span;
use super::{SHORT_MAX, beside};
use crate::mutator::{Handle, Op, Retry};
use crate::object::header::Kind;
use crate::object::pieces::{PIECE, in_pieces};
use crate::object::scalar::Scalar;
use crate::object::tuple;
use crate::object::value::{Ref, Value};

/// The range of items that is replaced: inside the list, whatever was asked for.
#[derive(Clone, Copy)]
pub(super) struct Cut {
    pub(super) start: usize,
    pub(super) deleted: usize,
    pub(super) added: usize,
    len: usize,
}

impl Cut {
    fn of(op: &Op<'_>, list: Ref, start: usize, delete_count: usize, added: usize) -> Self {
        let len = Body::of(op, list).len;
        let start = start.min(len);
        Self { start, deleted: delete_count.min(len - start), added, len }
    }

    pub(super) fn new_len(&self) -> usize {
        self.len - self.deleted + self.added
    }

    /// Slots that are read or written.
    fn work(&self) -> usize {
        let tail = if self.added == self.deleted { 0 } else { self.tail() };
        tail + self.deleted + self.added
    }

    /// How many items are behind the range.
    pub(super) fn tail(&self) -> usize {
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
pub fn splice(op: &mut Op<'_>, list: Ref, start: usize, delete_count: usize, new: &[Scalar<'_>]) -> Result<(), Retry> {
    splice_at(op, list, |_| (start, delete_count), new)
}

/// As [`splice`], where `place` tells start and length of the range from the list's length.
pub(super) fn splice_at(
    op: &mut Op<'_>,
    mut list: Ref,
    place: impl Fn(usize) -> (usize, usize),
    new: &[Scalar<'_>],
) -> Result<(), Retry> {
    let cut = |op: &Op<'_>, list: Ref| {
        let (start, deleted) = place(Body::of(op, list).len);
        Cut::of(op, list, start, deleted, new.len())
    };
    // A guess: only the lock makes it certain, but how it is done is all that it decides.
    let work = cut(op, list).work();
    op.about_to_touch(work)?;
    if new.is_empty() && work > SHORT_MAX {
        return op.claimed(&mut list, |op, list| {
            let Cut { start, deleted, .. } = cut(op, *list);
            beside::delete(op, list, Span { start, step: 1, count: deleted })
        });
    }
    op.locked(&mut list, |op, list| {
        let cut = cut(op, *list);
        splice_values(op, list, cut, new)
    })
}

/// Replaces a range in place. The list's lock is held.
fn splice_values(op: &mut Op<'_>, list: &mut Ref, cut: Cut, new: &[Scalar<'_>]) -> Result<(), Retry> {
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
}

/// As [`splice`], with the first `count` items of a list or tuple, or all of them if they are fewer. It may be the list
/// itself. May poll. O(items behind `start` + new items).
///
/// # Errors
/// [`Retry`] when there is no room or another thread is using one of the lists; no user sees a change then.
pub fn splice_from(
    op: &mut Op<'_>,
    list: Ref,
    start: usize,
    delete_count: usize,
    from: Handle,
    count: usize,
) -> Result<(), Retry> {
    splice_sequence(op, list, &Source { object: from, most: count, times: 1 }, |_| (start, delete_count))
}

/// Adds the list's own items at its end, so that it has them `times` times. May poll. O(len * times).
///
/// # Errors
/// [`Retry`] when there is no room or another thread is using the list; no user sees a change then.
pub fn repeat(op: &mut Op<'_>, list: Handle, times: usize) -> Result<(), Retry> {
    let object = op.handle_get(list);
    let Some(times) = times.checked_sub(1) else { return super::clear(op, object) };
    splice_sequence(op, object, &Source { object: list, most: usize::MAX, times }, |len| (len, 0))
}

/// Items to add.
pub(super) struct Source {
    /// The list or tuple that has them.
    object: Handle,
    /// How many of its items at most.
    most: usize,
    /// How often they are added.
    times: usize,
}

impl Source {
    /// All items of a list or tuple, once.
    pub(super) fn all(object: Handle) -> Self {
        Self { object, most: usize::MAX, times: 1 }
    }

    /// How many items are added again and again, and how many in all.
    fn count(&self, op: &Op<'_>) -> (usize, usize) {
        let (_, available) = sequence(op, op.handle_get(self.object));
        let period = available.min(self.most);
        (period, period.saturating_mul(self.times))
    }
}

/// Replaces the range that `place` tells, as start and length, from the list's length.
pub(super) fn splice_sequence(
    op: &mut Op<'_>,
    mut list: Ref,
    source: &Source,
    place: impl Fn(usize) -> (usize, usize),
) -> Result<(), Retry> {
    let cut = |op: &Op<'_>, list: Ref| {
        let (period, added) = source.count(op);
        let (start, deleted) = place(Body::of(op, list).len);
        (Cut::of(op, list, start, deleted, added), period)
    };
    // A guess: only the lock makes it certain, but how it is done is all that it decides.
    let (body, (_, added)) = (Body::of(op, list), source.count(op));
    let mut is_short = source.times == 1;
    if body.len.saturating_add(added) > SHORT_MAX {
        let guess = cut(op, list).0;
        let grows = guess.new_len() > items::capacity(op, &body);
        let work = guess.work() + if grows { body.len } else { 0 };
        op.about_to_touch(work)?;
        is_short &= work <= SHORT_MAX;
    }
    if is_short {
        return op.locked(&mut list, |op, list| {
            let (start, deleted) = place(Body::of(op, *list).len);
            let cut = Cut::of(op, *list, start, deleted, added);
            splice_short(op, list, source, cut)
        });
    }
    op.claimed(&mut list, |op, list| {
        let mut from = op.handle_get(source.object);
        let is_list = op.header(from).kind() == Kind::List;
        if from == *list || !is_list {
            let (cut, period) = cut(op, *list);
            return splice_claimed(op, list, &mut from, cut, period);
        }
        op.claimed(&mut from, |op, from| {
            let (cut, period) = cut(op, *list);
            splice_claimed(op, list, from, cut, period)
        })
    })
}

/// Replaces a range by what there is to add. Both are claimed, and kept up to date.
fn splice_claimed(op: &mut Op<'_>, list: &mut Ref, from: &mut Ref, cut: Cut, period: usize) -> Result<(), Retry> {
    if cut.added == 0 {
        return beside::delete_beside(op, list, from, Span { start: cut.start, step: 1, count: cut.deleted });
    }
    let (slots, _) = sequence(op, *from);
    [*list, _, *from] = beside::splice(op, [*list, slots, *from], cut, period)?;
    Ok(())
}

/// Replaces a range in place. The list's lock is held.
fn splice_short(op: &mut Op<'_>, list: &mut Ref, source: &Source, cut: Cut) -> Result<(), Retry> {
    let Some(items) = make_room(op, list, cut)? else { return Ok(()) };
    let mut from = op.handle_get(source.object);
    if from == *list {
        if source.count(op).1 != cut.added {
            // It was changed before its lock was taken.
            return Err(Retry::Busy);
        }
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
    op.reading(&mut from, |op, from| {
        let (slots, available) = sequence(op, *from);
        if available.min(source.most) != cut.added {
            return Err(Retry::Busy);
        }
        let mut refs = [*list, items, slots, *from];
        replace(op, &mut refs, cut);
        [*list, _, _, *from] = refs;
        Ok(())
    })
}

/// The object whose first slots are the items of a list or tuple, and how many items there are.
pub(super) fn sequence(op: &Op<'_>, object: Ref) -> (Ref, usize) {
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
