//! Assigning to slices of a list and deleting them.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PySlice, PyTuple};
use subduct_heap::object::list::{self, Slice};

use crate::copy_in::prepare;
use crate::cpython;
use crate::held::Held;
use crate::list::List;

/// `list[slice] = value`.
///
/// # Errors
/// TypeError for what is not iterable or cannot be stored, ValueError where an extended slice has another number of elements, what the
/// iterator raises, HeapFull. Nothing has changed then.
pub fn assign(py: Python<'_>, list: &List, slice: &Bound<'_, PySlice>, value: &Bound<'_, PyAny>) -> PyResult<()> {
    let slice = unpack(slice)?;
    if slice.step == 1 && is_empty_builtin(value) {
        // Needs no room, which a full heap does not have.
        return remove(py, list, slice);
    }
    let from = elements(py, list, value, slice.step != 1)?;
    let assigned = list.held().run_long(py, |op, object| list::assign_slice(op, object, slice, from.handle()))?;
    assigned.map_err(|(given, wanted)| {
        PyValueError::new_err(format!("attempt to assign sequence of size {given} to extended slice of size {wanted}"))
    })
}

fn is_empty_builtin(value: &Bound<'_, PyAny>) -> bool {
    let list = value.cast_exact::<PyList>().map(|list| list.is_empty());
    let tuple = value.cast_exact::<PyTuple>().map(|tuple| tuple.is_empty());
    matches!((list, tuple), (Ok(true), _) | (_, Ok(true)))
}

/// Start, stop and step of a slice.
///
/// # Errors
/// TypeError for what is no int, ValueError for a step of 0, what an `__index__` raises.
pub fn unpack(slice: &Bound<'_, PySlice>) -> PyResult<Slice> {
    let (start, stop, step) = cpython::unpack_slice(slice)?;
    Ok(Slice { start, stop, step })
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
    remove(py, list, unpack(slice)?)
}

fn remove(py: Python<'_>, list: &List, slice: Slice) -> PyResult<()> {
    list.held().run_long(py, |op, object| list::delete_slice(op, object, slice))
}
