//! Long strings, bytes and ints go in and out in pieces, each in an operation of its own, so that no operation takes long for the size of a
//! value. A leaf that is being written is known to its writer alone, by a handle; one that is read does not change.

use super::header::Kind;
use super::number;
use super::scalar::Scalar;
use super::value::{Ref, Value};
use crate::error::Error;
use crate::heap::Heap;
use crate::mutator::{Handle, Op, Retry};

/// More bytes than this are copied in pieces.
pub const LONG_BYTES: usize = 256 << 10;

/// Bytes of a piece: some tens of microseconds.
const PIECE_BYTES: usize = 128 << 10;

impl<'a> Scalar<'a> {
    /// The kind and the content of the leaf that this value becomes, if that is long.
    #[must_use]
    pub fn long(&self) -> Option<(Kind, &'a [u8])> {
        let (kind, bytes) = match *self {
            Self::Str(bytes) => (Kind::Str, bytes),
            Self::Bytes(bytes) => (Kind::Bytes, bytes),
            Self::Big(bytes) => (Kind::BigInt, number::shortest(bytes)),
            Self::None | Self::Bool(_) | Self::Int(_) | Self::Float(_) | Self::Object(_) => return None,
        };
        (bytes.len() > LONG_BYTES).then_some((kind, bytes))
    }
}

/// A stored value that is long: its kind, its leaf, and that one's length.
#[inline]
#[must_use]
pub fn stored(op: &Op<'_>, value: Value) -> Option<(Kind, Ref, usize)> {
    let leaf = value.as_ref()?;
    let header = op.header(leaf);
    let is_long = header.raw_len() > LONG_BYTES && matches!(header.kind(), Kind::Str | Kind::Bytes | Kind::BigInt);
    is_long.then(|| (header.kind(), leaf, header.raw_len()))
}

/// A leaf for `len` bytes, all zero: [`Heap::write_leaf`] gives it its content. O(1).
///
/// # Errors
/// [`Retry`] when there is no room.
pub fn new(op: &mut Op<'_>, kind: Kind, len: usize) -> Result<Ref, Retry> {
    op.alloc(kind, 0, len)
}

impl Heap {
    /// Gives a leaf that nobody but the caller knows its content. O(length), in pieces.
    ///
    /// # Errors
    /// As [`Heap::run`].
    pub fn write_leaf(&self, leaf: Handle, bytes: &[u8]) -> Result<(), Error> {
        let mut start = 0;
        for piece in bytes.chunks(PIECE_BYTES) {
            self.run(|op| {
                op.write_raw_at(op.handle_get(leaf), start, piece);
                Ok(())
            })?;
            start += piece.len();
        }
        Ok(())
    }

    /// Shows `each` the content of a leaf of `len` bytes, piece after piece. `each` may neither block nor use the heap.
    ///
    /// # Errors
    /// As [`Heap::run`].
    pub fn read_leaf(&self, leaf: Handle, len: usize, mut each: impl FnMut(&[u8])) -> Result<(), Error> {
        for start in (0..len).step_by(PIECE_BYTES) {
            let piece = start..len.min(start + PIECE_BYTES);
            self.run(|op| {
                each(op.raw_range(op.handle_get(leaf), piece.clone()));
                Ok(())
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
