//! The one way into a heap operation: try, make room without the GIL, try again. What takes long is done without the GIL.

use pyo3::prelude::*;
use subduct_heap::{Heap, Op, Retry, Stalled};

use crate::errors::raised;

/// Runs `operation` until it succeeds. Between two tries the GIL is released while the heap makes room, and signal handlers run, so
/// that Ctrl-C ends a wait. The operation must not touch Python; what it captures tells it, where it matters, how far it came.
///
/// # Errors
/// What the heap reports as its exception (`HeapFull`, `HeapClosed`, ...), or what a signal handler raises.
pub fn run<T>(py: Python<'_>, heap: &Heap, mut operation: impl FnMut(&mut Op<'_>) -> Result<T, Retry>) -> PyResult<T> {
    attempts(py, heap, || heap.attempt(&mut operation))
}

/// As [`run`], for an operation that may take long: then it runs without the GIL.
///
/// # Errors
/// As [`run`].
pub fn run_long<T: Send>(
    py: Python<'_>,
    heap: &Heap,
    mut operation: impl FnMut(&mut Op<'_>) -> Result<T, Retry> + Send,
) -> PyResult<T> {
    let mut is_long = false;
    attempts(py, heap, || {
        if is_long {
            return py.detach(|| heap.attempt(&mut operation));
        }
        let attempted = heap.attempt_briefly(&mut operation);
        is_long = matches!(attempted, Err(Stalled::Retry(Retry::Long)));
        attempted
    })
}

fn attempts<T>(py: Python<'_>, heap: &Heap, mut attempt: impl FnMut() -> Result<T, Stalled>) -> PyResult<T> {
    loop {
        match attempt() {
            Ok(result) => {
                if heap.is_held_back() {
                    py.detach(|| heap.hold_back());
                }
                return Ok(result);
            }
            Err(Stalled::Error(error)) => return Err(raised(py, &error)),
            Err(Stalled::Retry(Retry::Long)) => {}
            Err(Stalled::Retry(retry)) => {
                py.detach(|| heap.make_room(&retry)).map_err(|error| raised(py, &error))?;
                py.check_signals().inspect_err(|_| heap.abandon())?;
            }
        }
    }
}
