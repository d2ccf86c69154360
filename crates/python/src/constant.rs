//! Objects that are made once.
//!
//! A cell of PyO3's lets other threads run while its value is being made. When one of them forks, the child has a cell that a thread
//! it does not have is filling, and waits for that thread for ever. Here the value is made first and put into its cell afterwards, with
//! the GIL, which Python's fork needs too: no child finds a cell half full. Two threads may both make the value; the first is kept.
//!
//! PyO3 has such cells inside, too: those that calls of this module come to are filled while the module is imported.

use pyo3::PyTypeInfo;
use pyo3::panic::PanicException;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PySequence, PyString};

use crate::turn;

/// An object for a `static`, made when it is first wanted.
pub struct Constant<T>(PyOnceLock<Py<T>>);

impl<T> Constant<T> {
    /// Not made yet.
    pub const fn new() -> Self {
        Self(PyOnceLock::new())
    }

    /// The object, which `make` makes if need be.
    ///
    /// # Errors
    /// What `make` returns.
    pub fn get<'py>(&self, py: Python<'py>, make: impl FnOnce() -> PyResult<Py<T>>) -> PyResult<&Bound<'py, T>> {
        if self.0.get(py).is_none() {
            let made = make()?;
            // Refused where another thread was quicker: its object is the one.
            let _ = self.0.set(py, made);
        }
        Ok(self.0.get(py).expect("the object was put there").bind(py))
    }
}

/// A name of Python's for a `static`: see [`name`].
pub struct Name(&'static str, Constant<PyString>);

impl Name {
    /// Not made yet.
    pub const fn new(text: &'static str) -> Self {
        Self(text, Constant::new())
    }

    /// The interned str.
    pub fn get<'py>(&self, py: Python<'py>) -> &Bound<'py, PyString> {
        self.1.get(py, || Ok(PyString::intern(py, self.0).unbind())).expect("making it returns no error")
    }
}

/// An interned str, made once for the place where this stands.
macro_rules! name {
    ($py:expr, $text:expr) => {{
        static NAME: $crate::constant::Name = $crate::constant::Name::new($text);
        NAME.get($py)
    }};
}
pub(crate) use name;

/// Fills the cells inside PyO3 that calls of this module may want. To be called while the module is imported, when its functions have
/// been added.
///
/// # Errors
/// What making a value raises.
pub fn fill_those_of_pyo3(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    turn::pass(py)?;
    // Whether the interpreter runs, which a thread asks that attaches itself.
    py.detach(|| Python::attach(|_| ()));
    // What an argument is refused with that should have been a list.
    PySequence::type_object(py);
    PanicException::type_object(py);
    // Where a bool is wanted, numpy's is told by its module.
    py.get_type::<PyBool>().module()?;
    // The exception for a wrong argument gets a note that names it.
    let refused = module.getattr("sys_remedy")?.call1((py.None(), py.None()));
    debug_assert!(refused.is_err(), "None was taken for the name of a call");
    Ok(())
}
