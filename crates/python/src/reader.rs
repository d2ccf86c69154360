//! Reading Python containers piece by piece, with the GIL released in between.

use pyo3::exceptions::PyRuntimeError;
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
    fn with_room(len: usize, kind: Kind) -> Self {
        Self { keys: Vec::with_capacity(if kind == Kind::Dict { len } else { 0 }), values: Vec::with_capacity(len) }
    }
}

/// A position in a container that must not change meanwhile.
pub struct Reader<'py> {
    source: Source<'py>,
    expected: usize,
    taken: usize,
    position: isize,
}

impl<'py> Reader<'py> {
    /// At the start.
    pub fn new(source: Source<'py>) -> Self {
        Self { expected: source.len(), taken: 0, position: 0, source }
    }

    /// Number of items read so far.
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// The next items, at most `most`; none at the end.
    ///
    /// # Errors
    /// RuntimeError when the container changed since the start.
    pub fn read(&mut self, most: usize) -> PyResult<Piece<'py>> {
        let (kind, now) = (self.source.kind(), self.source.len());
        if now != self.expected {
            let name = if kind == Kind::Dict { "dictionary" } else { "list" };
            return Err(PyRuntimeError::new_err(format!("{name} changed size during iteration")));
        }
        let end = self.expected.min(self.taken.saturating_add(most));
        let mut piece = Piece::with_room(end - self.taken, kind);
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
