//! `subduct._native`: the heap as Python sees it. A table of contents; the rules that hold for all of it:
//!
//! - A proxy holds a handle, never an address (`held`).
//! - While a heap operation runs, no Python code runs and no Python object is made or destroyed: arguments are converted before
//!   (`incoming`, `keys`), results after (`outgoing`). `run` is the only way into an operation. One exception: a small value that is
//!   removed becomes an object in the operation that removes it (`removal`).
//! - Long calls let other threads run: loops that handle Python objects with a `turn`, long operations without the GIL (`run`).
//! - Waiting for room, collecting, verifying and closing release the GIL. Nothing here needs it for the heap's own safety, so
//!   free-threaded interpreters need no lock more.
//! - A thread that the interpreter ends in the middle of a call stops for ever where it is (`calls`), and heaps are closed after that
//!   (`open`): daemon threads notice nothing.
//! - One interpreter uses heaps. A proxy frees its handle, and a heap closes, with the GIL of the main interpreter; a sub-interpreter
//!   that ends would have its objects dropped by a thread that CPython no longer lets in.
//! - Containers are walked with explicit work lists: depth overflows no stack (`copy_in`, `copy_out`, `compare`).

use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;

mod ahead;
#[cfg(not(Py_3_14))]
mod calls;
mod closing;
mod compare;
mod constant;
mod copy_in;
mod copy_out;
mod cpython;
mod dict;
mod errors;
mod guard;
mod heap;
mod held;
mod incoming;
mod index;
mod iterate;
mod keys;
mod list;
mod long;
mod measure;
mod names;
mod number;
mod open;
mod outgoing;
mod path;
mod pickle;
mod reader;
mod removal;
mod repr;
mod reserved;
mod run;
mod scratch;
mod search;
mod slice;
mod sort;
mod span;
mod syscalls;
mod transfer;
mod tuple;
mod turn;
mod views;
mod walk;

/// What this machine allows subduct to do, found out by trying, as JSON text. Takes some milliseconds.
#[pyfunction]
fn probe(py: Python<'_>) -> String {
    py.detach(subduct_kernel::probe::report_json)
}

/// The native half of subduct. Use the package, not this module: only what `subduct` exports is a promise.
#[pymodule(gil_used = false)]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    if !cpython::is_main_interpreter(module.py()) {
        return Err(PyImportError::new_err(
            "subduct works in the main interpreter only, and this is a sub-interpreter; import it in the main one \
             (mod_wsgi: WSGIApplicationGroup %{GLOBAL}; uWSGI: single-interpreter = true), or use processes",
        ));
    }
    module.add_class::<heap::NativeHeap>()?;
    module.add_class::<closing::Closing>()?;
    module.add_class::<dict::Dict>()?;
    module.add_class::<list::List>()?;
    module.add_class::<tuple::Tuple>()?;
    module.add_class::<iterate::DictIterator>()?;
    module.add_class::<iterate::SequenceIterator>()?;
    module.add_class::<guard::Guard>()?;
    module.add_class::<reserved::Reserved>()?;
    module.add_class::<span::Span>()?;
    for name in ["Dict", "List", "Tuple"] {
        // Assigning a type's name drops the module from the name that CPython's own messages use:
        // "unhashable type: 'Dict'", as for any class written in Python.
        module.getattr(name)?.setattr("__name__", name)?;
    }
    errors::add_to(module)?;
    measure::add_to(module)?;
    syscalls::add_to(module)?;
    views::add_to(module)?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    open::close_at_exit(module.py());
    module.add_function(wrap_pyfunction!(probe, module)?)?;
    constant::fill_those_of_pyo3(module)
}
