//! Values on their way out of the heap.

use smallvec::SmallVec;

use super::header::Kind;
use super::number;
use super::scalar::Scalar;
use super::value::{Ref, Value, View};
use crate::memory::Refused;
use crate::mutator::{Handle, Op, Retry};

/// Bytes copied out of the heap.
pub type Bytes = SmallVec<[u8; 64]>;

/// A value outside the heap, valid after the operation that read it.
#[derive(Debug)]
pub enum Outgoing {
    /// None.
    None,
    /// True or False.
    Bool(bool),
    /// An int that fits 64 bits.
    Int(i64),
    /// An int that does not: two's complement, little endian, shortest form.
    Big(Bytes),
    /// A float.
    Float(f64),
    /// A string: UTF-8, or WTF-8 where it has lone surrogates.
    Str(Bytes),
    /// Bytes.
    Bytes(Bytes),
    /// A dict, list or tuple, and a new handle to it, which the caller has to drop.
    Container(Kind, Handle),
}

impl Outgoing {
    /// For storing the value in the same heap.
    #[must_use]
    pub fn scalar(&self) -> Scalar<'_> {
        match self {
            Self::None => Scalar::None,
            Self::Bool(value) => Scalar::Bool(*value),
            Self::Int(value) => Scalar::Int(*value),
            Self::Big(bytes) => Scalar::Big(bytes),
            Self::Float(value) => Scalar::Float(*value),
            Self::Str(bytes) => Scalar::Str(bytes),
            Self::Bytes(bytes) => Scalar::Bytes(bytes),
            Self::Container(_, handle) => Scalar::Object(*handle),
        }
    }
}

/// Copies a value out; a container stays where it is and gets a handle. Never polls. O(1), O(length) for what has a
/// length.
///
/// # Errors
/// [`Retry`] when there is no room for a handle, or no memory for the copy.
///
/// # Panics
/// When the value is none that users can store: the heap is broken.
pub fn outgoing(op: &mut Op<'_>, value: Value) -> Result<Outgoing, Retry> {
    Ok(match value.view() {
        View::None => Outgoing::None,
        View::Bool(value) => Outgoing::Bool(value),
        View::Int(value) => Outgoing::Int(value),
        View::Float(value) => Outgoing::Float(value),
        View::Str(short) => Outgoing::Str(Bytes::from_slice(&short)),
        View::Bytes(short) => Outgoing::Bytes(Bytes::from_slice(&short)),
        View::Ref(object) => return outgoing_object(op, object),
        View::Empty | View::Deleted => panic!("no user's value: {value:?}"),
    })
}

fn outgoing_object(op: &mut Op<'_>, object: Ref) -> Result<Outgoing, Retry> {
    Ok(match op.header(object).kind() {
        Kind::Str => Outgoing::Str(copied(op.raw(object))?),
        Kind::Bytes => Outgoing::Bytes(copied(op.raw(object))?),
        Kind::Float => Outgoing::Float(f64::from_bits(op.word(object, 0))),
        Kind::BigInt => {
            let bytes = op.raw(object);
            match number::narrow(bytes) {
                Some(int) => Outgoing::Int(int),
                None => Outgoing::Big(copied(bytes)?),
            }
        }
        kind @ (Kind::Dict | Kind::List | Kind::Tuple) => Outgoing::Container(kind, op.handle_read(object)?),
        kind @ (Kind::DictIndex | Kind::DictEntries | Kind::Items | Kind::Interner) => {
            panic!("no user's value: {kind:?} {object:?}")
        }
    })
}

/// # Errors
/// [`Retry::Refused`].
fn copied(bytes: &[u8]) -> Result<Bytes, Retry> {
    let mut copy = Bytes::new();
    copy.try_reserve_exact(bytes.len()).map_err(|_| Refused { bytes: bytes.len() as u64 })?;
    copy.extend_from_slice(bytes);
    Ok(copy)
}

#[cfg(test)]
mod tests;
