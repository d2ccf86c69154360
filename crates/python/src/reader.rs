//! Reading Python containers, while other threads run between two pieces. All but very large ones are read at once all the same, so
//! that nobody can change them halfway: only the references are taken, the pieces come from there.

use std::vec::IntoIter;

use pyo3::exceptions::{PyMemoryError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use subduct_heap::object::Kind;

use crate::cpython;

/// A builtin container to copy.
#[derive(Clone)]
pub enum Source<'py> {
    /// A dict.
    Dict(Bound<'py, PyDict>),
    /// A list.
    List(Bound<'py, PyList>),
    /// A tuple.
    Tuple(Bound<'py, PyTuple>),
}

impl<'py> Source<'py> {
    /// Its kind in a heap.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Dict(_) => Kind::Dict,
            Self::List(_) => Kind::List,
            Self::Tuple(_) => Kind::Tuple,
        }
    }

    /// Number of its items.
    pub fn len(&self) -> usize {
        match self {
            Self::Dict(dict) => dict.len(),
            Self::List(list) => list.len(),
            Self::Tuple(tuple) => tuple.len(),
        }
    }

    /// The object.
    pub fn as_any(&self) -> &Bound<'py, PyAny> {
        match self {
            Self::Dict(dict) => dict.as_any(),
            Self::List(list) => list.as_any(),
            Self::Tuple(tuple) => tuple.as_any(),
        }
    }
}

/// Consecutive items of a container. `keys` are empty unless it is a dict.
pub struct Piece<'py> {
    /// Keys of a dict.
    pub keys: Vec<Bound<'py, PyAny>>,
    /// Values.
    pub values: Vec<Bound<'py, PyAny>>,
}

impl Piece<'_> {
    fn with_room(len: usize, kind: Kind) -> PyResult<Self> {
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        let reserved = keys.try_reserve_exact(if kind == Kind::Dict { len } else { 0 });
        let reserved = reserved.and_then(|()| values.try_reserve_exact(len));
        reserved.map_err(|_| PyMemoryError::new_err(format!("no memory to read {len} items at once")))?;
        Ok(Self { keys, values })
    }
}

/// Most items that are read at once, which takes some milliseconds. A container with more must not change while it is read.
const WHOLE_MAX: usize = 250_000;

/// A position in a container.
pub struct Reader<'py> {
    source: Source<'py>,
    expected: usize,
    taken: usize,
    position: isize,
    /// All that is still to come, of a container that was read at once.
    rest: Option<Rest<'py>>,
}

/// Items that were read and not yet handed on.
#[derive(Default)]
struct Rest<'py> {
    keys: IntoIter<Bound<'py, PyAny>>,
    values: IntoIter<Bound<'py, PyAny>>,
}

impl<'py> Reader<'py> {
    /// At the start.
    pub fn new(source: Source<'py>) -> Self {
        Self { expected: source.len(), taken: 0, position: 0, source, rest: None }
    }

    /// Number of items read so far.
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// The next items, at most `most`; none at the end.
    ///
    /// # Errors
    /// RuntimeError when the container is too large to be read at once and changed since the start, MemoryError.
    pub fn read(&mut self, most: usize) -> PyResult<Piece<'py>> {
        if self.taken == 0 && self.rest.is_none() {
            self.expected = self.source.len();
            if self.expected <= WHOLE_MAX {
                let whole = self.read_piece(self.expected)?;
                if self.expected <= most {
                    self.rest = Some(Rest::default());
                    return Ok(whole);
                }
                self.taken = 0;
                self.rest = Some(Rest { keys: whole.keys.into_iter(), values: whole.values.into_iter() });
            }
        }
        let Some(rest) = &mut self.rest else { return self.read_piece(most) };
        // Handed on, not copied: the number of references to an item tells who else knows it.
        let mut piece = Piece::with_room(rest.values.len().min(most), self.source.kind())?;
        piece.keys.extend(rest.keys.by_ref().take(most));
        piece.values.extend(rest.values.by_ref().take(most));
        self.taken += piece.values.len();
        Ok(piece)
    }

    fn read_piece(&mut self, most: usize) -> PyResult<Piece<'py>> {
        let (kind, now) = (self.source.kind(), self.source.len());
        if now != self.expected {
            let name = if kind == Kind::Dict { "dictionary" } else { "list" };
            return Err(PyRuntimeError::new_err(format!("{name} changed size during iteration")));
        }
        let end = self.expected.min(self.taken.saturating_add(most));
        let mut piece = Piece::with_room(end - self.taken, kind)?;
        if end == self.taken {
            return Ok(piece);
        }
        match &self.source {
            Source::Dict(dict) => {
                cpython::read_dict(dict, &mut self.position, most, &mut piece.keys, &mut piece.values);
                let reached = self.taken + piece.values.len();
                if piece.values.is_empty() || reached > self.expected {
                    return Err(PyRuntimeError::new_err("dictionary keys changed during iteration"));
                }
            }
            Source::List(list) => {
                for i in self.taken..end {
                    let item = list.get_item(i);
                    piece.values.push(item.map_err(|_| PyRuntimeError::new_err("list changed size during iteration"))?);
                }
            }
            Source::Tuple(tuple) => {
                for i in self.taken..end {
                    piece.values.push(tuple.get_item(i)?);
                }
            }
        }
        self.taken += piece.values.len();
        Ok(piece)
    }
}
