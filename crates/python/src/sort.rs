//! Sorting a list: Python's own sort finds the order, then the elements move.

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use subduct_heap::object::{list, outgoing};

use crate::list::List;
use crate::outgoing::to_object;
use crate::transfer;

/// `list.sort(key=key, reverse=reverse)`.
///
/// # Errors
/// What `key` or comparing raises, HeapFull: nothing has changed then. ValueError when the list changed meanwhile: it stays as it was
/// changed.
pub fn sort(py: Python<'_>, list: &List, key: Option<&Bound<'_, PyAny>>, reverse: bool) -> PyResult<()> {
    let changes = list.held().run(py, list::changes)?;
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
    // What becomes of the keys may change the list, too.
    drop(keys);
    let sorted = transfer::collect(py, before.held(), len, |i| order[i])?;
    let is_sorted = list.held().run(py, |op, to| {
        let is_same = list::changes(op, to)? == changes;
        if is_same {
            list::splice_from(op, to, 0, len, sorted.handle(), len)?;
        }
        Ok(is_same)
    })?;
    is_sorted.then_some(()).ok_or_else(|| PyValueError::new_err("list modified during sort"))
}

/// What was given to a sort as `reverse`, if anything.
#[derive(Default)]
pub struct Reverse(Option<Py<PyAny>>);

impl FromPyObject<'_, '_> for Reverse {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        Ok(Self(Some(value.to_owned().unbind())))
    }
}

impl Reverse {
    /// What this interpreter's own sort takes it for: versions differ in what they refuse.
    ///
    /// # Errors
    /// TypeError, what asking for its value raises.
    pub fn is_set(&self, py: Python<'_>) -> PyResult<bool> {
        let Some(reverse) = &self.0 else { return Ok(false) };
        let (sample, options) = (PyList::new(py, [0, 1])?, PyDict::new(py));
        options.set_item(intern!(py, "reverse"), reverse)?;
        sample.call_method(intern!(py, "sort"), (), Some(&options))?;
        sample.get_item(0)?.is_truthy()
    }
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
