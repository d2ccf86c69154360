//! `_native.Guard`: makes failures of a process that serves page faults known to the threads that touched the pages.
//!
//! A thread that touches memory in a Python operation holds the GIL while it sleeps in the fault, so the thread that wakes it must never
//! wait for the GIL: another thread, the teller, makes the calls. For the main thread there is a better way: a pending call, which
//! CPython runs in the main thread before it goes on.
//!
//! The teller is a thread that Python started. One of ours would make a thread state for itself whenever it attaches, under a lock that
//! CPython holds without the GIL: a child that is forked meanwhile waits for that lock for ever.

use std::ffi::c_void;
use std::os::raw::c_int;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use pyo3::exceptions::PyOSError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyTuple};
use subduct_kernel::serving::{Fallback, Unserved, Watch};

use crate::errors::Argument::Number;
use crate::errors::refused;

type Callback = Arc<Py<PyAny>>;

struct Pending {
    callback: Callback,
    unserved: Unserved,
}

impl Pending {
    fn call(&self, py: Python<'_>) -> PyResult<()> {
        let Unserved { address, thread, minor, text } = &self.unserved;
        self.callback.call1(py, (*address, *thread, *minor, text)).map(drop)
    }
}

/// The threads of a guard. The teller ends after the other one.
struct Threads {
    guard: JoinHandle<()>,
    /// Says nothing, and is cut off when the teller ends.
    teller: Receiver<()>,
}

/// Watches one server, until stopped.
#[pyclass(frozen, module = "subduct._native")]
pub struct Guard {
    watch: Arc<Watch>,
    threads: Mutex<Option<Threads>>,
    /// The process whose threads these are. A forked child has the object, but neither the threads nor a say in when they end.
    process: u32,
}

#[pymethods]
impl Guard {
    /// Calls failed(address, thread, minor, text) for each page that could not be filled: in the main thread if that one touched it,
    /// where what it raises is raised; else in the teller, after the page was let go. `nudge` is the number of a signal
    /// with a Python handler that does nothing: a signal has CPython look for pending calls at once.
    #[new]
    #[expect(clippy::too_many_arguments, reason = "three descriptors, a range, and what to do")]
    fn new(
        py: Python<'_>,
        userfaultfd: i32,
        server: i32,
        notices: i32,
        address: u64,
        length: u64,
        poison: bool,
        nudge: i32,
        failed: Py<PyAny>,
    ) -> PyResult<Self> {
        let fallback = if poison { Fallback::Poison } else { Fallback::Zero };
        let watch = Watch::new(userfaultfd, server, notices, (address, length), fallback, nudge)
            .map_err(|errno| refused(py, "fcntl(F_DUPFD)", &[("fd", Number(userfaultfd.into()))], errno))?;
        let watch = Arc::new(watch);
        let (watched, callback) = (Arc::clone(&watch), Arc::new(failed));
        let (sender, receiver) = channel();
        let teller = start_teller(py, receiver)?;
        let guard = start("subduct-guard", move || {
            let main = u64::from(std::process::id());
            let pending = |unserved: &Unserved| Pending { callback: Arc::clone(&callback), unserved: unserved.clone() };
            watched.run(
                |unserved| unserved.thread == main && interrupt_main_thread(pending(unserved)),
                // Its failure means that the teller has ended: then nobody is left to be told.
                |unserved, told| drop(sender.send((!told).then(|| pending(unserved)))),
            );
        })?;
        let threads = Mutex::new(Some(Threads { guard, teller }));
        Ok(Self { watch, threads, process: std::process::id() })
    }

    /// Ends the watch and waits for its thread. Nothing happens the second time, nor in a forked child.
    fn stop(&self, py: Python<'_>) {
        if self.is_inherited() {
            return;
        }
        let threads = self.take_threads();
        self.watch.stop();
        if let Some(Threads { guard, teller }) = threads {
            py.detach(move || {
                // A panic of the thread was printed by it.
                drop(guard.join());
                // An error: the other end is gone, which is what it waits for.
                let _ = teller.recv();
            });
        }
    }
}

impl Guard {
    fn is_inherited(&self) -> bool {
        self.process != std::process::id()
    }

    fn take_threads(&self) -> Option<Threads> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.is_inherited() {
            // To stop would stop the parent's: both have one eventfd. To detach would write to stacks that are free here.
            std::mem::forget(self.take_threads());
        } else {
            self.watch.stop();
        }
    }
}

fn start(name: &str, run: impl FnOnce() + Send + 'static) -> PyResult<JoinHandle<()>> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.map_err(|error| PyOSError::new_err(format!("no thread for {name}: {error}")))
}

/// Starts the teller. The result is cut off when it ends.
fn start_teller(py: Python<'_>, failures: Receiver<Option<Pending>>) -> PyResult<Receiver<()>> {
    let (ends, ended) = channel();
    let work = Mutex::new(Some((failures, ends)));
    let run = PyCFunction::new_closure(py, Some(c"tell"), None, move |arguments, _| {
        let work = work.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((failures, ends)) = work {
            tell(arguments.py(), failures, ends);
        }
    })?;
    py.import("_thread")?.call_method1("start_new_thread", (run, PyTuple::empty(py)))?;
    Ok(ended)
}

/// Makes the calls that need not come first, until the guard ends. Each time it asks for the GIL, the main thread looks for its pending
/// calls: before Python 3.13 it does not notice one that another thread added, unless it gets a signal.
fn tell(py: Python<'_>, failures: Receiver<Option<Pending>>, ends: Sender<()>) {
    let failures = Mutex::new(failures);
    let next = || failures.lock().unwrap_or_else(PoisonError::into_inner).recv();
    while let Ok(pending) = py.detach(next) {
        if let Some(pending) = pending
            && let Err(error) = pending.call(py)
        {
            error.write_unraisable(py, None);
        }
    }
    drop(ends);
}

/// Has the main thread make the call before it goes on. False where CPython's queue is full.
fn interrupt_main_thread(pending: Pending) -> bool {
    let argument = Box::into_raw(Box::new(pending)).cast::<c_void>();
    // SAFETY: the call may be made without the GIL; `run_pending` takes the argument, once.
    if unsafe { ffi::Py_AddPendingCall(Some(run_pending), argument) } != 0 {
        // SAFETY: nobody took it.
        drop(unsafe { Box::from_raw(argument.cast::<Pending>()) });
        return false;
    }
    true
}

extern "C" fn run_pending(argument: *mut c_void) -> c_int {
    // SAFETY: `interrupt_main_thread` made it, and CPython makes the call once.
    let pending = unsafe { Box::from_raw(argument.cast::<Pending>()) };
    Python::attach(|py| match pending.call(py) {
        Ok(()) => 0,
        Err(error) => {
            error.restore(py);
            -1
        }
    })
}
