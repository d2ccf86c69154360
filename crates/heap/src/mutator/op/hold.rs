//! Handles, as operations make and drop them.

use super::{Op, Retry};
use crate::mutator::handles::Handle;
use crate::mutator::thread::POLL_ROOTS;
use crate::object::{Ref, Value};
use crate::shared::BARRIER_RELEASE;

/// Free handles that a thread fetches at a time; it gives half of twice as many back.
const HANDLE_BATCH: usize = 64;

impl Op<'_> {
    /// A handle for an object.
    ///
    /// # Errors
    /// [`Retry::Handles`] when the handle table cannot grow.
    pub fn handle_new(&mut self, object: Ref) -> Result<Handle, Retry> {
        self.handle_for(object, false)
    }

    /// As [`Op::handle_new`], for an object that was read from a container and is still in it.
    ///
    /// # Errors
    /// As [`Op::handle_new`].
    pub fn handle_read(&mut self, object: Ref) -> Result<Handle, Retry> {
        self.handle_for(object, true)
    }

    fn handle_for(&mut self, object: Ref, read: bool) -> Result<Handle, Retry> {
        if self.local.handles.is_empty() {
            let taken = self.shared.handles.take(&self.shared.mover.space, &mut self.local.handles, HANDLE_BATCH);
            taken.map_err(|_| Retry::Handles)?;
        }
        let handle = self.local.handles.pop().expect("taken above");
        if self.barrier & BARRIER_RELEASE != 0 {
            self.shared.fullness.note_handle(handle.index(), read);
        }
        self.store_uncounted_at(self.shared.handles.slot(handle), Value::reference(object));
        self.shared.handles.count(1);
        Ok(handle)
    }

    /// The object a handle stands for.
    ///
    /// # Panics
    /// When the handle was dropped.
    #[inline]
    #[must_use]
    pub fn handle_get(&self, handle: Handle) -> Ref {
        let value = Value::from_bits(self.load_word(self.shared.handles.slot(handle)));
        value.as_ref().expect("a handle in use refers to an object")
    }

    /// Gives a handle up; its object lives on if something else refers to it.
    pub fn handle_drop(&mut self, handle: Handle) {
        if self.barrier & BARRIER_RELEASE != 0 {
            self.shared.fullness.note_dropped(handle.index());
        }
        self.handle_pass(handle);
    }

    /// As [`Op::handle_drop`], for an object that something else refers to by now, or that this attempt made and leaves.
    pub fn handle_pass(&mut self, handle: Handle) {
        self.store_uncounted_at(self.shared.handles.slot(handle), Value::EMPTY);
        self.shared.handles.count(-1);
        self.local.handles.push(handle);
        if self.local.handles.len() > 2 * HANDLE_BATCH {
            self.shared.handles.give_back(self.local.handles.drain(HANDLE_BATCH..));
        }
    }

    /// Whether two handles stand for one object.
    #[must_use]
    pub fn same(&self, a: Handle, b: Handle) -> bool {
        self.handle_get(a) == self.handle_get(b)
    }

    /// Fetches the handles that hold references over polls. Once for each thread, in its first operation.
    ///
    /// # Errors
    /// [`Retry::Handles`] when the handle table cannot grow.
    pub fn ensure_roots(&mut self) -> Result<(), Retry> {
        let roots = &mut self.local.roots;
        while roots.len() < POLL_ROOTS {
            let taken = self.shared.handles.take(&self.shared.mover.space, roots, POLL_ROOTS - roots.len());
            taken.map_err(|_| Retry::Handles)?;
        }
        Ok(())
    }
}
