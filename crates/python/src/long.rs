//! Long strings, bytes and ints on their way in and out: in pieces, without the GIL, so that nobody waits for the size of a value.

use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;
use subduct_heap::memory;
use subduct_heap::object::{Kind, long};
use subduct_heap::{Handle, Op, Retry};

use crate::cpython;
use crate::errors::raised;
use crate::heap::NativeHeap;
use crate::held::Held;
use crate::incoming::Incoming;
use crate::number;
use crate::outgoing::string;

/// A long value that was found in an operation, and stays where it is until [`Found::into_object`] copies it.
pub struct Found {
    kind: Kind,
    leaf: Handle,
    len: usize,
}

impl Found {
    /// Takes a handle to the leaf from [`long::stored`].
    ///
    /// # Errors
    /// [`Retry::Handles`].
    pub fn new(op: &mut Op<'_>, (kind, leaf, len): (Kind, subduct_heap::object::Ref, usize)) -> Result<Self, Retry> {
        Ok(Self { kind, leaf: op.handle_read(leaf)?, len })
    }

    /// The Python value. O(length).
    ///
    /// # Errors
    /// MemoryError, HeapClosed.
    pub fn into_object<'py>(self, py: Python<'py>, heap: &Py<NativeHeap>) -> PyResult<Bound<'py, PyAny>> {
        self.into_kept(py, heap).map(|(object, _)| object)
    }

    /// The Python value, with the handle. O(length).
    ///
    /// # Errors
    /// As [`Found::into_object`].
    pub fn into_kept<'py>(self, py: Python<'py>, heap: &Py<NativeHeap>) -> PyResult<(Bound<'py, PyAny>, Held)> {
        let leaf = Held::new(heap.clone_ref(py), self.leaf);
        Ok((copied_out(py, &leaf, self.kind, self.len)?, leaf))
    }
}

/// The value to store: what is long is in the heap by then, and known to nobody else. O(length) if it is long.
///
/// # Errors
/// HeapFull, HeapClosed, what a signal handler raises.
pub fn copied_in(py: Python<'_>, heap: &Py<NativeHeap>, value: Incoming) -> PyResult<Incoming> {
    let scalar = value.scalar();
    let Some((kind, bytes)) = scalar.long() else { return Ok(value) };
    let leaf = Held::make_for_storing(py, heap, |op| long::new(op, kind, bytes.len()))?;
    py.detach(|| heap.get().core().write_leaf(leaf.handle(), bytes)).map_err(|error| raised(py, &error))?;
    Ok(Incoming::Leaf(Box::new(leaf)))
}

/// The Python value of a leaf. O(length).
///
/// # Errors
/// MemoryError, HeapClosed.
pub fn copied_out<'py>(py: Python<'py>, leaf: &Held, kind: Kind, len: usize) -> PyResult<Bound<'py, PyAny>> {
    let (core, handle) = (leaf.heap().get().core(), leaf.handle());
    // CPython's own says nothing.
    let refused = |error: PyErr| {
        if error.is_instance_of::<PyMemoryError>(py) { no_memory(len) } else { error }
    };
    if kind == Kind::Bytes {
        return cpython::bytes_from(py, len, |put| core.read_leaf(handle, len, put))
            .map_err(refused)?
            .map_err(|error| raised(py, &error));
    }
    let mut copy = Vec::new();
    memory::reserve(&mut copy, len).map_err(|_| no_memory(len))?;
    py.detach(|| core.read_leaf(handle, len, |piece| copy.extend_from_slice(piece)))
        .map_err(|error| raised(py, &error))?;
    let made = if kind == Kind::Str { string(py, &copy) } else { number::from_bytes(py, &copy) };
    made.map_err(refused)
}

fn no_memory(bytes: usize) -> PyErr {
    PyMemoryError::new_err(format!("the process has no {bytes} bytes left for a value"))
}
