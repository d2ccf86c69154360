//! The exceptions, and which error of the heap becomes which.

#![allow(clippy::disallowed_methods, reason = "the cells of exception types are filled while the module is imported")]

use pyo3::create_exception;
use pyo3::exceptions::{PyMemoryError, PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMappingProxy};
use subduct_heap::Error;

create_exception!(
    subduct,
    KernelError,
    PyOSError,
    "A system call failed.\n\n\
     Attributes: errno (int); call (str, its name); address (int) and length (int, bytes) that the call was about, 0 where it\n\
     had none; arguments (mapping from str to int or str, in the order of the call); remedy (str, what to do; may be empty)."
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
    "The budget does not allow what was asked, and no collection can help. Nothing was lost and the heap stays usable.\n\n\
     Attributes, in bytes: requested_bytes (of the part that did not fit), live_bytes (what may be alive, with what was copied in by \
     then), resident_bytes, budget_bytes, reserve_bytes (kept for compaction)."
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
    kernel_error.setattr("remedy", "")?;
    kernel_error.setattr("arguments", PyMappingProxy::new(py, PyDict::new(py).as_mapping()))?;
    let heap_full = py.get_type::<HeapFull>();
    for (owner, name) in [
        (&kernel_error, "address"),
        (&kernel_error, "length"),
        (&heap_full, "requested_bytes"),
        (&heap_full, "live_bytes"),
        (&heap_full, "resident_bytes"),
        (&heap_full, "budget_bytes"),
        (&heap_full, "reserve_bytes"),
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
            let about = (kernel.address as u64, kernel.length as u64);
            let arguments = [("address", Argument::Address(about.0)), ("length", Argument::Bytes(about.1))];
            let given = if about.1 == 0 { &[][..] } else { &arguments };
            kernel_error(py, kernel.errno, text, kernel.call, about, given, kernel.remedy)
        }
        Error::Unsupported { .. } => Unsupported::new_err(text),
        Error::Full { requested, live, resident, budget, reserve, is_fragmented: _ } => {
            let raised = HeapFull::new_err(text);
            let raised = with(py, raised, "requested_bytes", *requested);
            let raised = with(py, raised, "live_bytes", *live);
            let raised = with(py, raised, "resident_bytes", *resident);
            let raised = with(py, raised, "budget_bytes", *budget);
            with(py, raised, "reserve_bytes", *reserve)
        }
        Error::Closed { .. } => HeapClosed::new_err(text),
        Error::TooLarge | Error::Memory { .. } => PyMemoryError::new_err(text),
        Error::BadOption(_) => PyValueError::new_err(text),
        Error::Broken(_) => PyRuntimeError::new_err(text),
    }
}

/// An argument of a system call, as it is shown.
pub enum Argument<'a> {
    /// Hexadecimal.
    Address(u64),
    /// A length.
    Bytes(u64),
    /// Flags, hexadecimal.
    Bits(u64),
    /// Any other number.
    Number(i64),
    /// Quoted.
    Text(&'a str),
}

impl std::fmt::Display for Argument<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(bits) | Self::Bits(bits) => write!(f, "{bits:#x}"),
            Self::Bytes(bytes) => write!(f, "{bytes}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}

/// The exception for a bare system call that the kernel refused.
pub fn refused(py: Python<'_>, call: &str, arguments: &[(&str, Argument<'_>)], errno: i32) -> PyErr {
    let remedy = subduct_kernel::raw::remedy::remedy(call, errno);
    let given: Vec<String> = arguments.iter().map(|(name, argument)| format!("{name}={argument}")).collect();
    let said = std::io::Error::from_raw_os_error(errno).to_string();
    // The number is in front of the text already, where Python puts it.
    let said = said.split(" (os error").next().unwrap_or(&said);
    let mut text = format!("{call}({}) failed: {said}", given.join(", "));
    if !remedy.is_empty() {
        text += "; ";
        text += remedy;
    }
    let address = arguments.iter().find_map(|(_, argument)| match argument {
        Argument::Address(address) => Some(*address),
        _ => None,
    });
    let length = arguments.iter().find_map(|(_, argument)| match argument {
        Argument::Bytes(bytes) => Some(*bytes),
        _ => None,
    });
    kernel_error(py, errno, text, call, (address.unwrap_or(0), length.unwrap_or(0)), arguments, remedy)
}

fn kernel_error(
    py: Python<'_>,
    errno: i32,
    text: String,
    call: &str,
    about: (u64, u64),
    arguments: &[(&str, Argument<'_>)],
    remedy: &str,
) -> PyErr {
    let given = PyDict::new(py);
    for (name, argument) in arguments {
        let set = match argument {
            Argument::Address(number) | Argument::Bits(number) | Argument::Bytes(number) => {
                given.set_item(name, number)
            }
            Argument::Number(number) => given.set_item(name, number),
            Argument::Text(text) => given.set_item(name, text),
        };
        if let Err(failed) = set {
            return failed;
        }
    }
    let raised = KernelError::new_err((errno, text));
    let raised = with(py, raised, "call", call);
    let raised = with(py, raised, "address", about.0);
    let raised = with(py, raised, "length", about.1);
    let raised = with(py, raised, "arguments", given);
    with(py, raised, "remedy", remedy)
}

/// The exception with one attribute more, or the one that setting it raised.
fn with<'py>(py: Python<'py>, raised: PyErr, name: &str, value: impl IntoPyObject<'py>) -> PyErr {
    match raised.value(py).setattr(name, value) {
        Ok(()) => raised,
        Err(failed) => failed,
    }
}
