//! Long loops in pieces short enough for a safepoint between two of them.

use std::ops::Range;

use super::value::Ref;
use crate::mutator::Op;

/// Most elements touched between two safepoints.
pub(super) const PIECE: usize = 512;

/// Calls `step` for consecutive pieces of `0..total`, each at most [`PIECE`] long, with a safepoint between two pieces,
/// where objects may move. `refs` are kept up to date over it, and `step` must use no other; a total of at most one
/// piece moves nothing.
pub(super) fn in_pieces<const N: usize>(
    op: &mut Op<'_>,
    refs: &mut [Ref; N],
    total: usize,
    step: impl FnMut(&mut Op<'_>, &[Ref; N], Range<usize>),
) {
    in_pieces_of(PIECE, op, refs, total, step);
}

/// As [`in_pieces`], with fewer elements in a piece: for what takes longer for each.
pub(super) fn in_pieces_of<const N: usize>(
    most: usize,
    op: &mut Op<'_>,
    refs: &mut [Ref; N],
    total: usize,
    mut step: impl FnMut(&mut Op<'_>, &[Ref; N], Range<usize>),
) {
    for start in (0..total).step_by(most) {
        if start > 0 {
            op.poll(refs);
        }
        step(op, refs, start..total.min(start + most));
    }
}
