//! Long changes of a list: prepared beside what others read meanwhile, and shown in one step. The list is claimed.

use super::items::{self, Body};
use super::slice::{Span, close_up};
use super::splice::Cut;
use crate::mutator::{Op, Retry};
use crate::object::header::Kind;
use crate::object::pieces::in_pieces;
use crate::object::value::Ref;

// In the functions below the first reference is the list, the second its Items, the third an object whose first slots are items to add,
// and the fourth the new Items.

/// Copies `count` items from the first position to the second one.
pub(super) fn copy_range<const N: usize>(
    op: &mut Op<'_>,
    refs: &mut [Ref; N],
    (from, to): (usize, usize),
    count: usize,
) {
    in_pieces(op, refs, count, |op, refs, piece| {
        op.copy_slots(refs[1], from + piece.start, refs[3], to + piece.start, piece.len());
    });
}

/// Replaces a range by the first `period` items of the third object, again and again until there are as many as the cut says. The last
/// reference is kept up to date. Fails only before it changes anything.
///
/// # Errors
/// [`Retry`] when there is no room.
pub(super) fn splice(op: &mut Op<'_>, refs: [Ref; 3], cut: Cut, period: usize) -> Result<[Ref; 3], Retry> {
    let [list, slots, from] = refs;
    let body = Body::of(op, list);
    let is_append = cut.tail() == 0 && cut.deleted == 0 && cut.new_len() <= items::capacity(op, &body);
    let new = match body.items.filter(|_| is_append) {
        // Nobody looks behind the last item.
        Some(items) => items,
        None => op.alloc(Kind::Items, items::roomier(cut.new_len()), 0)?,
    };
    let mut refs = [list, body.items.unwrap_or(new), slots, new, from];
    if !is_append {
        copy_range(op, &mut refs, (0, 0), cut.start);
        copy_range(op, &mut refs, (cut.start + cut.deleted, cut.start + cut.added), cut.tail());
    }
    in_pieces(op, &mut refs, cut.added, |op, refs, piece| {
        for i in piece {
            let item = op.load(refs[2], i % period);
            op.store(refs[3], cut.start + i, item);
        }
    });
    op.commit(&mut refs, |op, refs| {
        items::install(op, refs[0], Some(refs[3]));
        items::set_len(op, refs[0], cut.new_len());
    });
    Ok([refs[0], refs[2], refs[4]])
}

/// Gives a long list that is full room for more, if nobody does so already.
///
/// # Errors
/// [`Retry`] when there is no room or another thread is using the list.
pub(super) fn grow(op: &mut Op<'_>, list: &mut Ref) -> Result<(), Retry> {
    let is_full = |op: &Op<'_>, list: Ref| {
        let body = Body::of(op, list);
        body.len == items::capacity(op, &body)
    };
    if !is_full(op, *list) {
        return Ok(());
    }
    op.about_to_touch(Body::of(op, *list).len)?;
    op.claimed(list, |op, list| {
        let body = Body::of(op, *list);
        let Some(items) = body.items.filter(|_| is_full(op, *list)) else { return Ok(()) };
        let new = op.alloc(Kind::Items, items::roomier(body.len + 1), 0)?;
        let mut refs = [*list, items, new, new];
        copy_range(op, &mut refs, (0, 0), body.len);
        op.commit(&mut refs, |op, refs| items::install(op, refs[0], Some(refs[3])));
        *list = refs[0];
        Ok(())
    })
}

/// Removes the items of an ascending span. Where there is no room for what stays, in place, while readers wait: to remove items must
/// not need memory.
///
/// # Errors
/// [`Retry`] when it is worth another try; nothing has changed then.
pub(super) fn delete(op: &mut Op<'_>, list: &mut Ref, span: Span) -> Result<(), Retry> {
    let mut same = *list;
    delete_beside(op, list, &mut same, span)
}

/// As [`delete`]; another list that is claimed, too, is kept up to date.
pub(super) fn delete_beside(op: &mut Op<'_>, list: &mut Ref, other: &mut Ref, span: Span) -> Result<(), Retry> {
    let body = Body::of(op, *list);
    let Some(items) = body.items.filter(|_| span.count > 0) else { return Ok(()) };
    let left = body.len - span.count;
    let new = if left == 0 { Some(items) } else { op.alloc_optional(Kind::Items, items::roomier(left), 0)? };
    let target = new.unwrap_or(items);
    let mut refs = [*list, items, target, target, *other];
    if left > 0 && new.is_some() {
        copy_range(op, &mut refs, (0, 0), span.start);
        close_up(op, &mut refs, span, body.len);
    }
    op.commit(&mut refs, |op, refs| {
        if left == 0 {
            return items::empty(op, refs[0]);
        }
        if new.is_none() {
            close_up(op, refs, span, body.len);
            items::wipe(op, refs, left, span.count);
        }
        items::install(op, refs[0], Some(refs[2]));
        items::set_len(op, refs[0], left);
    });
    [*list, _, _, _, *other] = refs;
    Ok(())
}
