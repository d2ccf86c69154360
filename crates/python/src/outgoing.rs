//! Values on their way to Python, converted after the operation that read them.

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyString};
use subduct_heap::object::long::stored;
use subduct_heap::object::{Kind, Outgoing, Value, View, outgoing};
use subduct_heap::{Op, Retry};

use crate::cpython;
use crate::dict::Dict;
use crate::heap::NativeHeap;
use crate::held::Held;
use crate::list::List;
use crate::long;
use crate::number;
use crate::tuple::Tuple;

/// The Python value; for a container a proxy, which takes over the handle.
///
/// # Errors
/// MemoryError.
pub fn to_object<'py>(py: Python<'py>, heap: &Py<NativeHeap>, value: Outgoing) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Outgoing::None => py.None().into_bound(py),
        Outgoing::Bool(value) => PyBool::new(py, value).to_owned().into_any(),
        Outgoing::Int(value) => cpython::int(py, value)?,
        Outgoing::Big(bytes) => number::from_bytes(py, &bytes)?,
        Outgoing::Float(value) => cpython::float(py, value)?,
        Outgoing::Str(bytes) => string(py, &bytes)?,
        Outgoing::Bytes(bytes) => cpython::bytes(py, &bytes)?.into_any(),
        Outgoing::Container(kind, handle) => proxy(py, kind, Held::new(heap.clone_ref(py), handle))?,
    })
}

/// A value that was read in an operation, in the form that costs least: most values fit a slot.
pub enum Read {
    /// The slot's content.
    Immediate(Value),
    /// A copy of an object, or a handle to one.
    Object(Outgoing),
    /// A value that is yet to be copied.
    Long(long::Found),
}

impl Read {
    /// Reads a value.
    ///
    /// # Errors
    /// [`Retry`] when there is no room for a handle, or no memory for a copy.
    #[inline]
    pub fn of(op: &mut Op<'_>, value: Value) -> Result<Self, Retry> {
        if !value.is_ref() {
            return Ok(Self::Immediate(value));
        }
        match stored(op, value) {
            None => outgoing(op, value).map(Self::Object),
            Some(found) => long::Found::new(op, found).map(Self::Long),
        }
    }

    /// Reads a value into `into`, in place: a value of this size is better not moved.
    ///
    /// # Errors
    /// As [`Read::of`].
    pub fn into_slot(op: &mut Op<'_>, value: Value, into: &mut Option<Self>) -> Result<(), Retry> {
        *into = Some(Self::of(op, value)?);
        Ok(())
    }

    /// The Python value, with a handle to it if it is long.
    ///
    /// # Errors
    /// As [`Read::into_object`].
    pub fn into_kept<'py>(self, py: Python<'py>, heap: &Py<NativeHeap>) -> PyResult<(Bound<'py, PyAny>, Option<Held>)> {
        let Self::Long(found) = self else { return Ok((self.into_object(py, heap)?, None)) };
        let (object, leaf) = found.into_kept(py, heap)?;
        Ok((object, Some(leaf)))
    }

    /// The Python value.
    ///
    /// # Errors
    /// MemoryError; HeapClosed for one that is yet to be copied.
    pub fn into_object<'py>(self, py: Python<'py>, heap: &Py<NativeHeap>) -> PyResult<Bound<'py, PyAny>> {
        let value = match self {
            Self::Object(value) => return to_object(py, heap, value),
            Self::Long(found) => return found.into_object(py, heap),
            Self::Immediate(value) => value,
        };
        Ok(match value.view() {
            View::Int(value) => cpython::int(py, value)?,
            View::Str(short) => string(py, &short)?,
            View::Float(value) => cpython::float(py, value)?,
            View::Bool(value) => PyBool::new(py, value).to_owned().into_any(),
            View::Bytes(short) => cpython::bytes(py, &short)?.into_any(),
            View::None => py.None().into_bound(py),
            View::Empty | View::Deleted | View::Ref(_) => unreachable!("no immediate user's value: {value:?}"),
        })
    }
}

/// The proxy of a container.
///
/// # Errors
/// MemoryError.
///
/// # Panics
/// When `kind` is no container.
pub fn proxy(py: Python<'_>, kind: Kind, held: Held) -> PyResult<Bound<'_, PyAny>> {
    Ok(match kind {
        Kind::Dict => Bound::new(py, Dict::new(held))?.into_any(),
        Kind::List => Bound::new(py, List::new(held))?.into_any(),
        Kind::Tuple => Bound::new(py, Tuple::new(held))?.into_any(),
        _ => unreachable!("{kind:?} is no container"),
    })
}

/// A str from UTF-8, or from WTF-8 where it has lone surrogates.
///
/// # Errors
/// MemoryError.
pub fn string<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return cpython::text(py, text);
    }
    let bytes = cpython::bytes(py, bytes)?;
    PyString::from_encoded_object(&bytes, Some(c"utf-8"), Some(c"surrogatepass")).map(Bound::into_any)
}
