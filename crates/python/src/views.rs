//! What `list(d.items())` asks a view of a Dict for. It is one step for other threads, as with builtins, so none of it runs bytecode:
//! the views are classes written in Python, and these are methods of theirs.

use pyo3::prelude::*;
use subduct_heap::object::dict;

use crate::constant::name;
use crate::cpython;
use crate::dict::Dict;
use crate::iterate::{DictIterator, Part};

/// Adds the methods to the module.
pub fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    for function in [
        wrap_pyfunction!(view_len, module)?,
        wrap_pyfunction!(view_keys, module)?,
        wrap_pyfunction!(view_values, module)?,
        wrap_pyfunction!(view_items, module)?,
    ] {
        module.add(function.getattr("__name__")?.extract::<String>()?, cpython::method(&function)?)?;
    }
    Ok(())
}

/// Number of entries. O(1).
#[pyfunction]
#[pyo3(signature = (view, /))]
fn view_len(view: &Bound<'_, PyAny>) -> PyResult<usize> {
    shown(view)?.get().held().run(view.py(), dict::len)
}

/// Iterates in order of insertion.
#[pyfunction]
#[pyo3(signature = (view, /))]
fn view_keys(view: &Bound<'_, PyAny>) -> PyResult<DictIterator> {
    DictIterator::new(&shown(view)?, Part::Keys, false)
}

/// Iterates in order of insertion.
#[pyfunction]
#[pyo3(signature = (view, /))]
fn view_values(view: &Bound<'_, PyAny>) -> PyResult<DictIterator> {
    DictIterator::new(&shown(view)?, Part::Values, false)
}

/// Iterates in order of insertion.
#[pyfunction]
#[pyo3(signature = (view, /))]
fn view_items(view: &Bound<'_, PyAny>) -> PyResult<DictIterator> {
    DictIterator::new(&shown(view)?, Part::Items, false)
}

/// The Dict of a view: a slot, which is read without bytecode.
fn shown<'py>(view: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Dict>> {
    Ok(view.getattr(name!(view.py(), "_dict"))?.cast_into::<Dict>()?)
}
