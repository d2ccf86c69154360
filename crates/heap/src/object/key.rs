//! Keys of a dict: their hash, and how they compare with stored ones.
//!
//! Keys that Python calls equal have equal hashes, whatever form they are given or stored in. A key that holds a NaN
//! equals nothing, not even itself; it has no hash, and nobody ever finds it.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use super::header::Kind;
use super::intern;
use super::number::{Canonical, Number};
use super::scalar::{Scalar, is_leaf_of, leaf, scalar_equals, stored_number};
use super::value::{Value, View};
use crate::Interned;
use crate::memory::Refused;
use crate::mutator::{Op, Retry};

mod parts;

pub use parts::{Part, StoredKey};

/// Longest string key, in bytes, that is looked up among the interned keys before it is stored.
const SHARED_KEY_MAX: usize = 64;

/// A key from outside. Strings are UTF-8, or WTF-8 where they have lone surrogates. How deep tuples nest is the caller's to limit:
/// sixteen bytes for each that is open while a key is compared are asked for without a way to refuse them.
#[derive(Clone, Debug)]
pub enum Key<'a> {
    /// None.
    None,
    /// True or False.
    Bool(bool),
    /// An int that fits 64 bits.
    Int(i64),
    /// An int that does not: two's complement, little endian.
    Big(&'a [u8]),
    /// A float.
    Float(f64),
    /// A string.
    Str(&'a [u8]),
    /// Bytes.
    Bytes(&'a [u8]),
    /// A tuple of keys, as its parts: itself first, and then its items one after the other, those that are tuples in the same way.
    /// Nothing recurses, so that no depth overflows a stack.
    Tuple(Vec<Part<Scalar<'a>>>),
}

/// A key, as far as its form is concerned.
enum Form<'k, 'a> {
    Scalar(Scalar<'a>),
    Tuple(&'k [Part<Scalar<'a>>]),
}

impl<'a> Key<'a> {
    /// The key that a scalar is; an object is none.
    #[must_use]
    pub fn of(scalar: Scalar<'a>) -> Option<Self> {
        Some(match scalar {
            Scalar::None => Self::None,
            Scalar::Bool(value) => Self::Bool(value),
            Scalar::Int(value) => Self::Int(value),
            Scalar::Big(bytes) => Self::Big(bytes),
            Scalar::Float(value) => Self::Float(value),
            Scalar::Str(bytes) => Self::Str(bytes),
            Scalar::Bytes(bytes) => Self::Bytes(bytes),
            Scalar::Object(_) => return None,
        })
    }

    /// A tuple of these keys. O(their size).
    ///
    /// # Errors
    /// [`Refused`]: no memory for its parts.
    pub fn tuple(items: &[Self]) -> Result<Self, Refused> {
        parts::gathered(items.iter().map(Self::form)).map(Self::Tuple)
    }

    fn form(&self) -> Form<'_, 'a> {
        Form::Scalar(match *self {
            Self::None => Scalar::None,
            Self::Bool(value) => Scalar::Bool(value),
            Self::Int(value) => Scalar::Int(value),
            Self::Big(bytes) => Scalar::Big(bytes),
            Self::Float(value) => Scalar::Float(value),
            Self::Str(bytes) => Scalar::Str(bytes),
            Self::Bytes(bytes) => Scalar::Bytes(bytes),
            Self::Tuple(ref parts) => return Form::Tuple(parts),
        })
    }

    /// Whether a stored key equals this one, as Python's `==` says. O(size of the key).
    pub(super) fn equals(&self, op: &Op<'_>, stored: Value) -> bool {
        match self.form() {
            Form::Scalar(scalar) => scalar_equals(op, stored, &scalar),
            Form::Tuple(parts) => parts::equals(op, parts, stored),
        }
    }

    /// The key's hash, or `None` for one that equals nothing. O(size of the key).
    pub(super) fn hash(&self, op: &Op<'_>) -> Option<u64> {
        match self.form() {
            Form::Tuple(parts) => hash_tuple(op, parts.iter().map(|part| part.hash(op))),
            Form::Scalar(scalar) => hash_scalar(op, &scalar),
        }
    }

    /// The slot content for this key, with new objects where it needs them. With `share`, a short string is shared
    /// with equal ones stored lately. Never polls. O(size of the key).
    ///
    /// # Errors
    /// [`Retry`] when there is no room; nothing but the cache of interned strings has changed then.
    pub(super) fn materialise(&self, op: &mut Op<'_>, share: bool) -> Result<Value, Retry> {
        match self.form() {
            Form::Scalar(scalar) => materialise_scalar(op, &scalar, share),
            Form::Tuple(parts) => parts::materialise(op, parts, share),
        }
    }
}

fn materialise_scalar(op: &mut Op<'_>, scalar: &Scalar<'_>, share: bool) -> Result<Value, Retry> {
    match scalar {
        Scalar::Str(bytes) => materialise_str(op, bytes, share),
        scalar => scalar.materialise(op),
    }
}

fn materialise_str(op: &mut Op<'_>, bytes: &[u8], share: bool) -> Result<Value, Retry> {
    if let Some(value) = Value::short_str(bytes) {
        return Ok(value);
    }
    if !share || bytes.len() > SHARED_KEY_MAX {
        return leaf(op, Kind::Str, bytes);
    }
    let hash = hash_bytes(op, bytes);
    intern::share(op, Interned::Keys, bytes, hash)
}

/// The hash of a stored key: that of the [`Key`]s that equal it. O(size of the key).
pub(super) fn hash_stored(op: &Op<'_>, stored: Value) -> Option<u64> {
    if parts::is_tuple(op, stored) {
        let mut parts = StoredKey::new(stored);
        return hash_tuple(op, std::iter::from_fn(|| parts.next(op)).map(|part| part.hash(op)));
    }
    hash_stored_scalar(op, stored)
}

fn hash_stored_scalar(op: &Op<'_>, stored: Value) -> Option<u64> {
    if let Some(number) = stored_number(op, stored) {
        return hash_number(op, number);
    }
    match stored.view() {
        View::Str(short) | View::Bytes(short) => Some(hash_bytes(op, &short)),
        View::Ref(object) => Some(hash_bytes(op, op.raw(object))),
        _ => Some(hash_none(op)),
    }
}

/// Whether two stored keys are equal, as Python's `==` says. O(size of a key).
pub(super) fn stored_equals(op: &Op<'_>, a: Value, b: Value) -> bool {
    if parts::is_tuple(op, a) { parts::stored_equals(op, a, b) } else { stored_scalars_equal(op, a, b) }
}

/// The same of keys of which one at least is no tuple.
fn stored_scalars_equal(op: &Op<'_>, a: Value, b: Value) -> bool {
    if let (Some(a), Some(b)) = (stored_number(op, a), stored_number(op, b)) {
        return a.equals(b);
    }
    if a == b {
        return true;
    }
    let (Some(a), Some(b)) = (a.as_ref(), b.as_ref()) else { return false };
    let kind = op.header(a).kind();
    matches!(kind, Kind::Str | Kind::Bytes) && is_leaf_of(op, b, kind, op.raw(a))
}

/// What is hashed; each has hashes of its own, so that the bytes of an int are not a string that collides with it. A
/// string and bytes with the same content may collide: that is one pair.
#[derive(Clone, Copy)]
enum Domain {
    Bytes,
    Int,
    WideInt,
    Fraction,
    Tuple,
    None,
}

fn hasher(op: &Op<'_>, domain: Domain) -> SipHasher13 {
    let [low, high] = op.hash_key();
    SipHasher13::new_with_keys(low ^ domain as u64, high)
}

/// The hash of a string or bytes key. O(length).
pub(super) fn hash_bytes(op: &Op<'_>, bytes: &[u8]) -> u64 {
    hasher(op, Domain::Bytes).hash(bytes)
}

fn hash_number(op: &Op<'_>, number: Number<'_>) -> Option<u64> {
    Some(match number.canonical()? {
        Canonical::Int(int) => hasher(op, Domain::Int).hash(&int.to_le_bytes()),
        Canonical::Big(bytes) => hasher(op, Domain::WideInt).hash(bytes),
        Canonical::Wide(wide) => hasher(op, Domain::WideInt).hash(wide.bytes()),
        Canonical::Fraction(bits) => hasher(op, Domain::Fraction).hash(&bits.to_le_bytes()),
    })
}

fn hash_none(op: &Op<'_>) -> u64 {
    hasher(op, Domain::None).hash(&[])
}

fn hash_scalar(op: &Op<'_>, scalar: &Scalar<'_>) -> Option<u64> {
    match scalar {
        Scalar::Str(bytes) | Scalar::Bytes(bytes) => Some(hash_bytes(op, bytes)),
        scalar => match scalar.number() {
            Some(number) => hash_number(op, number),
            None => Some(hash_none(op)),
        },
    }
}

/// The hash of a tuple, from those of its parts in order.
fn hash_tuple(op: &Op<'_>, parts: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    let mut hasher = hasher(op, Domain::Tuple);
    for part in parts {
        hasher.write_u64(part?);
    }
    Some(hasher.finish())
}

#[cfg(test)]
mod tests;
