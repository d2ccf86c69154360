//! The names of fields: keys that repeat from one dict to the next.

use std::hash::Hasher;

use pyo3::prelude::*;
use pyo3::types::PyString;
use rustc_hash::FxHasher;
use subduct_heap::object::Outgoing;

use crate::heap::NativeHeap;
use crate::keys::KeyOut;

/// Records have fewer fields, taken together.
const SLOTS: usize = 256;
/// Longer keys are no names.
const NAME_BYTES_MAX: usize = 64;

/// The last names that were made, each in a slot of its own. Dicts that are made with the same fields share the names then, as
/// dicts do whose keys are literals: that saves making a str for each field of each record, and giving it back.
pub struct Names<'py> {
    slots: [Option<Bound<'py, PyString>>; SLOTS],
}

impl<'py> Names<'py> {
    /// None yet.
    pub fn new() -> Self {
        Self { slots: [const { None }; SLOTS] }
    }

    /// A key for Python: the same object as before, if it is a name that was met lately.
    ///
    /// # Errors
    /// As [`KeyOut::into_object`].
    pub fn key(&mut self, py: Python<'py>, heap: &Py<NativeHeap>, key: KeyOut) -> PyResult<Bound<'py, PyAny>> {
        // Others than ASCII have their UTF-8 made when they are compared.
        let slot = match &key {
            KeyOut::Scalar(Outgoing::Str(name)) if name.len() <= NAME_BYTES_MAX && name.is_ascii() => {
                let slot = &mut self.slots[place(name)];
                if let Some(made) = slot
                    && made.to_str()?.as_bytes() == &name[..]
                {
                    return Ok(made.clone().into_any());
                }
                Some(slot)
            }
            _ => None,
        };
        let object = key.into_object(py, heap)?;
        if let Some(slot) = slot {
            *slot = object.cast_exact::<PyString>().ok().cloned();
        }
        Ok(object)
    }
}

fn place(name: &[u8]) -> usize {
    let mut hasher = FxHasher::default();
    hasher.write(name);
    hasher.finish() as usize % SLOTS
}
