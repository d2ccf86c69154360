//! Positions in a sequence, as CPython takes and refuses them.

use pyo3::exceptions::{PyIndexError, PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyInt, PySlice, PySliceMethods, PyTuple};

use crate::cpython::{self, type_name};

/// What stands between the brackets of `sequence[...]`.
pub enum Index<'py> {
    /// One position, from the end if negative.
    At(isize),
    /// A slice.
    Slice(Bound<'py, PySlice>),
}

/// Takes an index apart. `kind` is the builtin's name, for the message.
///
/// # Errors
/// TypeError for what is neither an int (or has `__index__`) nor a slice, IndexError for an int beyond all sequences.
pub fn parse<'py>(index: &Bound<'py, PyAny>, kind: &str) -> PyResult<Index<'py>> {
    if let Ok(slice) = index.cast_exact::<PySlice>() {
        return Ok(Index::Slice(slice.clone()));
    }
    match at(index)? {
        Some(Ok(at)) => Ok(Index::At(at)),
        Some(Err(_)) => {
            Err(PyIndexError::new_err(format!("cannot fit '{}' into an index-sized integer", type_name(index))))
        }
        None => {
            Err(PyTypeError::new_err(format!("{kind} indices must be integers or slices, not {}", type_name(index))))
        }
    }
}

/// The position that a value means, or the end of the range beyond which it lies; None for what has no `__index__`.
fn at(value: &Bound<'_, PyAny>) -> PyResult<Option<Result<isize, isize>>> {
    if !cpython::has_index(value) {
        return Ok(None);
    }
    fitted(&cpython::index(value)?).map(Some)
}

fn fitted(int: &Bound<'_, PyInt>) -> PyResult<Result<isize, isize>> {
    Ok(match cpython::small_int(int).and_then(|at| isize::try_from(at).ok()) {
        Some(at) => Ok(at),
        None if int.lt(0)? => Err(isize::MIN),
        None => Err(isize::MAX),
    })
}

/// The position that `insert` and `pop` are given. They refuse what is none with the interpreter's own words.
#[derive(Clone, Copy)]
pub struct Position(pub isize);

impl FromPyObject<'_, '_> for Position {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        let at = fitted(&cpython::index(&value)?)?;
        at.map(Self).map_err(|_| PyOverflowError::new_err("Python int too large to convert to C ssize_t"))
    }
}

/// The element that `at` means in a sequence of `len`, if there is one.
pub fn resolve(at: isize, len: usize) -> Option<usize> {
    let at = if at < 0 { at.checked_add_unsigned(len)? } else { at };
    usize::try_from(at).ok().filter(|at| *at < len)
}

/// The gap that `at` means in a sequence of `len`: beyond an end is that end, as `insert` and slices have it.
pub fn clamp(at: isize, len: usize) -> usize {
    let at = if at < 0 { at.saturating_add_unsigned(len) } else { at };
    usize::try_from(at).unwrap_or(0).min(len)
}

/// The bounds of `index(value, start, stop)`, which are all values where they are missing.
///
/// # Errors
/// TypeError for what is no int and has no `__index__`, and for more than two.
pub fn bounds(given: &Bound<'_, PyTuple>) -> PyResult<(isize, isize)> {
    if given.len() > 2 {
        let given = given.len() + 1;
        return Err(PyTypeError::new_err(format!("index expected at most 3 arguments, got {given}")));
    }
    let bound_or = |i: usize, missing: isize| given.get_item(i).map_or(Ok(missing), |value| bound(&value));
    Ok((bound_or(0, 0)?, bound_or(1, isize::MAX)?))
}

/// One of them: any int, the ends of the range for those that are too large.
fn bound(value: &Bound<'_, PyAny>) -> PyResult<isize> {
    match at(value)? {
        Some(Ok(bound) | Err(bound)) => Ok(bound),
        None => Err(PyTypeError::new_err("slice indices must be integers or have an __index__ method")),
    }
}

/// A slice of a sequence of known length: `count` elements from `start`, `step` apart.
#[derive(Clone, Copy)]
pub struct Span {
    /// First element; for an empty slice, the gap it stands for.
    pub start: usize,
    /// Distance to the next, never 0.
    pub step: isize,
    /// Number of elements.
    pub count: usize,
}

impl Span {
    /// What `slice` means in a sequence of `len`.
    ///
    /// # Errors
    /// ValueError for a step of 0, TypeError for bounds that are no ints.
    pub fn of(slice: &Bound<'_, PySlice>, len: usize) -> PyResult<Self> {
        let indices = slice.indices(isize::try_from(len)?)?;
        let start = usize::try_from(indices.start).unwrap_or(0).min(len);
        Ok(Self { start, step: indices.step, count: indices.slicelength })
    }

    /// Element number `i` of the slice.
    pub fn at(self, i: usize) -> usize {
        self.start.wrapping_add_signed(self.step.wrapping_mul(i.cast_signed()))
    }
}
