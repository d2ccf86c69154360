//! Sorting a list: Python's own sort finds the order, then the elements move.

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use subduct_heap::object::{list, outgoing};

use crate::list::List;
use crate::outgoing::to_object;
use crate::transfer;

/// Elements compared in one operation.
const PIECE: usize = 256;

/// `list.sort(key=key, reverse=reverse)`.
///
/// # Errors
/// What `key` or comparing raises, HeapFull: nothing has changed then. ValueError when the list changed meanwhile.
pub fn sort(py: Python<'_>, list: &List, key: Option<&Bound<'_, PyAny>>, reverse: bool) -> PyResult<()> {
    let before = list.shallow_copy(py, None)?;
    let len = before.len(py)?;
    let keys = PyList::empty(py);
    for i in 0..len {
        let element = element(py, &before, i)?;
        keys.append(match key {
            Some(key) => key.call1((element,))?,
            None => element,
        })?;
    }
    let order = order(&keys, reverse)?;
    let sorted = transfer::collect(py, before.held(), len, |i| order[i])?;
    if !is_same(py, list, &before, len)? {
        return Err(PyValueError::new_err("list modified during sort"));
    }
    transfer::splice(py, list.held(), 0, len, &sorted, len)
}

fn element<'py>(py: Python<'py>, list: &List, i: usize) -> PyResult<Bound<'py, PyAny>> {
    let value = list.held().run(py, |op, object| match list::get(op, object, i)? {
        Some(value) => outgoing(op, value),
        None => unreachable!("nobody else knows this list"),
    })?;
    to_object(py, list.held().heap(), value)
}

/// The positions of `keys`, in the order that sorts them.
fn order(keys: &Bound<'_, PyList>, reverse: bool) -> PyResult<Vec<usize>> {
    let py = keys.py();
    let options = PyDict::new(py);
    options.set_item(intern!(py, "key"), keys.getattr(intern!(py, "__getitem__"))?)?;
    options.set_item(intern!(py, "reverse"), reverse)?;
    let positions = PyList::new(py, 0..keys.len())?;
    positions.call_method(intern!(py, "sort"), (), Some(&options))?;
    positions.extract()
}

/// Whether both lists hold the same `len` elements.
fn is_same(py: Python<'_>, list: &List, other: &List, len: usize) -> PyResult<bool> {
    if list.len(py)? != len {
        return Ok(false);
    }
    for start in (0..len).step_by(PIECE) {
        let same = list.held().run(py, |op, object| {
            let other = op.handle_get(other.held().handle());
            for i in start..len.min(start + PIECE) {
                if list::get(op, object, i)? != list::get(op, other, i)? {
                    return Ok(false);
                }
            }
            Ok(true)
        })?;
        if !same {
            return Ok(false);
        }
    }
    Ok(true)
}
