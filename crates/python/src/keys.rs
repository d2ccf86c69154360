//! Keys from Python and keys on their way out.
//!
//! To store a key, it has to be exactly of a type that a heap holds. To look one up, instances of subclasses of str, int, float,
//! bytes and tuple stand for the value they hold (members of an `IntEnum`, say); whatever else is hashable is simply not there.

use pyo3::exceptions::{PyMemoryError, PyRecursionError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyFloat, PyInt, PyString, PyTuple};
use subduct_heap::memory::{self, Refused};
use subduct_heap::object::{Key, Kind, Outgoing, Value, outgoing, tuple};
use subduct_heap::{Op, Retry};

use crate::cpython;
use crate::heap::NativeHeap;
use crate::incoming::{self, Incoming};
use crate::outgoing::to_object;
use crate::tuple::Tuple;
use crate::turn;

/// Deepest nesting of tuples in a key: hashing and comparing keys recurse.
const DEPTH_MAX: usize = 100;

/// A key from Python.
pub enum KeyIn {
    /// A scalar; never [`Incoming::Object`].
    Scalar(Incoming),
    /// A tuple of keys.
    Tuple(Vec<KeyIn>),
}

impl KeyIn {
    /// For the heap to look up or store.
    ///
    /// # Errors
    /// [`Refused`]: no memory for a tuple's items.
    pub fn key(&self) -> Result<Key<'_>, Refused> {
        match self {
            Self::Scalar(scalar) => Ok(scalar.key().unwrap_or(Key::None)),
            Self::Tuple(items) => tuple_key(items.iter().map(Self::key)),
        }
    }
}

fn tuple_key<'a>(items: impl ExactSizeIterator<Item = Result<Key<'a>, Refused>>) -> Result<Key<'a>, Refused> {
    let mut keys = Vec::new();
    memory::reserve(&mut keys, items.len())?;
    for item in items {
        keys.push(item?);
    }
    Ok(Key::Tuple(keys))
}

/// A key, outside operations.
///
/// # Errors
/// MemoryError.
pub fn given<'a>(key: Result<Key<'a>, Refused>) -> PyResult<Key<'a>> {
    key.map_err(|refused| PyMemoryError::new_err(format!("the process has no {} bytes left for a key", refused.bytes)))
}

/// A key to store, or `None` for a hashable object that cannot be stored.
///
/// # Errors
/// TypeError for an unhashable one, RecursionError for one that nests too deep.
pub fn storable(value: &Bound<'_, PyAny>) -> PyResult<Option<KeyIn>> {
    hashable(value, exact(value, 0)?)
}

/// A key to look up, or `None` for one that cannot be in a heap.
///
/// # Errors
/// TypeError for an unhashable one, RecursionError for one that nests too deep.
fn lookup(value: &Bound<'_, PyAny>) -> PyResult<Option<KeyIn>> {
    hashable(value, any(value, 0)?)
}

/// Hands a key to look up to `then`; `None` for one that cannot be in a heap. The keys that most dicts have are not even copied.
///
/// # Errors
/// As [`lookup`], and those of `then`.
pub fn look_up<T>(value: &Bound<'_, PyAny>, then: impl FnOnce(&Key<'_>) -> PyResult<T>) -> PyResult<Option<T>> {
    if let Some(key) = plain(value) {
        return then(&key).map(Some);
    }
    match lookup(value)? {
        Some(key) => then(&given(key.key())?).map(Some),
        None => Ok(None),
    }
}

/// Hands a key to store to `then`, which gets what most dicts have as it is.
///
/// # Errors
/// TypeError for a key that cannot be stored, RecursionError for one that nests too deep, and those of `then`.
pub fn store<T>(value: &Bound<'_, PyAny>, then: impl FnOnce(&Key<'_>) -> PyResult<T>) -> PyResult<T> {
    if let Some(key) = plain(value) {
        return then(&key);
    }
    then(&given(stored(value)?.key())?)
}

/// A str or an int that can be a key as it lies.
fn plain<'a>(value: &'a Bound<'_, PyAny>) -> Option<Key<'a>> {
    if let Ok(text) = value.cast_exact::<PyString>() {
        return text.to_str().ok().map(|text| Key::Str(text.as_bytes()));
    }
    value.cast_exact::<PyInt>().ok().and_then(cpython::small_int).map(Key::Int)
}

/// Passes `key` on; for what is none, lets Python say so if it is not even hashable.
fn hashable(value: &Bound<'_, PyAny>, key: Option<KeyIn>) -> PyResult<Option<KeyIn>> {
    if key.is_none() {
        value.hash()?;
    }
    Ok(key)
}

type Convert = fn(&Bound<'_, PyAny>, usize) -> PyResult<Option<KeyIn>>;

/// A key of exactly the types that can be stored.
fn exact(value: &Bound<'_, PyAny>, depth: usize) -> PyResult<Option<KeyIn>> {
    if let Some(scalar) = incoming::scalar(value)? {
        return Ok(Some(KeyIn::Scalar(scalar)));
    }
    if let Ok(items) = value.cast_exact::<PyTuple>() {
        return tuple_of(items, depth, exact);
    }
    match value.cast_exact::<Tuple>() {
        Ok(proxy) => tuple_of(&proxy.get().to_hashable(value.py())?, depth, exact),
        Err(_) => Ok(None),
    }
}

/// A key of these types or of types derived from them.
fn any(value: &Bound<'_, PyAny>, depth: usize) -> PyResult<Option<KeyIn>> {
    if let Some(key) = exact(value, depth)? {
        return Ok(Some(key));
    }
    Ok(Some(KeyIn::Scalar(if let Ok(text) = value.cast::<PyString>() {
        incoming::string(text)?
    } else if let Ok(int) = value.cast::<PyInt>() {
        incoming::integer(int)?
    } else if let Ok(float) = value.cast::<PyFloat>() {
        Incoming::Float(float.value())
    } else if let Ok(bytes) = value.cast::<PyBytes>() {
        Incoming::Bytes(Box::new(bytes.clone().into()))
    } else if let Ok(items) = value.cast::<PyTuple>() {
        return tuple_of(items, depth, any);
    } else {
        return Ok(None);
    })))
}

fn tuple_of(items: &Bound<'_, PyTuple>, depth: usize, convert: Convert) -> PyResult<Option<KeyIn>> {
    if depth == DEPTH_MAX {
        return Err(PyRecursionError::new_err(format!("a key holds at most {DEPTH_MAX} tuples one in the other")));
    }
    let mut keys = turn::with_room(items.len())?;
    for item in items.iter_borrowed() {
        let Some(key) = convert(&item, depth + 1)? else { return Ok(None) };
        keys.push(key);
    }
    Ok(Some(KeyIn::Tuple(keys)))
}

/// The exception for a key that cannot be stored. `place` says where, or is empty.
pub fn refused(key: &Bound<'_, PyAny>, place: &str) -> PyErr {
    let name = crate::path::qualified_type_name(key);
    PyTypeError::new_err(format!(
        "cannot store a key of type {name}{place}: keys are None, bool, int, float, str, bytes and tuples of these, \
         exactly these types and no subclasses"
    ))
}

/// A key to store on its own.
fn stored(value: &Bound<'_, PyAny>) -> PyResult<KeyIn> {
    storable(value)?.ok_or_else(|| refused(value, ""))
}

/// A key that was read in an operation. Tuples come out whole: nothing in them can change.
pub enum KeyOut {
    /// A scalar.
    Scalar(Outgoing),
    /// A tuple of keys.
    Tuple(Vec<KeyOut>),
}

impl KeyOut {
    /// Reads a key. Makes no handles. O(size of the key).
    pub fn read(op: &mut Op<'_>, value: Value) -> Result<Self, Retry> {
        match value.as_ref().filter(|object| op.header(*object).kind() == Kind::Tuple) {
            None => outgoing(op, value).map(Self::Scalar),
            Some(object) => {
                let mut items = Vec::new();
                memory::reserve(&mut items, tuple::len(op, object))?;
                let mut at = 0;
                // Reading an item moves nothing.
                while let Some(item) = tuple::get(op, object, at) {
                    items.push(Self::read(op, item)?);
                    at += 1;
                }
                Ok(Self::Tuple(items))
            }
        }
    }

    /// For another dict of the same heap.
    ///
    /// # Errors
    /// [`Refused`]: no memory for a tuple's items.
    pub fn key(&self) -> Result<Key<'_>, Refused> {
        match self {
            Self::Scalar(scalar) => Ok(match scalar {
                Outgoing::None | Outgoing::Container(..) => Key::None,
                Outgoing::Bool(value) => Key::Bool(*value),
                Outgoing::Int(value) => Key::Int(*value),
                Outgoing::Big(bytes) => Key::Big(bytes),
                Outgoing::Float(value) => Key::Float(*value),
                Outgoing::Str(bytes) => Key::Str(bytes),
                Outgoing::Bytes(bytes) => Key::Bytes(bytes),
            }),
            Self::Tuple(items) => tuple_key(items.iter().map(Self::key)),
        }
    }

    /// For Python.
    pub fn into_object<'py>(self, py: Python<'py>, heap: &Py<NativeHeap>) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Self::Scalar(scalar) => to_object(py, heap, scalar),
            Self::Tuple(items) => {
                let items = turn::gathered(items.into_iter().map(|item| item.into_object(py, heap)))?;
                Ok(PyTuple::new(py, items)?.into_any())
            }
        }
    }
}
