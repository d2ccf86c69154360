//! Keys that are tuples, part by part: a tuple comes before its items, and an item that is a tuple before its own.

use smallvec::SmallVec;

use super::{Form, Scalar, hash_scalar, hash_stored_scalar, materialise_scalar, scalar_equals, stored_scalars_equal};
use crate::memory::{self, Refused};
use crate::mutator::{Op, Retry};
use crate::object::header::Kind;
use crate::object::tuple;
use crate::object::value::{Ref, Value};

/// Nested tuples that need no memory but the stack's.
const INLINE: usize = 4;

/// A part of a key, in which items that are no tuples have the form `S`.
#[derive(Clone, Copy, Debug)]
pub enum Part<S> {
    /// A tuple of so many items, which follow.
    Tuple(usize),
    /// An item that is no tuple.
    Scalar(S),
}

impl<S> Part<S> {
    /// The same part, with its item in another form.
    pub fn map<'s, T>(&'s self, form: impl FnOnce(&'s S) -> T) -> Part<T> {
        match self {
            Self::Tuple(len) => Part::Tuple(*len),
            Self::Scalar(scalar) => Part::Scalar(form(scalar)),
        }
    }
}

impl Part<Scalar<'_>> {
    pub(super) fn hash(&self, op: &Op<'_>) -> Option<u64> {
        match self {
            Self::Tuple(len) => Some(*len as u64),
            Self::Scalar(scalar) => hash_scalar(op, scalar),
        }
    }
}

impl Part<Value> {
    pub(super) fn hash(&self, op: &Op<'_>) -> Option<u64> {
        match self {
            Self::Tuple(len) => Some(*len as u64),
            Self::Scalar(value) => hash_stored_scalar(op, *value),
        }
    }
}

/// A way through the parts of a stored key. Objects must not move meanwhile.
pub struct StoredKey {
    first: Option<Value>,
    /// The tuples that were begun, and the next item of each.
    open: SmallVec<[(Ref, usize); INLINE]>,
}

impl StoredKey {
    /// At the first part.
    #[must_use]
    pub fn new(stored: Value) -> Self {
        Self { first: Some(stored), open: SmallVec::new() }
    }

    /// The next part.
    pub fn next(&mut self, op: &Op<'_>) -> Option<Part<Value>> {
        let value = match self.first.take() {
            Some(first) => first,
            None => self.next_item(op)?,
        };
        let Some(object) = value.as_ref().filter(|object| op.header(*object).kind() == Kind::Tuple) else {
            return Some(Part::Scalar(value));
        };
        self.open.push((object, 0));
        Some(Part::Tuple(tuple::len(op, object)))
    }

    fn next_item(&mut self, op: &Op<'_>) -> Option<Value> {
        loop {
            let (object, next) = self.open.last_mut()?;
            if let Some(value) = tuple::get(op, *object, *next) {
                *next += 1;
                return Some(value);
            }
            self.open.pop();
        }
    }
}

pub(super) fn is_tuple(op: &Op<'_>, stored: Value) -> bool {
    stored.as_ref().is_some_and(|object| op.header(object).kind() == Kind::Tuple)
}

/// The parts of a tuple of these items.
pub(super) fn gathered<'k, 'a: 'k>(
    items: impl ExactSizeIterator<Item = Form<'k, 'a>>,
) -> Result<Vec<Part<Scalar<'a>>>, Refused> {
    let mut parts = Vec::new();
    memory::push(&mut parts, Part::Tuple(items.len()))?;
    for item in items {
        match item {
            Form::Scalar(scalar) => memory::push(&mut parts, Part::Scalar(scalar))?,
            Form::Tuple(nested) => {
                memory::reserve(&mut parts, nested.len())?;
                parts.extend_from_slice(nested);
            }
        }
    }
    Ok(parts)
}

pub(super) fn equals(op: &Op<'_>, parts: &[Part<Scalar<'_>>], stored: Value) -> bool {
    let mut stored = StoredKey::new(stored);
    parts.iter().all(|part| match (part, stored.next(op)) {
        (Part::Tuple(len), Some(Part::Tuple(stored_len))) => *len == stored_len,
        (Part::Scalar(scalar), Some(Part::Scalar(value))) => scalar_equals(op, value, scalar),
        _ => false,
    })
}

pub(super) fn stored_equals(op: &Op<'_>, a: Value, b: Value) -> bool {
    let (mut a, mut b) = (StoredKey::new(a), StoredKey::new(b));
    loop {
        let equal = match (a.next(op), b.next(op)) {
            (Some(Part::Tuple(a)), Some(Part::Tuple(b))) => a == b,
            (Some(Part::Scalar(a)), Some(Part::Scalar(b))) => stored_scalars_equal(op, a, b),
            (a, b) => return a.is_none() && b.is_none(),
        };
        if !equal {
            return false;
        }
    }
}

/// As [`Key::materialise`](super::Key::materialise).
pub(super) fn materialise(op: &mut Op<'_>, parts: &[Part<Scalar<'_>>], share: bool) -> Result<Value, Retry> {
    // The tuples that items are lacking of, and the next of each.
    let mut open: SmallVec<[(Ref, usize); INLINE]> = SmallVec::new();
    let mut whole = Value::NONE;
    for part in parts {
        let (value, begun) = match part {
            Part::Tuple(len) => {
                let object = op.alloc(Kind::Tuple, *len, 0)?;
                (Value::reference(object), Some(object))
            }
            Part::Scalar(scalar) => (materialise_scalar(op, scalar, share)?, None),
        };
        match open.last_mut() {
            Some((outer, next)) => {
                op.store(*outer, *next, value);
                *next += 1;
            }
            None => whole = value,
        }
        if let Some(object) = begun {
            open.push((object, 0));
        }
        while open.last().is_some_and(|(object, next)| *next == tuple::len(op, *object)) {
            open.pop();
        }
    }
    Ok(whole)
}
