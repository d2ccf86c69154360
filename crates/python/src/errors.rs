//! The exceptions, and which error of the heap becomes which.

use pyo3::create_exception;
use pyo3::exceptions::{PyMemoryError, PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use subduct_heap::Error;

create_exception!(
    subduct,
    KernelError,
    PyOSError,
    "A system call that subduct needs failed.\n\n\
     Attributes: errno (int), call (str, the call's name), address (int) and length (int, bytes) that the call was about;\n\
     0 where it had none."
);
create_exception!(
    subduct,
    Unsupported,
    PyRuntimeError,
    "This machine or kernel cannot do what was asked; the message says how to get it."
);
create_exception!(
    subduct,
    HeapFull,
    PyMemoryError,
    "The budget does not allow what was asked, even after a collection. Nothing was lost and the heap stays usable.\n\n\
     Attributes, in bytes: requested_bytes, live_bytes, resident_bytes, budget_bytes."
);
create_exception!(
    subduct,
    HeapClosed,
    PyRuntimeError,
    "The heap was closed, or belongs to the process this one was forked from."
);

/// Adds the exception types to the module, with the attributes that every instance has.
pub fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let kernel_error = py.get_type::<KernelError>();
    kernel_error.setattr("call", "")?;
    let heap_full = py.get_type::<HeapFull>();
    for (owner, name) in [
        (&kernel_error, "address"),
        (&kernel_error, "length"),
        (&heap_full, "requested_bytes"),
        (&heap_full, "live_bytes"),
        (&heap_full, "resident_bytes"),
        (&heap_full, "budget_bytes"),
    ] {
        owner.setattr(name, 0)?;
    }
    module.add("KernelError", kernel_error)?;
    module.add("Unsupported", py.get_type::<Unsupported>())?;
    module.add("HeapFull", heap_full)?;
    module.add("HeapClosed", py.get_type::<HeapClosed>())
}

/// The exception for an error of the heap, its figures as attributes.
pub fn raised(py: Python<'_>, error: &Error) -> PyErr {
    let text = error.to_string();
    match error {
        Error::Kernel(kernel) => {
            let raised = KernelError::new_err((kernel.errno, text));
            let raised = with(py, raised, "call", kernel.call);
            let raised = with(py, raised, "address", kernel.address);
            with(py, raised, "length", kernel.length)
        }
        Error::Unsupported { .. } => Unsupported::new_err(text),
        Error::Full { requested, live, resident, budget } => {
            let raised = HeapFull::new_err(text);
            let raised = with(py, raised, "requested_bytes", *requested);
            let raised = with(py, raised, "live_bytes", *live);
            let raised = with(py, raised, "resident_bytes", *resident);
            with(py, raised, "budget_bytes", *budget)
        }
        Error::Closed { .. } => HeapClosed::new_err(text),
        Error::TooLarge => PyMemoryError::new_err(text),
        Error::BadOption(_) => PyValueError::new_err(text),
        Error::Broken(_) => PyRuntimeError::new_err(text),
    }
}

/// The exception with one attribute more, or the one that setting it raised.
fn with<'py>(py: Python<'py>, raised: PyErr, name: &str, value: impl IntoPyObject<'py>) -> PyErr {
    match raised.value(py).setattr(name, value) {
        Ok(()) => raised,
        Err(failed) => failed,
    }
}

/// The name of a value's type, as CPython's messages have it.
pub fn type_name(value: &Bound<'_, PyAny>) -> String {
    value.get_type().name().map_or_else(|_| "object".to_owned(), |name| name.to_string())
}
