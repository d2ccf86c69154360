//! An object of a heap, held by a handle: what every proxy is made of.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;
use subduct_heap::object::{Kind, Ref};
use subduct_heap::{Handle, Op, Retry};

use crate::constant::name;
use crate::dict::Dict;
use crate::heap::NativeHeap;
use crate::list::List;
use crate::tuple::Tuple;

/// A handle and its heap. The object lives as long as this does, and the heap stays open.
pub struct Held {
    heap: Py<NativeHeap>,
    handle: Handle,
    private: Option<Private>,
}

/// What the heap wants to know of an object that no user has seen: whether it is stored by now, or garbage.
struct Private {
    /// Bytes that the thread had allocated before the object was made; `None` where its being garbage counts as any release does.
    began_bytes: Option<u64>,
    is_placed: AtomicBool,
}

impl Held {
    /// Takes over `handle`, which belongs to `heap`.
    pub fn new(heap: Py<NativeHeap>, handle: Handle) -> Self {
        Self { heap, handle, private: None }
    }

    /// Makes an object in one operation, which may take long, and holds it.
    pub fn make(
        py: Python<'_>,
        heap: &Py<NativeHeap>,
        mut make: impl FnMut(&mut Op<'_>) -> Result<Ref, Retry> + Send,
    ) -> PyResult<Self> {
        let handle = heap.get().run_long(py, |op| {
            let object = make(op)?;
            op.handle_new(object)
        })?;
        Ok(Self::new(heap.clone_ref(py), handle))
    }

    /// As [`Held::make`], for an object that no user has seen and that is about to be stored somewhere.
    pub fn make_private(
        py: Python<'_>,
        heap: &Py<NativeHeap>,
        make: impl FnMut(&mut Op<'_>) -> Result<Ref, Retry> + Send,
    ) -> PyResult<Self> {
        let began_bytes = heap.get().core().allocated_here_bytes();
        let made = Self::make(py, heap, make)?;
        Ok(made.with(Some(Private { began_bytes: Some(began_bytes), is_placed: AtomicBool::new(false) })))
    }

    /// As [`Held::make_private`], for a part of what is about to be stored.
    pub fn make_for_storing(
        py: Python<'_>,
        heap: &Py<NativeHeap>,
        make: impl FnMut(&mut Op<'_>) -> Result<Ref, Retry> + Send,
    ) -> PyResult<Self> {
        let made = Self::make(py, heap, make)?;
        Ok(made.with(Some(Private { began_bytes: None, is_placed: AtomicBool::new(false) })))
    }

    /// The same for users to see.
    pub fn published(self) -> Self {
        self.with(None)
    }

    fn with(mut self, private: Option<Private>) -> Self {
        self.private = private;
        self
    }

    /// Notes that the object was stored somewhere.
    pub fn note_placed(&self) {
        if let Some(private) = &self.private {
            // Relaxed: read by whoever drops this, later.
            private.is_placed.store(true, Ordering::Relaxed);
        }
    }

    /// The heap.
    pub fn heap(&self) -> &Py<NativeHeap> {
        &self.heap
    }

    /// The handle; not to be dropped by others.
    pub fn handle(&self) -> Handle {
        self.handle
    }

    /// Runs an operation on the object. See `crate::run::run`.
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

    /// Runs an operation on the object that may take long. See `crate::run::run_long`.
    pub fn run_long<T: Send>(
        &self,
        py: Python<'_>,
        mut operation: impl FnMut(&mut Op<'_>, Ref) -> Result<T, Retry> + Send,
    ) -> PyResult<T> {
        self.heap.get().run_long(py, |op| {
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
        let heap = self.heap.get().core();
        match &self.private {
            Some(private) if private.is_placed.load(Ordering::Relaxed) => heap.drop_private(self.handle, 0),
            Some(Private { began_bytes: Some(began_bytes), .. }) => {
                let failed_bytes = heap.allocated_here_bytes().saturating_sub(*began_bytes);
                heap.drop_private(self.handle, failed_bytes);
            }
            Some(Private { began_bytes: None, .. }) | None => heap.drop_handle(self.handle),
        }
    }
}

/// Bytes of the proxy itself.
///
/// # Errors
/// MemoryError.
pub fn proxy_bytes(proxy: &Bound<'_, PyAny>) -> PyResult<usize> {
    let py = proxy.py();
    py.get_type::<PyAny>().call_method1(name!(py, "__sizeof__"), (proxy,))?.extract()
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
