//! `_native.Closing`: the end of a `with` block that nothing keeps from closing what it closes.
//!
//! What a block's last statement brings about, a failure told to this thread or a signal, is raised where Python code is entered next.
//! Were `__exit__` written in Python, that would be there, before its first line.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::constant::name;

/// Failures that are told one after the other, at most.
const TRIES_MAX: usize = 1_000;

/// A context manager that calls its close(), which can be called again where an error ended it, and then its check().
#[pyclass(subclass, frozen, module = "subduct._native")]
pub struct Closing;

#[pymethods]
impl Closing {
    #[new]
    #[pyo3(signature = (*_arguments, **_keywords))]
    fn new(_arguments: &Bound<'_, PyTuple>, _keywords: Option<&Bound<'_, PyDict>>) -> Self {
        Self
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __exit__(
        slf: &Bound<'_, Self>,
        _kind: &Bound<'_, PyAny>,
        error: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = slf.py();
        let mut raised = None;
        for _ in 0..TRIES_MAX {
            match slf.call_method0(name!(py, "close")) {
                Ok(_) => break,
                Err(error) => {
                    raised.get_or_insert(error);
                }
            }
        }
        match raised {
            Some(raised) => Err(raised),
            None if error.is_none() => slf.call_method0(name!(py, "check")).map(drop),
            None => Ok(()),
        }
    }
}
