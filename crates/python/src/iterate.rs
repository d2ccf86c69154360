//! Iterators. Their state is a few numbers, so they need no lock; used from several threads at once they may yield an element twice.
//!
//! `list(d)` asks for one element after the other without ever letting other threads run, so an iterator that has yielded many elements
//! does that itself, now and then. To builtins nothing happens while `list()` reads them; so first the iterator takes a copy of what is
//! still to come, and goes on from there as long as the container changes only while it lets others run. Any other change
//! comes from the loop that uses the iterator, or while that runs bytecode: then it goes on from the container itself.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};
use subduct_heap::object::dict::{self, Wanted};
use subduct_heap::object::list::{self, Slice};
use subduct_heap::object::{Kind, Value, View};
use subduct_heap::{Op, Retry};

use crate::ahead::Ahead;
use crate::constant::name;
use crate::copy_out;
use crate::cpython;
use crate::dict::Dict;
use crate::held::{self, Held};
use crate::keys::KeyOut;
use crate::outgoing::Read;
use crate::transfer::{element, length};

/// A position that nothing follows.
const DONE: usize = usize::MAX;
/// The position of an iterator whose dict had another size once: it says so for ever, whatever size the dict has then.
const SIZE_CHANGED: usize = usize::MAX - 1;

/// Which part of its entries a dict iterator yields.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The keys.
    Keys,
    /// The values.
    Values,
    /// Tuples of key and value.
    Items,
}

/// Iterates over a Dict in order of insertion, or against it. RuntimeError once the Dict has changed its keys.
#[pyclass(module = "subduct._native", frozen)]
pub struct DictIterator {
    dict: Py<Dict>,
    part: Part,
    backward: bool,
    len: usize,
    generation: u64,
    position: AtomicUsize,
    /// Entries still to come.
    remaining: AtomicUsize,
    ahead: Ahead,
}

/// What an operation found at the iterator's position.
enum Entry {
    End,
    SizeChanged,
    KeysChanged,
    /// An entry, and the position to go on from.
    Next(usize),
}

/// The wanted parts of an entry.
#[derive(Default)]
struct Parts {
    key: Option<KeyOut>,
    value: Option<Read>,
}

impl DictIterator {
    /// At the first entry, or at the last.
    pub fn new(dict: &Bound<'_, Dict>, part: Part, backward: bool) -> PyResult<Self> {
        let (len, generation, used) = dict.get().held().run(dict.py(), dict::shape)?;
        Ok(Self {
            dict: dict.clone().unbind(),
            part,
            backward,
            len,
            generation,
            position: AtomicUsize::new(if backward { used } else { 0 }),
            remaining: AtomicUsize::new(len),
            ahead: Ahead::default(),
        })
    }

    /// The next entry, from the copy that the iterator made if it still counts.
    fn read(&self, py: Python<'_>, position: usize, remaining: usize, parts: &mut Parts) -> PyResult<Entry> {
        let (keys, values) = (self.part != Part::Values, self.part != Part::Keys);
        let wanted = Wanted { position, backward: self.backward, keys, values };
        self.ahead.step(py, self.held(), |op, object| dict::entries(op, object, wanted))?;
        let width = 1 + usize::from(keys) + usize::from(values);
        let found = self.ahead.next(py, self.held(), width, |op, [next, first, second]| {
            self.read_parts(op, (first, if keys { second } else { first }), parts)?;
            Ok(next)
        })?;
        match found.map(|next| next.map(Value::view)) {
            None => self.read_dict(py, position, remaining, parts),
            Some(Some(View::Int(next))) => Ok(Entry::Next(usize::try_from(next)?)),
            Some(_) => Ok(Entry::End),
        }
    }

    fn read_parts(&self, op: &mut Op<'_>, (key, value): (Value, Value), parts: &mut Parts) -> Result<(), Retry> {
        if self.part != Part::Values {
            parts.key = Some(KeyOut::read(op, key)?);
        }
        if self.part != Part::Keys {
            Read::into_slot(op, value, &mut parts.value)?;
        }
        Ok(())
    }

    fn read_dict(&self, py: Python<'_>, position: usize, remaining: usize, parts: &mut Parts) -> PyResult<Entry> {
        self.held().run(py, |op, object| {
            let (len, generation, _) = dict::shape(op, object)?;
            if len != self.len {
                return Ok(Entry::SizeChanged);
            }
            if generation != self.generation {
                return Ok(Entry::KeysChanged);
            }
            let found =
                if self.backward { dict::previous(op, object, position) } else { dict::next(op, object, position) };
            let Some((next, key, value)) = found? else { return Ok(Entry::End) };
            if remaining == 0 {
                return Ok(Entry::KeysChanged);
            }
            self.read_parts(op, (key, value), parts)?;
            Ok(Entry::Next(next))
        })
    }

    fn held(&self) -> &Held {
        self.dict.get().held()
    }

    /// Goes no further. `position` is [`DONE`] or [`SIZE_CHANGED`].
    fn finish(&self, position: usize) {
        self.position.store(position, Relaxed);
        self.remaining.store(0, Relaxed);
    }
}

#[pymethods]
impl DictIterator {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let position = self.position.load(Relaxed);
        if position == DONE {
            return Ok(None);
        }
        let remaining = self.remaining.load(Relaxed);
        let mut parts = Parts::default();
        let entry = match position {
            SIZE_CHANGED => Entry::SizeChanged,
            _ => self.read(py, position, remaining, &mut parts)?,
        };
        match entry {
            Entry::End => {
                self.finish(DONE);
                Ok(None)
            }
            Entry::SizeChanged => {
                self.finish(SIZE_CHANGED);
                Err(PyRuntimeError::new_err("dictionary changed size during iteration"))
            }
            Entry::KeysChanged => {
                self.finish(DONE);
                Err(PyRuntimeError::new_err("dictionary keys changed during iteration"))
            }
            Entry::Next(next) => {
                self.position.store(next, Relaxed);
                self.remaining.store(remaining.saturating_sub(1), Relaxed);
                let heap = self.held().heap();
                let value = parts.value.map(|value| value.into_object(py, heap)).transpose()?;
                let key = parts.key.map(|key| key.into_object(py, heap)).transpose()?;
                match (key, value) {
                    (Some(key), Some(value)) => cpython::pair(key, value).map(Some),
                    (key, value) => Ok(key.or(value)),
                }
            }
        }
    }

    fn __length_hint__(&self, py: Python<'_>) -> PyResult<usize> {
        let len = self.held().run(py, dict::len)?;
        Ok(if len == self.len { self.remaining.load(Relaxed) } else { 0 })
    }

    /// For pickle: an iterator over a list of what is still to come, which stays to come here.
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let rest = PyList::empty(py);
        let twin = Self {
            dict: self.dict.clone_ref(py),
            part: self.part,
            backward: self.backward,
            len: self.len,
            generation: self.generation,
            position: AtomicUsize::new(self.position.load(Relaxed)),
            remaining: AtomicUsize::new(self.remaining.load(Relaxed)),
            ahead: Ahead::default(),
        };
        while let Some(item) = twin.__next__(py)? {
            rest.append(item)?;
        }
        (builtin(py, "iter")?, (rest,)).into_pyobject(py)
    }
}

fn builtin<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    py.import(name!(py, "builtins"))?.getattr(name)
}

/// Iterates over a List or Tuple, from its start or from its end.
#[pyclass(module = "subduct._native", frozen)]
pub struct SequenceIterator {
    sequence: Py<PyAny>,
    backward: bool,
    /// The next element; [`DONE`] once there is none.
    position: AtomicUsize,
    ahead: Ahead,
}

impl SequenceIterator {
    /// From the first element of a proxy on.
    pub fn forward(sequence: &Bound<'_, PyAny>) -> Self {
        Self {
            sequence: sequence.clone().unbind(),
            backward: false,
            position: AtomicUsize::new(0),
            ahead: Ahead::default(),
        }
    }

    /// From the last of `len` elements of a proxy on.
    pub fn backward(sequence: &Bound<'_, PyAny>, len: usize) -> Self {
        let last = AtomicUsize::new(len.wrapping_sub(1));
        Self { sequence: sequence.clone().unbind(), backward: true, position: last, ahead: Ahead::default() }
    }

    fn proxied<'a>(&'a self, py: Python<'a>) -> (Kind, &'a Held) {
        held::of_proxy(self.sequence.bind(py)).unwrap_or_else(|| unreachable!("made from a proxy"))
    }

    /// The element at `position` if there is one, from the copy that the iterator made if it still counts.
    fn read(
        &self,
        py: Python<'_>,
        (kind, held): (Kind, &Held),
        position: usize,
        found: &mut Option<Read>,
    ) -> PyResult<()> {
        if kind == Kind::List {
            // Backwards it ends in front of item 0.
            let (stop, step) = if self.backward { (isize::MIN, -1) } else { (isize::MAX, 1) };
            let rest = Slice { start: position.cast_signed(), stop, step };
            let nothing = Slice { start: 0, stop: 0, step: 1 };
            self.ahead.step(py, held, |op, object| {
                let is_inside = position < list::len(op, object)?;
                list::snapshot(op, object, if is_inside { rest } else { nothing })
            })?;
            if self.ahead.next(py, held, 1, |op, [value, ..]| Read::into_slot(op, value, found))?.is_some() {
                return Ok(());
            }
        } else {
            self.ahead.step_unchanging(py)?;
        }
        held.run(py, |op, object| match element(op, object, position)? {
            Some(value) => Read::into_slot(op, value, found),
            None => Ok(()),
        })
    }
}

#[pymethods]
impl SequenceIterator {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let position = self.position.load(Relaxed);
        if position == DONE {
            return Ok(None);
        }
        let (kind, held) = self.proxied(py);
        let mut found = None;
        self.read(py, (kind, held), position, &mut found)?;
        let Some(value) = found else {
            self.position.store(DONE, Relaxed);
            return Ok(None);
        };
        // Before element 0 comes DONE.
        let next = if self.backward { position.wrapping_sub(1) } else { position + 1 };
        self.position.store(next, Relaxed);
        value.into_object(py, held.heap()).map(Some)
    }

    fn __length_hint__(&self, py: Python<'_>) -> PyResult<usize> {
        let position = self.position.load(Relaxed);
        if position == DONE {
            return Ok(0);
        }
        let len = self.proxied(py).1.run(py, length)?;
        Ok(match self.backward {
            true if position < len => position + 1,
            true => 0,
            false => len.saturating_sub(position),
        })
    }

    /// For pickle: the builtin's iterator over a plain copy, at the same position.
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let position = self.position.load(Relaxed);
        let start = builtin(py, if self.backward { "reversed" } else { "iter" })?;
        if position == DONE {
            return (start, (PyTuple::empty(py),)).into_pyobject(py);
        }
        (start, (copy_out::to_python(py, self.proxied(py).1)?,), position).into_pyobject(py)
    }
}
