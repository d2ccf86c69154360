//! The one way into a heap operation: try, make room without the GIL, try again. What takes long is done without the GIL.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::time::Duration;

use pyo3::prelude::*;
use subduct_heap::{Error, Heap, Op, Retry, Stalled};
use subduct_kernel::thread::thread_number;
use subduct_kernel::time::sleep;

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
            let _busy = Busy::new();
            return py.detach(|| heap.attempt(&mut operation));
        }
        let attempted = heap.attempt_briefly(&mut operation);
        is_long = matches!(attempted, Err(Stalled::Retry(Retry::Long)));
        attempted
    })
}

/// The thread that ends the interpreter; 0 while none does.
static ENDING: AtomicI32 = AtomicI32::new(0);
/// Threads inside a call of this module that may give the GIL up.
static BUSY: AtomicUsize = AtomicUsize::new(0);

/// How long the end of the interpreter waits for such threads, in milliseconds.
const WAIT_MS: u32 = 1_000;

thread_local! {
    /// How many [`Busy`] this thread has.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Says that this thread is inside such a call, as long as it lives.
pub struct Busy(PhantomData<*const ()>);

impl Busy {
    /// Begins now.
    pub fn new() -> Self {
        if DEPTH.replace(DEPTH.get() + 1) == 0 {
            BUSY.fetch_add(1, Ordering::Relaxed);
        }
        Self(PhantomData)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
        if DEPTH.get() == 0 {
            BUSY.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Declares that this thread ends the interpreter. Heaps are closed by now; daemon threads that still use one stop at the next
/// place where they may give up the GIL. Waits for them a while: before Python 3.14 CPython ends a thread that wants the GIL
/// after that by unwinding its stack, which native frames do not survive.
#[pyfunction]
pub fn interpreter_ends(py: Python<'_>) {
    // Relaxed, here and below: a thread that sees it later stops later.
    ENDING.store(thread_number(), Ordering::Relaxed);
    for _ in 0..WAIT_MS {
        if BUSY.load(Ordering::Relaxed) == 0 {
            return;
        }
        py.detach(|| sleep(Duration::from_millis(1)));
    }
}

/// Has a daemon thread stop where it is when the interpreter ends: nobody would see what it raised, but a traceback.
pub fn stop_with_interpreter(py: Python<'_>) {
    let ending = ENDING.load(Ordering::Relaxed);
    if ending != 0 && ending != thread_number() {
        if DEPTH.get() > 0 {
            BUSY.fetch_sub(1, Ordering::Relaxed);
        }
        py.detach(|| {
            loop {
                std::thread::park();
            }
        });
    }
}

fn attempts<T>(py: Python<'_>, heap: &Heap, mut attempt: impl FnMut() -> Result<T, Stalled>) -> PyResult<T> {
    loop {
        match attempt() {
            Ok(result) => {
                if heap.is_held_back() {
                    let _busy = Busy::new();
                    py.detach(|| heap.hold_back());
                }
                return Ok(result);
            }
            Err(Stalled::Error(error)) => {
                if matches!(error, Error::Closed { .. }) {
                    stop_with_interpreter(py);
                }
                return Err(raised(py, &error));
            }
            Err(Stalled::Retry(Retry::Long)) => {}
            Err(Stalled::Retry(retry)) => {
                let _busy = Busy::new();
                py.detach(|| heap.make_room(&retry)).map_err(|error| raised(py, &error))?;
                py.check_signals().inspect_err(|_| heap.abandon())?;
            }
        }
    }
}
