//! Keys from Python and keys on their way out.
//!
//! To store a key, it has to be exactly of a type that a heap holds. To look one up, instances of subclasses of str, int, float,
//! bytes and tuple stand for the value they hold (members of an `IntEnum`, say); whatever else is hashable is simply not there.

use pyo3::exceptions::{PyMemoryError, PyRecursionError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyFloat, PyInt, PyString, PyTuple};
use subduct_heap::memory::{self, Refused};
use subduct_heap::object::{Key, Kind, Outgoing, Part, Scalar, StoredKey, Value, outgoing};
use subduct_heap::{Op, Retry};

use crate::cpython;
use crate::heap::NativeHeap;
use crate::incoming::{self, Incoming};
use crate::outgoing::to_object;
use crate::tuple::Tuple;
use crate::turn;

/// Deepest nesting of tuples in a key. Python recurses where it hashes and compares them.
const DEPTH_MAX: usize = 100;

/// A key from Python.
pub enum KeyIn {
    /// A scalar; never [`Incoming::Object`].
    Scalar(Incoming),
    /// A tuple of keys.
    Tuple(Vec<Part<Incoming>>),
}

impl KeyIn {
    /// For the heap to look up or store.
    ///
    /// # Errors
    /// [`Refused`]: no memory for a tuple's parts.
    pub fn key(&self) -> Result<Key<'_>, Refused> {
        match self {
            Self::Scalar(scalar) => Ok(scalar.key().unwrap_or(Key::None)),
            Self::Tuple(parts) => tuple_key(parts, Incoming::scalar),
        }
    }
}

fn tuple_key<'a, S>(parts: &'a [Part<S>], scalar: impl Fn(&'a S) -> Scalar<'a>) -> Result<Key<'a>, Refused> {
    let mut key = Vec::new();
    memory::reserve(&mut key, parts.len())?;
    key.extend(parts.iter().map(|part| part.map(&scalar)));
    Ok(Key::Tuple(key))
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
    hashable(value, taken(value, Types::Exact)?)
}

/// A key to look up, or `None` for one that cannot be in a heap.
///
/// # Errors
/// TypeError for an unhashable one, RecursionError for one that nests too deep.
fn lookup(value: &Bound<'_, PyAny>) -> PyResult<Option<KeyIn>> {
    hashable(value, taken(value, Types::Derived)?)
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
pub fn plain<'a>(value: &'a Bound<'_, PyAny>) -> Option<Key<'a>> {
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

/// Which types are taken for keys.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Types {
    /// Exactly those that can be stored.
    Exact,
    /// Those derived from them, too.
    Derived,
}

/// A key of these types.
fn taken(value: &Bound<'_, PyAny>, types: Types) -> PyResult<Option<KeyIn>> {
    if let Some(scalar) = scalar(value, types)? {
        return Ok(Some(KeyIn::Scalar(scalar)));
    }
    let Some(top) = tuple(value, types)? else { return Ok(None) };
    let (mut parts, mut open) = (Vec::new(), Vec::new());
    begin(top, &mut parts, &mut open)?;
    while let Some((items, next)) = open.last_mut() {
        if *next == items.len() {
            open.pop();
            continue;
        }
        let item = items.get_borrowed_item(*next)?.to_owned();
        *next += 1;
        if let Some(scalar) = scalar(&item, types)? {
            turn::push(&mut parts, Part::Scalar(scalar))?;
        } else {
            let Some(items) = tuple(&item, types)? else { return Ok(None) };
            begin(items, &mut parts, &mut open)?;
        }
    }
    Ok(Some(KeyIn::Tuple(parts)))
}

/// Goes into a tuple, `open` being those that it is in, each with its next item.
fn begin<'py>(
    items: Bound<'py, PyTuple>,
    parts: &mut Vec<Part<Incoming>>,
    open: &mut Vec<(Bound<'py, PyTuple>, usize)>,
) -> PyResult<()> {
    if open.len() == DEPTH_MAX {
        return Err(PyRecursionError::new_err(format!("a key holds at most {DEPTH_MAX} tuples one in the other")));
    }
    turn::push(parts, Part::Tuple(items.len()))?;
    turn::push(open, (items, 0))
}

fn scalar(value: &Bound<'_, PyAny>, types: Types) -> PyResult<Option<Incoming>> {
    let exact = incoming::scalar(value)?;
    if exact.is_some() || types == Types::Exact {
        return Ok(exact);
    }
    Ok(Some(if let Ok(text) = value.cast::<PyString>() {
        incoming::string(text)?
    } else if let Ok(int) = value.cast::<PyInt>() {
        incoming::integer(int)?
    } else if let Ok(float) = value.cast::<PyFloat>() {
        Incoming::Float(float.value())
    } else if let Ok(bytes) = value.cast::<PyBytes>() {
        Incoming::Bytes(Box::new(bytes.clone().into()))
    } else {
        return Ok(None);
    }))
}

/// The items of a tuple, or of a proxy of one.
fn tuple<'py>(value: &Bound<'py, PyAny>, types: Types) -> PyResult<Option<Bound<'py, PyTuple>>> {
    if let Ok(items) = value.cast_exact::<PyTuple>() {
        return Ok(Some(items.clone()));
    }
    if let Ok(proxy) = value.cast_exact::<Tuple>() {
        return proxy.get().to_hashable(value.py()).map(Some);
    }
    Ok(value.cast::<PyTuple>().ok().filter(|_| types == Types::Derived).cloned())
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
    Tuple(Vec<Part<Outgoing>>),
}

impl KeyOut {
    /// Reads a key. Makes no handles. O(size of the key).
    pub fn read(op: &mut Op<'_>, value: Value) -> Result<Self, Retry> {
        if value.as_ref().is_none_or(|object| op.header(object).kind() != Kind::Tuple) {
            return outgoing(op, value).map(Self::Scalar);
        }
        let (mut parts, mut stored) = (Vec::new(), StoredKey::new(value));
        // Reading an item moves nothing.
        while let Some(part) = stored.next(op) {
            let part = match part {
                Part::Tuple(len) => Part::Tuple(len),
                Part::Scalar(value) => Part::Scalar(outgoing(op, value)?),
            };
            memory::push(&mut parts, part)?;
        }
        Ok(Self::Tuple(parts))
    }

    /// For another dict of the same heap.
    ///
    /// # Errors
    /// [`Refused`]: no memory for a tuple's parts.
    pub fn key(&self) -> Result<Key<'_>, Refused> {
        match self {
            Self::Scalar(scalar) => Ok(Key::of(scalar.scalar()).unwrap_or(Key::None)),
            Self::Tuple(parts) => tuple_key(parts, Outgoing::scalar),
        }
    }

    /// For Python.
    pub fn into_object<'py>(self, py: Python<'py>, heap: &Py<NativeHeap>) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Self::Scalar(scalar) => to_object(py, heap, scalar),
            Self::Tuple(parts) => tuple_object(py, heap, parts),
        }
    }
}

fn tuple_object<'py>(
    py: Python<'py>,
    heap: &Py<NativeHeap>,
    parts: Vec<Part<Outgoing>>,
) -> PyResult<Bound<'py, PyAny>> {
    let mut open: Vec<(Bound<'py, PyTuple>, usize)> = Vec::new();
    let mut whole = None;
    for part in parts {
        let (object, begun) = match part {
            Part::Tuple(len) => {
                let made = cpython::new_tuple(py, len)?;
                (made.clone().into_any(), Some(made))
            }
            Part::Scalar(scalar) => (to_object(py, heap, scalar)?, None),
        };
        match open.last_mut() {
            Some((outer, next)) => {
                cpython::set_tuple_item(outer, *next, object);
                *next += 1;
            }
            None => whole = Some(object),
        }
        if let Some(made) = begun {
            turn::push(&mut open, (made, 0))?;
        }
        while open.last().is_some_and(|(made, next)| *next == made.len()) {
            open.pop();
        }
    }
    Ok(whole.expect("a key has a first part"))
}
