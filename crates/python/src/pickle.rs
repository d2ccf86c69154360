//! How proxies and iterators are pickled: as plain copies, which can be loaded where there is no heap, and no subduct.

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::constant::name;

/// What `__reduce__` returns for something that becomes `copy`: a call of what every Python has, that returns it as it is, with the
/// cycles in it.
///
/// # Errors
/// MemoryError, what importing raises.
pub fn reduced<'py>(copy: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyTuple>> {
    let py = copy.py();
    let item = py.import(name!(py, "operator"))?.getattr(name!(py, "getitem"))?;
    (item, ((copy,), 0)).into_pyobject(py)
}
