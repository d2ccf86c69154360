//! Values from Python, taken apart before the operation that stores them.

use pyo3::exceptions::PyUnicodeEncodeError;
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use subduct_heap::Handle;
use subduct_heap::object::{Key, Scalar};

use crate::constant::name;
use crate::cpython;
use crate::heap::NativeHeap;
use crate::held::{self, Held};
use crate::number;
use crate::reader::Source;

/// A value that needs no walk. It keeps alive what it borrows, so an operation can use it without touching Python. What is rare is
/// boxed: these are moved a lot.
pub enum Incoming {
    /// None.
    None,
    /// True or False.
    Bool(bool),
    /// An int that fits 64 bits.
    Int(i64),
    /// An int that does not.
    Big(Vec<u8>),
    /// A float.
    Float(f64),
    /// A string.
    Str(PyBackedStr),
    /// A string with lone surrogates, as WTF-8.
    Surrogates(Box<PyBackedBytes>),
    /// Bytes.
    Bytes(Box<PyBackedBytes>),
    /// A long value that was copied in already, for this to be stored.
    Leaf(Box<Held>),
    /// A container that is in the heap already, and the proxy that keeps it there.
    Object(Handle, #[expect(dead_code, reason = "keeps the handle valid")] Py<PyAny>),
}

impl Incoming {
    /// As a value to store.
    pub fn scalar(&self) -> Scalar<'_> {
        match self {
            Self::None => Scalar::None,
            Self::Bool(value) => Scalar::Bool(*value),
            Self::Int(value) => Scalar::Int(*value),
            Self::Big(bytes) => Scalar::Big(bytes),
            Self::Float(value) => Scalar::Float(*value),
            Self::Str(text) => Scalar::Str(text.as_bytes()),
            Self::Surrogates(bytes) => Scalar::Str(bytes),
            Self::Bytes(bytes) => Scalar::Bytes(bytes),
            Self::Leaf(held) => Scalar::Object(held.handle()),
            Self::Object(handle, _) => Scalar::Object(*handle),
        }
    }

    /// Notes that the value was stored.
    pub fn note_placed(&self) {
        if let Self::Leaf(held) = self {
            held.note_placed();
        }
    }

    /// As a key; a container is none.
    pub fn key(&self) -> Option<Key<'_>> {
        Key::of(self.scalar())
    }
}

/// What a Python value is to a heap.
pub enum Taken<'py> {
    /// A value that needs no walk.
    Scalar(Incoming),
    /// A builtin container, to be copied.
    Container(Source<'py>),
    /// A proxy of another heap.
    Foreign,
    /// Nothing that can be stored.
    Unstorable,
}

/// Takes a value apart. Only the builtin types themselves are taken, no subclasses: what they add would be lost. O(1), O(length) for
/// a string that is not ASCII and for a large int.
///
/// # Errors
/// MemoryError.
pub fn take<'py>(heap: &Py<NativeHeap>, value: &Bound<'py, PyAny>) -> PyResult<Taken<'py>> {
    if let Some(scalar) = scalar(value)? {
        return Ok(Taken::Scalar(scalar));
    }
    if let Some(source) = container(value) {
        return Ok(Taken::Container(source));
    }
    Ok(match held::of_proxy(value) {
        Some((_, held)) if held.is_in(heap) => Taken::Scalar(Incoming::Object(held.handle(), value.clone().unbind())),
        Some(_) => Taken::Foreign,
        None => Taken::Unstorable,
    })
}

/// Takes apart a value of one of the scalar types, and no subclass of them.
///
/// # Errors
/// MemoryError.
pub fn scalar(value: &Bound<'_, PyAny>) -> PyResult<Option<Incoming>> {
    Ok(Some(if let Ok(text) = value.cast_exact::<PyString>() {
        string(text)?
    } else if let Ok(int) = value.cast_exact::<PyInt>() {
        integer(int)?
    } else if let Ok(float) = value.cast_exact::<PyFloat>() {
        Incoming::Float(float.value())
    } else if value.is_none() {
        Incoming::None
    } else if let Ok(truth) = value.cast_exact::<PyBool>() {
        Incoming::Bool(truth.is_true())
    } else if let Ok(bytes) = value.cast_exact::<PyBytes>() {
        Incoming::Bytes(Box::new(bytes.clone().into()))
    } else {
        return Ok(None);
    }))
}

/// Whether [`container`] finds one.
pub fn is_container(value: &Bound<'_, PyAny>) -> bool {
    value.is_exact_instance_of::<PyDict>()
        || value.is_exact_instance_of::<PyList>()
        || value.is_exact_instance_of::<PyTuple>()
}

/// A builtin container, and no instance of a subclass of one.
pub fn container<'py>(value: &Bound<'py, PyAny>) -> Option<Source<'py>> {
    if let Ok(dict) = value.cast_exact::<PyDict>() {
        Some(Source::Dict(dict.clone()))
    } else if let Ok(list) = value.cast_exact::<PyList>() {
        Some(Source::List(list.clone()))
    } else if let Ok(tuple) = value.cast_exact::<PyTuple>() {
        Some(Source::Tuple(tuple.clone()))
    } else {
        None
    }
}

/// A str, or an instance of a subclass taken as the text it holds.
///
/// # Errors
/// MemoryError.
pub fn string(text: &Bound<'_, PyString>) -> PyResult<Incoming> {
    let py = text.py();
    match PyBackedStr::try_from(text.clone()) {
        Ok(text) => Ok(Incoming::Str(text)),
        Err(error) if error.is_instance_of::<PyUnicodeEncodeError>(py) => {
            let arguments = (text, name!(py, "utf-8"), name!(py, "surrogatepass"));
            let encoded = py.get_type::<PyString>().call_method1(name!(py, "encode"), arguments)?;
            Ok(Incoming::Surrogates(Box::new(encoded.cast_into::<PyBytes>()?.into())))
        }
        Err(error) => Err(error),
    }
}

/// An int, or an instance of a subclass taken as its value.
///
/// # Errors
/// MemoryError.
pub fn integer(int: &Bound<'_, PyInt>) -> PyResult<Incoming> {
    match cpython::small_int(int) {
        Some(value) => Ok(Incoming::Int(value)),
        None => Ok(Incoming::Big(number::to_bytes(int)?)),
    }
}
