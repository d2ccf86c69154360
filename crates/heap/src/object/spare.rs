//! Memory that would be good to have, but that an operation can do without.

use super::header::Kind;
use super::value::Ref;
use crate::mutator::{Op, Retry};

/// As [`Op::alloc`], but `None` where there is no room.
///
/// # Errors
/// [`Retry`] when running the operation again may find room.
pub(super) fn alloc(op: &mut Op<'_>, kind: Kind, slots: usize, raw_len: usize) -> Result<Option<Ref>, Retry> {
    Ok(op.alloc(kind, slots, raw_len).ok())
}
