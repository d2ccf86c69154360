//! What an iterator has still to yield, copied before it lets other threads run.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use subduct_heap::object::{Ref, Value, list};
use subduct_heap::{Op, Retry};

use crate::held::Held;
use crate::turn;

/// Elements that an iterator yields before it lets others run for the first time: some milliseconds.
const FIRST: usize = 16 * 1024;
/// Elements between two such places from then on.
const AGAIN: usize = 4 * 1024;

/// Most items that an element needs: a position, a key and a value.
pub const WIDTH_MAX: usize = 3;

/// A copy of what is still to come.
struct Rest {
    items: Held,
    /// How often the container had been changed when others ran last: what they did does not count.
    changes: u64,
    /// The next of the items.
    next: usize,
}

/// When to let others run, and the copy.
#[derive(Default)]
pub struct Ahead {
    yielded: AtomicUsize,
    /// Whether there is a copy. It is looked for only then.
    is_used: AtomicBool,
    /// Whether the container was changed by the loop itself: copying it again and again would cost more than it is worth.
    is_over: AtomicBool,
    rest: Mutex<Option<Rest>>,
}

impl Ahead {
    /// Counts an element, and lets others run if it is time, with a copy made by `copy` from then on, which also tells how often
    /// the container was changed before. Without room for a copy there is none.
    ///
    /// # Errors
    /// What a signal handler raises, HeapClosed.
    #[inline]
    pub fn step(
        &self,
        py: Python<'_>,
        container: &Held,
        copy: impl FnMut(&mut Op<'_>, Ref) -> Result<(Ref, u64), Retry> + Send,
    ) -> PyResult<()> {
        if self.is_due() { self.let_others_run(py, container, copy) } else { Ok(()) }
    }

    /// As [`Ahead::step`], for a container that nobody changes.
    ///
    /// # Errors
    /// What a signal handler raises.
    #[inline]
    pub fn step_unchanging(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_due() { turn::pass(py) } else { Ok(()) }
    }

    /// Counts an element.
    #[inline]
    fn is_due(&self) -> bool {
        let yielded = self.yielded.load(Relaxed) + 1;
        self.yielded.store(yielded, Relaxed);
        yielded >= FIRST && yielded.is_multiple_of(AGAIN)
    }

    #[cold]
    fn let_others_run(
        &self,
        py: Python<'_>,
        container: &Held,
        mut copy: impl FnMut(&mut Op<'_>, Ref) -> Result<(Ref, u64), Retry> + Send,
    ) -> PyResult<()> {
        if !self.is_over.load(Relaxed) && !self.is_used.load(Relaxed) {
            let copied = container.run_long(py, |op, object| {
                let (copy, changes) = copy(op, object)?;
                Ok((op.handle_new(copy)?, changes))
            });
            match copied {
                Ok((handle, changes)) => {
                    let items = Held::new(container.heap().clone_ref(py), handle);
                    *self.lock() = Some(Rest { items, changes, next: 0 });
                    self.is_used.store(true, Relaxed);
                }
                Err(_) => self.is_over.store(true, Relaxed),
            }
        }
        turn::pass(py)?;
        if self.is_used.load(Relaxed) {
            let changes = container.run(py, |op, object| Ok(op.changes(object)))?;
            if let Some(rest) = &mut *self.lock() {
                rest.changes = changes;
            }
        }
        Ok(())
    }

    /// Hands the next `width` items of the copy to `read`, if there is one that still counts. `None` if there is not, `Some(None)` at its
    /// end.
    ///
    /// # Errors
    /// HeapClosed, and those of `read`.
    pub fn next<T>(
        &self,
        py: Python<'_>,
        container: &Held,
        width: usize,
        mut read: impl FnMut(&mut Op<'_>, [Value; WIDTH_MAX]) -> Result<T, Retry>,
    ) -> PyResult<Option<Option<T>>> {
        if !self.is_used.load(Relaxed) {
            return Ok(None);
        }
        // Taken out, as nobody may wait for the lock with the GIL while its owner waits for that. Who finds none reads the container.
        let Some(mut rest) = self.lock().take() else { return Ok(None) };
        let found = container.run(py, |op, object| {
            if op.changes(object) != rest.changes {
                return Ok(None);
            }
            let mut values = [Value::NONE; WIDTH_MAX];
            for (i, value) in values.iter_mut().enumerate().take(width) {
                let items = op.handle_get(rest.items.handle());
                let Some(item) = list::get(op, items, rest.next + i)? else { return Ok(Some(None)) };
                *value = item;
            }
            read(op, values).map(|read| Some(Some(read)))
        })?;
        if found.is_none() {
            self.is_used.store(false, Relaxed);
            self.is_over.store(true, Relaxed);
            return Ok(None);
        }
        rest.next += width;
        *self.lock() = Some(rest);
        Ok(found)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Rest>> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
