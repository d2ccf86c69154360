//! Letting other Python threads run during a long call.
//!
//! Who waits for the GIL asks for it after the switch interval, and whoever runs bytecode gives it up then. A call into this module runs
//! none, so it calls a Python function that does nothing now and then: the interpreter does there what it does at any such
//! place, which is to hand over the GIL if it was asked for, and to run signal handlers. Releasing the GIL on our own would not do:
//! it is taken back before a waiter that did not ask for it yet wakes up, who then begins to wait anew.

use std::time::{Duration, Instant};

use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;

use crate::constant::Constant;

/// Longest time between two such places: small beside the switch interval of 5 ms.
const TURN: Duration = Duration::from_micros(500);

/// Short steps between two looks at the clock.
const STEPS: u32 = 32;

/// How long the current call has kept other threads from running.
pub struct Turn {
    since: Instant,
    steps: u32,
}

impl Turn {
    /// Begins now.
    pub fn new() -> Self {
        Self { since: Instant::now(), steps: 0 }
    }

    /// As [`Turn::pass`], after a step that is short even beside a look at the clock.
    ///
    /// # Errors
    /// As [`Turn::pass`].
    #[inline]
    pub fn step(&mut self, py: Python<'_>) -> PyResult<()> {
        self.steps = (self.steps + 1) % STEPS;
        if self.steps == 0 { self.pass(py) } else { Ok(()) }
    }

    /// Lets others run, if it is time. Objects of Python that others know may have changed afterwards.
    ///
    /// # Errors
    /// What a signal handler raises.
    #[inline]
    pub fn pass(&mut self, py: Python<'_>) -> PyResult<()> {
        if self.since.elapsed() < TURN {
            return Ok(());
        }
        pass(py)?;
        self.since = Instant::now();
        Ok(())
    }
}

/// Lets others run, if they asked for it.
///
/// # Errors
/// What a signal handler raises.
#[cold]
pub fn pass(py: Python<'_>) -> PyResult<()> {
    static NOTHING: Constant<PyAny> = Constant::new();
    NOTHING.get(py, || py.eval(c"lambda: None", None, None).map(Bound::unbind))?.call0().map(drop)
}

/// Elements that are dropped before others may run.
const DROPPED: usize = 4096;
/// A table with fewer entries grows in no time.
const TABLE_MIN: usize = 16 * 1024;

/// Drops objects of Python, and lets others run meanwhile.
///
/// # Errors
/// What a signal handler raises.
pub fn drop_all<T>(py: Python<'_>, mut objects: Vec<T>) -> PyResult<()> {
    while objects.len() > DROPPED {
        objects.truncate(objects.len() - DROPPED);
        pass(py)?;
    }
    Ok(())
}

/// Has a hash table of `len` entries grow with `reserve`, which says whether it could, if `more` do not fit. All its entries find
/// new places then: without the GIL, if there are many.
///
/// # Errors
/// MemoryError.
pub fn grow(
    py: Python<'_>,
    (len, capacity): (usize, usize),
    more: usize,
    reserve: impl FnOnce(usize) -> bool + Send,
) -> PyResult<()> {
    if capacity - len >= more {
        return Ok(());
    }
    let wanted = len.max(more);
    let has_room = if len >= TABLE_MIN { py.detach(|| reserve(wanted)) } else { reserve(wanted) };
    if has_room { Ok(()) } else { Err(refused(wanted)) }
}

/// Adds an element to a list that grows with what a user gave.
///
/// # Errors
/// MemoryError; the list is as it was.
pub fn push<T>(list: &mut Vec<T>, element: T) -> PyResult<()> {
    if list.len() == list.capacity() {
        list.try_reserve(1).map_err(|_| refused(list.len()))?;
    }
    list.push(element);
    Ok(())
}

/// A list with room for `len` elements.
///
/// # Errors
/// MemoryError.
pub fn with_room<T>(len: usize) -> PyResult<Vec<T>> {
    let mut list = Vec::new();
    list.try_reserve_exact(len).map_err(|_| refused(len))?;
    Ok(list)
}

/// A list of these elements.
///
/// # Errors
/// MemoryError, and that of an element.
pub fn gathered<T>(elements: impl Iterator<Item = PyResult<T>>) -> PyResult<Vec<T>> {
    let mut list = Vec::new();
    for element in elements {
        push(&mut list, element?)?;
    }
    Ok(list)
}

fn refused(elements: usize) -> PyErr {
    PyMemoryError::new_err(format!("the process has no memory left to keep track of {elements} more objects"))
}
