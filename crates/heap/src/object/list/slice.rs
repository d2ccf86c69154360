//! Slices of a list: which items they mean, and reading, deleting and assigning them.

use super::beside;
use super::items::{self, Body};
use super::splice::{self, Source};
use super::{SHORT_MAX, copy_of};
use crate::mutator::{Handle, Op, Retry};
use crate::object::header::Kind;
use crate::object::pieces::in_pieces;
use crate::object::value::Ref;

/// A slice as Python has it: from `start` to in front of `stop`, counted from the end where negative, every `step`-th.
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    /// The first.
    pub start: isize,
    /// The first that does not belong to it.
    pub stop: isize,
    /// The distance, not 0.
    pub step: isize,
}

/// The items that a slice means in a list of some length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first; of no items, the gap that they are in.
    pub start: usize,
    /// The distance, not 0.
    pub step: isize,
    /// How many.
    pub count: usize,
}

impl Slice {
    /// All items.
    pub const ALL: Self = Self { start: 0, stop: isize::MAX, step: 1 };

    /// What it means in a list of `len` items.
    #[must_use]
    pub fn span(self, len: usize) -> Span {
        let Self { start, stop, step } = self;
        let len = len.cast_signed();
        // Downwards, the end is in front of item 0.
        let (lowest, highest) = if step < 0 { (-1, len - 1) } else { (0, len) };
        let inside = |at: isize| {
            let at = if at < 0 { at.saturating_add(len) } else { at };
            at.clamp(lowest, highest)
        };
        let (start, stop) = (inside(start), inside(stop));
        let distance = if step < 0 { start - stop } else { stop - start };
        let count = if distance > 0 { (distance.unsigned_abs() - 1) / step.unsigned_abs() + 1 } else { 0 };
        Span { start: start.max(0).unsigned_abs(), step, count }
    }
}

impl Span {
    /// Item number `i` of the span.
    #[must_use]
    pub fn at(self, i: usize) -> usize {
        self.start.wrapping_add_signed(self.step.wrapping_mul(i.cast_signed()))
    }

    /// The same items in ascending order.
    fn ascending(self) -> Self {
        if self.step > 0 || self.count == 0 {
            return Self { step: self.step.saturating_abs(), ..self };
        }
        Self { start: self.at(self.count - 1), step: self.step.saturating_neg(), count: self.count }
    }
}

/// A new list with the items of a slice. May poll. O(items).
///
/// # Errors
/// [`Retry`] when there is no room or another thread is using the list.
pub fn copy_slice(op: &mut Op<'_>, list: Ref, slice: Slice) -> Result<Ref, Retry> {
    copy_of(op, list, |len| slice.span(len)).map(|(copy, _)| copy)
}

/// Removes the items of a slice. May poll. O(items from the first of them on).
///
/// # Errors
/// [`Retry`] when another thread is using the list; removing needs no room.
pub fn delete_slice(op: &mut Op<'_>, mut list: Ref, slice: Slice) -> Result<(), Retry> {
    // A guess: only the lock makes it certain, but how long it takes is all that it decides.
    let len = Body::of(op, list).len;
    let span = slice.span(len).ascending();
    op.about_to_touch(len - span.start.min(len))?;
    if len - span.start.min(len) > SHORT_MAX {
        return op.claimed(&mut list, |op, list| {
            let span = slice.span(Body::of(op, *list).len).ascending();
            beside::delete(op, list, span)
        });
    }
    op.locked(&mut list, |op, list| {
        let body = Body::of(op, *list);
        let span = slice.span(body.len).ascending();
        let Some(items) = body.items.filter(|_| span.count > 0) else { return Ok(()) };
        if span.step == 1 {
            return items::cut_out(op, list, span.start, span.count);
        }
        let mut refs = [*list, items, items];
        close_up(op, &mut refs, span, body.len);
        items::wipe(op, &mut refs, body.len - span.count, span.count);
        *list = refs[0];
        items::set_len(op, *list, body.len - span.count);
        items::give_back_now(op, list);
        Ok(())
    })
}

/// Moves the items behind the first of an ascending span that are not in it together, to where that one was. The second object holds the
/// items and the third one gets them; it may be the same.
pub(super) fn close_up<const N: usize>(op: &mut Op<'_>, refs: &mut [Ref; N], span: Span, len: usize) {
    let (mut to, mut next, mut left) = (span.start, span.start, span.count);
    in_pieces(op, refs, len - span.start, |op, refs, piece| {
        for i in piece.map(|i| span.start + i) {
            if i == next && left > 0 {
                next = next.wrapping_add_signed(span.step);
                left -= 1;
                continue;
            }
            let item = op.load(refs[1], i);
            op.store(refs[2], to, item);
            to += 1;
        }
    });
}

/// Replaces the items of a slice by those of a list or tuple, which may be the list itself. `Err` tells how many there are where an
/// extended slice needs another number of them, which is the second. May poll. O(items of the result), or less.
///
/// # Errors
/// [`Retry`] when there is no room or another thread is using one of the lists; no user sees a change then.
pub fn assign_slice(
    op: &mut Op<'_>,
    mut list: Ref,
    slice: Slice,
    from: Handle,
) -> Result<Result<(), (usize, usize)>, Retry> {
    if slice.step == 1 {
        let place = |len| {
            let span = slice.span(len);
            (span.start, span.count)
        };
        return splice::splice_sequence(op, list, &Source::all(from), place).map(Ok);
    }
    let work = 2 * Body::of(op, list).len;
    op.about_to_touch(work)?;
    op.claimed(&mut list, |op, list| {
        let object = op.handle_get(from);
        if object == *list || op.header(object).kind() == Kind::Tuple {
            return assign_claimed(op, &mut [*list, object], slice).map(|(done, [moved, _])| {
                *list = moved;
                done
            });
        }
        let mut object = object;
        op.claimed(&mut object, |op, object| {
            let (done, refs) = assign_claimed(op, &mut [*list, *object], slice)?;
            [*list, *object] = refs;
            Ok(done)
        })
    })
}

type Assigned = (Result<(), (usize, usize)>, [Ref; 2]);

/// Assigns to an extended slice of the first list the items of the second object. Both are claimed.
fn assign_claimed(op: &mut Op<'_>, refs: &mut [Ref; 2], slice: Slice) -> Result<Assigned, Retry> {
    let body = Body::of(op, refs[0]);
    let (slots, given) = splice::sequence(op, refs[1]);
    let span = slice.span(body.len);
    if given != span.count {
        return Ok((Err((given, span.count)), *refs));
    }
    let Some(items) = body.items.filter(|_| given > 0) else { return Ok((Ok(()), *refs)) };
    let new = op.alloc(Kind::Items, items::capacity(op, &body), 0)?;
    let mut refs = [refs[0], items, slots, new, refs[1]];
    beside::copy_range(op, &mut refs, (0, 0), body.len);
    in_pieces(op, &mut refs, given, |op, refs, piece| {
        for i in piece {
            let item = op.load(refs[2], i);
            op.store(refs[3], span.at(i), item);
        }
    });
    op.commit(&mut refs, |op, refs| items::install(op, refs[0], Some(refs[3])));
    Ok((Ok(()), [refs[0], refs[4]]))
}
