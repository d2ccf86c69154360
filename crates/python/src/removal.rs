//! Values that are removed and returned. Python's object for a value is made first, and the value goes only then: where Python has no
//! memory for the object, nothing is lost.
//!
//! ```text
//!   a value that fits a slot    one operation: makes the object, which runs no Python code, and removes the value
//!   any other                   look     one operation: reads the value, and how often the container was changed
//!                               make     the object; without the GIL for a while if the value is long
//!                               remove   one operation: if the container was not changed since, or the same long value is
//!                                        still there; else look again
//! ```

use pyo3::prelude::*;
use subduct_heap::object::{Ref, Value};
use subduct_heap::{Handle, Op, Retry};

use crate::heap::NativeHeap;
use crate::held::Held;
use crate::keys::KeyOut;
use crate::outgoing::Read;

/// What was removed, for Python.
pub struct Taken<'py> {
    /// The key, where the entry was looked at.
    pub key: Option<Bound<'py, PyAny>>,
    /// The value.
    pub value: Bound<'py, PyAny>,
}

/// A value that was found and is yet to be removed.
struct Seen {
    changes: u64,
    key: Option<KeyOut>,
    value: Read,
}

/// The look at a value. It says whether to remove the value at once.
pub struct Look<'a, 'py> {
    py: Python<'py>,
    heap: &'a Py<NativeHeap>,
    /// The objects of a value that is removed at once, or the error in making them.
    taken: Option<PyResult<Taken<'py>>>,
    seen: Option<Seen>,
}

impl Look<'_, '_> {
    /// Looks at a value. While the container's lock is held.
    ///
    /// # Errors
    /// As [`Read::of`].
    pub fn at(&mut self, op: &mut Op<'_>, container: Ref, value: Value) -> Result<bool, Retry> {
        self.take_or_see(op, container, None, value)
    }

    /// Looks at an entry, key and value. While the container's lock is held.
    ///
    /// # Errors
    /// As [`Read::of`].
    pub fn at_entry(&mut self, op: &mut Op<'_>, container: Ref, entry: (Value, Value)) -> Result<bool, Retry> {
        self.take_or_see(op, container, Some(entry.0), entry.1)
    }

    /// Looks at a value that is not to be removed at once. `changes`: of the container, from before the value was read.
    ///
    /// # Errors
    /// As [`Read::of`].
    pub fn only(&mut self, op: &mut Op<'_>, changes: u64, key: Option<Value>, value: Value) -> Result<(), Retry> {
        let key = key.map(|key| KeyOut::read(op, key)).transpose()?;
        self.seen = Some(Seen { changes, key, value: Read::of(op, value)? });
        Ok(())
    }

    fn take_or_see(
        &mut self,
        op: &mut Op<'_>,
        container: Ref,
        key: Option<Value>,
        value: Value,
    ) -> Result<bool, Retry> {
        if value.is_ref() || key.is_some_and(|key| key.is_ref()) {
            self.only(op, op.changes(container), key, value)?;
            return Ok(false);
        }
        // CPython's collector does not know objects of these types: making one does not make it run.
        let object = |value| Read::Immediate(value).into_object(self.py, self.heap);
        let taken = key.map(object).transpose().and_then(|key| Ok(Taken { key, value: object(value)? }));
        Ok(self.taken.insert(taken).is_ok())
    }
}

/// What was looked at, for the operation that removes it.
#[derive(Clone, Copy)]
pub struct Found {
    changes: u64,
    /// A long value, which takes so long to copy that a busy container is never unchanged.
    leaf: Option<Handle>,
}

impl Found {
    /// Whether `value`, which is in the place that was looked at, is what was found. While the container's lock is held.
    pub fn is(&self, op: &Op<'_>, container: Ref, value: Value) -> bool {
        op.changes(container) == self.changes
            || self.leaf.is_some_and(|leaf| value.as_ref() == Some(op.handle_get(leaf)))
    }
}

/// Removes a value from a container and returns it; `None` where `look` finds none. `look` removes it if the [`Look`] says so, and
/// `remove` if the [`Found`] does, and says whether it did.
///
/// # Errors
/// As [`Held::run`], and MemoryError. Nothing is removed then.
pub fn remove<'py, T: Send>(
    held: &Held,
    py: Python<'py>,
    mut look: impl FnMut(&mut Op<'_>, Ref, &mut Look<'_, 'py>) -> Result<(), Retry>,
    mut remove: impl FnMut(&mut Op<'_>, Ref, Found) -> Result<Option<T>, Retry> + Send,
) -> PyResult<Option<Taken<'py>>> {
    loop {
        let mut looking = Look { py, heap: held.heap(), taken: None, seen: None };
        held.run(py, |op, container| look(op, container, &mut looking))?;
        if let Some(taken) = looking.taken {
            return taken.map(Some);
        }
        let Some(seen) = looking.seen else { return Ok(None) };
        let key = seen.key.map(|key| key.into_object(py, held.heap())).transpose()?;
        let (value, leaf) = seen.value.into_kept(py, held.heap())?;
        let found = Found { changes: seen.changes, leaf: leaf.as_ref().map(Held::handle) };
        if held.run_long(py, |op, container| remove(op, container, found))?.is_some() {
            return Ok(Some(Taken { key, value }));
        }
    }
}
