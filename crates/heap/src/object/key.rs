//! Keys of a dict: their hash, and how they compare with stored ones.
//!
//! Keys that Python calls equal have equal hashes, whatever form they are given or stored in. A key that holds a NaN
//! equals nothing, not even itself; it has no hash, and nobody ever finds it.

use siphasher::sip::SipHasher13;

use super::header::Kind;
use super::number::{Canonical, Number};
use super::scalar::{Scalar, is_leaf_of, leaf, scalar_equals, stored_number};
use super::value::{Ref, Value, View};
use super::{intern, tuple};
use crate::Interned;
use crate::mutator::{Op, Retry};

/// Longest string key, in bytes, that is looked up among the interned keys before it is stored.
const SHARED_KEY_MAX: usize = 64;

/// A key from outside. Strings are UTF-8, or WTF-8 where they have lone surrogates. How deep tuples nest is the
/// caller's to limit: comparing and hashing recurse.
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
    /// A tuple of keys.
    Tuple(Vec<Key<'a>>),
}

/// A key, as far as its form is concerned.
enum Form<'k, 'a> {
    Scalar(Scalar<'a>),
    Tuple(&'k [Key<'a>]),
}

impl<'a> Key<'a> {
    fn form(&self) -> Form<'_, 'a> {
        Form::Scalar(match *self {
            Self::None => Scalar::None,
            Self::Bool(value) => Scalar::Bool(value),
            Self::Int(value) => Scalar::Int(value),
            Self::Big(bytes) => Scalar::Big(bytes),
            Self::Float(value) => Scalar::Float(value),
            Self::Str(bytes) => Scalar::Str(bytes),
            Self::Bytes(bytes) => Scalar::Bytes(bytes),
            Self::Tuple(ref items) => return Form::Tuple(items),
        })
    }

    /// Whether a stored key equals this one, as Python's `==` says. Allocates nothing. O(size of the key).
    pub(super) fn equals(&self, op: &Op<'_>, stored: Value) -> bool {
        match self.form() {
            Form::Scalar(scalar) => scalar_equals(op, stored, &scalar),
            Form::Tuple(items) => stored_tuple(op, stored).is_some_and(|tuple| {
                tuple::len(op, tuple) == items.len()
                    && items.iter().enumerate().all(|(i, item)| item.equals(op, op.load(tuple, i)))
            }),
        }
    }

    /// The key's hash, or `None` for one that equals nothing. O(size of the key).
    pub(super) fn hash(&self, op: &Op<'_>) -> Option<u64> {
        match self.form() {
            Form::Tuple(items) => hash_tuple(op, items.iter().map(|item| item.hash(op))),
            Form::Scalar(Scalar::Str(bytes) | Scalar::Bytes(bytes)) => Some(hash_bytes(op, bytes)),
            Form::Scalar(scalar) => match scalar.number() {
                Some(number) => hash_number(op, number),
                None => Some(hash_none(op)),
            },
        }
    }

    /// The slot content for this key, with new objects where it needs them. With `share`, a short string is shared
    /// with equal ones stored lately. Never polls. O(size of the key).
    ///
    /// # Errors
    /// [`Retry`] when there is no room; nothing but the cache of interned strings has changed then.
    pub(super) fn materialise(&self, op: &mut Op<'_>, share: bool) -> Result<Value, Retry> {
        match self.form() {
            Form::Scalar(Scalar::Str(bytes)) => materialise_str(op, bytes, share),
            Form::Scalar(scalar) => scalar.materialise(op),
            Form::Tuple(items) => {
                let tuple = op.alloc(Kind::Tuple, items.len(), 0)?;
                for (i, item) in items.iter().enumerate() {
                    let item = item.materialise(op, share)?;
                    op.store(tuple, i, item);
                }
                Ok(Value::reference(tuple))
            }
        }
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
    if let Some(number) = stored_number(op, stored) {
        return hash_number(op, number);
    }
    if let Some(tuple) = stored_tuple(op, stored) {
        let items = 0..tuple::len(op, tuple);
        return hash_tuple(op, items.map(|i| hash_stored(op, op.load(tuple, i))));
    }
    match stored.view() {
        View::Str(short) | View::Bytes(short) => Some(hash_bytes(op, &short)),
        View::Ref(object) => Some(hash_bytes(op, op.raw(object))),
        _ => Some(hash_none(op)),
    }
}

/// Whether two stored keys are equal, as Python's `==` says. O(size of a key).
pub(super) fn stored_equals(op: &Op<'_>, a: Value, b: Value) -> bool {
    if let (Some(a), Some(b)) = (stored_number(op, a), stored_number(op, b)) {
        return a.equals(b);
    }
    if let (Some(a), Some(b)) = (stored_tuple(op, a), stored_tuple(op, b)) {
        let len = tuple::len(op, a);
        return len == tuple::len(op, b) && (0..len).all(|i| stored_equals(op, op.load(a, i), op.load(b, i)));
    }
    if a == b {
        return true;
    }
    let (Some(a), Some(b)) = (a.as_ref(), b.as_ref()) else { return false };
    let kind = op.header(a).kind();
    matches!(kind, Kind::Str | Kind::Bytes) && is_leaf_of(op, b, kind, op.raw(a))
}

fn stored_tuple(op: &Op<'_>, stored: Value) -> Option<Ref> {
    stored.as_ref().filter(|object| op.header(*object).kind() == Kind::Tuple)
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

/// The hash of a tuple, from its items' hashes in order.
fn hash_tuple(op: &Op<'_>, items: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    use std::hash::Hasher;
    let mut hasher = hasher(op, Domain::Tuple);
    for item in items {
        hasher.write_u64(item?);
    }
    Some(hasher.finish())
}

#[cfg(test)]
mod tests;
