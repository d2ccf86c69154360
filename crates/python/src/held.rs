//! An object of a heap, held by a handle: what every proxy is made of.

use pyo3::prelude::*;
use subduct_heap::object::{Kind, Ref};
use subduct_heap::{Handle, Op, Retry};

use crate::dict::Dict;
use crate::heap::NativeHeap;
use crate::list::List;
use crate::tuple::Tuple;

/// A handle and its heap. The object lives as long as this does, and the heap stays open.
pub struct Held {
    heap: Py<NativeHeap>,
    handle: Handle,
}

impl Held {
    /// Takes over `handle`, which belongs to `heap`.
    pub fn new(heap: Py<NativeHeap>, handle: Handle) -> Self {
        Self { heap, handle }
    }

    /// Makes an object in one operation and holds it.
    pub fn make(
        py: Python<'_>,
        heap: &Py<NativeHeap>,
        mut make: impl FnMut(&mut Op<'_>) -> Result<Ref, Retry>,
    ) -> PyResult<Self> {
        let handle = heap.get().run(py, |op| {
            let object = make(op)?;
            op.handle_new(object)
        })?;
        Ok(Self::new(heap.clone_ref(py), handle))
    }

    /// The heap.
    pub fn heap(&self) -> &Py<NativeHeap> {
        &self.heap
    }

    /// The handle; not to be dropped by others.
    pub fn handle(&self) -> Handle {
        self.handle
    }

    /// Runs an operation on the object. See [`crate::run::run`].
    pub fn run<T>(
        &self,
        py: Python<'_>,
        mut operation: impl FnMut(&mut Op<'_>, Ref) -> Result<T, Retry>,
    ) -> PyResult<T> {
        self.heap.get().run(py, |op| {
            let object = op.handle_get(self.handle);
            operation(op, object)
        })
    }

    /// Whether the object is in `heap`.
    pub fn is_in(&self, heap: &Py<NativeHeap>) -> bool {
        self.heap.is(heap)
    }

    /// Whether both are the same object.
    pub fn is_same(&self, py: Python<'_>, other: &Self) -> PyResult<bool> {
        if !self.is_in(&other.heap) {
            return Ok(false);
        }
        self.heap.get().run(py, |op| Ok(op.same(self.handle, other.handle)))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.heap.get().core().drop_handle(self.handle);
    }
}

/// The object behind `value`, if it is a proxy.
pub fn of_proxy<'a>(value: &'a Bound<'_, PyAny>) -> Option<(Kind, &'a Held)> {
    if let Ok(dict) = value.cast_exact::<Dict>() {
        Some((Kind::Dict, dict.get().held()))
    } else if let Ok(list) = value.cast_exact::<List>() {
        Some((Kind::List, list.get().held()))
    } else if let Ok(tuple) = value.cast_exact::<Tuple>() {
        Some((Kind::Tuple, tuple.get().held()))
    } else {
        None
    }
}
