//! Assigning to slices of a list and deleting them.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PySlice};

use crate::copy_in::prepare;
use crate::held::Held;
use crate::index::Span;
use crate::list::List;
use crate::transfer;

/// `list[slice] = value`.
///
/// # Errors
/// TypeError for what is not iterable or cannot be stored, ValueError where an extended slice has another number of elements, what the
/// iterator raises, HeapFull. Nothing has changed then.
pub fn assign(py: Python<'_>, list: &List, slice: &Bound<'_, PySlice>, value: &Bound<'_, PyAny>) -> PyResult<()> {
    let is_extended = Span::of(slice, 0)?.step != 1;
    let from = elements(py, list, value, is_extended)?;
    let span = Span::of(slice, list.len(py)?)?;
    if !is_extended {
        return transfer::splice(py, list.held(), span.start, span.count, &from, usize::MAX);
    }
    let count = from.run(py, transfer::length)?;
    if count != span.count {
        return Err(PyValueError::new_err(format!(
            "attempt to assign sequence of size {count} to extended slice of size {}",
            span.count
        )));
    }
    if from.is_same(py, list.held())? {
        let copy = transfer::collect(py, &from, count, |i| i)?;
        return transfer::assign(py, list.held(), span, &copy);
    }
    transfer::assign(py, list.held(), span, &from)
}

/// The elements to assign, in a list or tuple of the heap.
fn elements(py: Python<'_>, list: &List, value: &Bound<'_, PyAny>, is_extended: bool) -> PyResult<Held> {
    if let Some(elements) = list.elements_of(py, value)? {
        return Ok(elements);
    }
    let iterator = value.try_iter().map_err(|error| {
        let refused =
            if is_extended { "must assign iterable to extended slice" } else { "can only assign an iterable" };
        if error.is_instance_of::<PyTypeError>(py) { PyTypeError::new_err(refused) } else { error }
    })?;
    let items = PyList::empty(py);
    for item in iterator {
        items.append(item?)?;
    }
    prepare(py, list.held().heap(), items.as_any())?.hold(py, list.held().heap())
}

/// `del list[slice]`.
///
/// # Errors
/// HeapClosed.
pub fn delete(py: Python<'_>, list: &List, slice: &Bound<'_, PySlice>) -> PyResult<()> {
    let len = list.len(py)?;
    let span = Span::of(slice, len)?.ascending();
    if span.count == 0 {
        return Ok(());
    }
    transfer::delete_span(py, list.held(), span, len)
}
