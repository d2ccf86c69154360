//! Values on their way into the heap, and how they compare with stored ones.

use super::header::Kind;
use super::number::{self, Number};
use super::value::{Ref, Value, View};
use super::{intern, key};
use crate::Interned;
use crate::mutator::{Handle, Op, Retry};

/// Longest string, in bytes, that is looked up among the interned values before it is stored.
const SHARED_VALUE_MAX: usize = 40;

/// A value from outside. Ints may be given in either form; strings are UTF-8, or WTF-8 where they have lone surrogates.
#[derive(Clone, Copy, Debug)]
pub enum Scalar<'a> {
    /// None.
    None,
    /// True or False.
    Bool(bool),
    /// An int that fits 64 bits.
    Int(i64),
    /// An int: two's complement, little endian.
    Big(&'a [u8]),
    /// A float.
    Float(f64),
    /// A string.
    Str(&'a [u8]),
    /// Bytes.
    Bytes(&'a [u8]),
    /// An object that is in this heap already.
    Object(Handle),
}

impl Scalar<'_> {
    /// The slot content for this value, with a new leaf where it needs one; short strings are shared with equal ones
    /// stored lately. Never polls. O(length).
    ///
    /// # Errors
    /// [`Retry`] when there is no room; nothing but the cache of interned strings has changed then.
    pub fn materialise(&self, op: &mut Op<'_>) -> Result<Value, Retry> {
        match *self {
            Self::None => Ok(Value::NONE),
            Self::Bool(value) => Ok(Value::boolean(value)),
            Self::Int(value) => int(op, value),
            Self::Big(bytes) => match number::narrow(bytes) {
                Some(value) => int(op, value),
                None => leaf(op, Kind::BigInt, number::shortest(bytes)),
            },
            Self::Float(value) => match Value::float(value) {
                Some(value) => Ok(value),
                None => leaf(op, Kind::Float, &value.to_bits().to_le_bytes()),
            },
            Self::Str(bytes) => match Value::short_str(bytes) {
                Some(value) => Ok(value),
                None if bytes.len() <= SHARED_VALUE_MAX => {
                    let hash = key::hash_bytes(op, bytes);
                    intern::share(op, Interned::Values, bytes, hash)
                }
                None => leaf(op, Kind::Str, bytes),
            },
            Self::Bytes(bytes) => match Value::short_bytes(bytes) {
                Some(value) => Ok(value),
                None => leaf(op, Kind::Bytes, bytes),
            },
            Self::Object(handle) => Ok(Value::reference(op.handle_get(handle))),
        }
    }

    /// The number this is, if it is one.
    pub(super) fn number(&self) -> Option<Number<'_>> {
        match *self {
            Self::Bool(value) => Some(Number::Int(i64::from(value))),
            Self::Int(value) => Some(Number::Int(value)),
            Self::Big(bytes) => Some(Number::from_bytes(bytes)),
            Self::Float(value) => Some(Number::Float(value)),
            Self::None | Self::Str(_) | Self::Bytes(_) | Self::Object(_) => None,
        }
    }
}

/// Whether a stored value equals `scalar` as Python's `==` says, where one of them is no container; containers are
/// equal here only to themselves. Allocates nothing, never polls. O(1), O(length) for strings, bytes and large ints of
/// the same length.
#[must_use]
pub fn scalar_equals(op: &Op<'_>, stored: Value, scalar: &Scalar<'_>) -> bool {
    match *scalar {
        Scalar::None => stored == Value::NONE,
        Scalar::Str(bytes) => match stored.view() {
            View::Str(short) => *short == *bytes,
            View::Ref(object) => is_leaf_of(op, object, Kind::Str, bytes),
            _ => false,
        },
        Scalar::Bytes(bytes) => match stored.view() {
            View::Bytes(short) => *short == *bytes,
            View::Ref(object) => is_leaf_of(op, object, Kind::Bytes, bytes),
            _ => false,
        },
        Scalar::Object(handle) => stored.as_ref() == Some(op.handle_get(handle)),
        _ => match (stored_number(op, stored), scalar.number()) {
            (Some(stored), Some(number)) => stored.equals(number),
            _ => false,
        },
    }
}

/// The number that a stored value is, if it is one.
pub(super) fn stored_number<'a>(op: &'a Op<'_>, stored: Value) -> Option<Number<'a>> {
    match stored.view() {
        View::Bool(value) => Some(Number::Int(i64::from(value))),
        View::Int(value) => Some(Number::Int(value)),
        View::Float(value) => Some(Number::Float(value)),
        View::Ref(object) => match op.header(object).kind() {
            Kind::BigInt => Some(Number::from_bytes(op.raw(object))),
            Kind::Float => Some(Number::Float(f64::from_bits(op.word(object, 0)))),
            _ => None,
        },
        View::Empty | View::Deleted | View::None | View::Str(_) | View::Bytes(_) => None,
    }
}

/// Whether `object` is a leaf of this kind with these bytes.
pub(super) fn is_leaf_of(op: &Op<'_>, object: Ref, kind: Kind, bytes: &[u8]) -> bool {
    let header = op.header(object);
    header.kind() == kind && header.raw_len() == bytes.len() && op.raw(object) == bytes
}

/// A reference to a new leaf with these bytes. O(length).
pub(super) fn leaf(op: &mut Op<'_>, kind: Kind, bytes: &[u8]) -> Result<Value, Retry> {
    let object = op.alloc(kind, 0, bytes.len())?;
    op.write_raw(object, bytes);
    Ok(Value::reference(object))
}

/// The slot content for an int that fits 64 bits.
fn int(op: &mut Op<'_>, value: i64) -> Result<Value, Retry> {
    match Value::small_int(value) {
        Some(value) => Ok(value),
        None => leaf(op, Kind::BigInt, number::shortest(&value.to_le_bytes())),
    }
}

#[cfg(test)]
mod tests;
