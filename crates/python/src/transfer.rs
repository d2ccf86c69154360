//! Moving values between containers of one heap, without Python seeing them.

use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;
use subduct_heap::object::dict::Merge;
use subduct_heap::object::{Kind, Ref, Scalar, Value, View, list, tuple};
use subduct_heap::{Op, Retry};

use crate::held::Held;
use crate::index::Span;
use crate::scratch::with_handle;
use crate::turn::Turn;

/// Elements moved in one operation.
const PIECE: usize = 256;

/// Hands a stored value to `then`, as a value to store elsewhere in the heap.
///
/// # Errors
/// [`Retry`] when there is no room for a handle, or what `then` returns.
///
/// # Panics
/// When the value is none that users can store: the heap is broken.
pub fn with_scalar<T>(
    op: &mut Op<'_>,
    value: Value,
    then: impl FnOnce(&mut Op<'_>, &Scalar<'_>) -> Result<T, Retry>,
) -> Result<T, Retry> {
    match value.view() {
        View::None => then(op, &Scalar::None),
        View::Bool(value) => then(op, &Scalar::Bool(value)),
        View::Int(value) => then(op, &Scalar::Int(value)),
        View::Float(value) => then(op, &Scalar::Float(value)),
        View::Str(short) => then(op, &Scalar::Str(&short)),
        View::Bytes(short) => then(op, &Scalar::Bytes(&short)),
        View::Ref(object) => with_handle(op, object, |op, handle| then(op, &Scalar::Object(handle))),
        View::Empty | View::Deleted => panic!("no user's value: {value:?}"),
    }
}

/// Element `i` of a list or tuple, if there is one.
pub fn element(op: &mut Op<'_>, sequence: Ref, i: usize) -> Result<Option<Value>, Retry> {
    match op.header(sequence).kind() {
        Kind::Tuple => Ok(tuple::get(op, sequence, i)),
        _ => list::get(op, sequence, i),
    }
}

/// Length of a list or tuple.
pub fn length(op: &mut Op<'_>, sequence: Ref) -> Result<usize, Retry> {
    match op.header(sequence).kind() {
        Kind::Tuple => Ok(tuple::len(op, sequence)),
        _ => list::len(op, sequence),
    }
}

/// Length of a sequence of `len` that is repeated `times` times.
///
/// # Errors
/// MemoryError for what no Python sequence can have.
pub fn repeated_len(len: usize, times: usize) -> PyResult<usize> {
    let total = len.checked_mul(times).filter(|total| isize::try_from(*total).is_ok());
    total.ok_or_else(|| PyMemoryError::new_err("the sequence would be too long"))
}

/// Sets all entries of a dict in another of the same heap. All or nothing, in one step for other threads.
pub fn merge(py: Python<'_>, to: &Held, from: &Held) -> PyResult<()> {
    let mut merge = Merge::new(to.handle(), from.handle());
    to.heap().get().run_long(py, |op| merge.update(op))
}

/// A new dict with the entries of one dict and then those of another of the same heap.
pub fn union(py: Python<'_>, left: &Held, right: &Held) -> PyResult<Held> {
    let mut merge = Merge::new(left.handle(), right.handle());
    Held::make(py, left.heap(), |op| merge.union(op))
}

/// Appends the elements of a list or tuple, which may be the same list. All or nothing, in one step for other threads.
pub fn append(py: Python<'_>, to: &Held, from: &Held) -> PyResult<()> {
    to.run_long(py, |op, to| list::splice_from(op, to, usize::MAX, 0, from.handle(), usize::MAX))
}

/// Hands elements `place(0)`, `place(1)`, ... of a list or tuple to `put`, `count` in all, with their number and as values to store.
/// Those that do not exist any more are left out. `put` is called again where it fails.
fn hand_over(
    py: Python<'_>,
    from: &Held,
    count: usize,
    place: impl Fn(usize) -> usize,
    mut put: impl FnMut(&mut Op<'_>, usize, &Scalar<'_>) -> Result<(), Retry>,
) -> PyResult<()> {
    let (mut next, mut turn) = (0, Turn::new());
    while next < count {
        turn.pass(py)?;
        let end = count.min(next + PIECE);
        from.run(py, |op, _| {
            while next < end {
                let from = op.handle_get(from.handle());
                if let Some(value) = element(op, from, place(next))? {
                    with_scalar(op, value, |op, value| put(op, next, value))?;
                }
                next += 1;
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// A new list of `count` elements of a list or tuple, the `i`-th of them element `place(i)`. Those that do not exist any more are left
/// out.
pub fn collect(py: Python<'_>, from: &Held, count: usize, place: impl Fn(usize) -> usize) -> PyResult<Held> {
    let made = Held::make(py, from.heap(), |op| list::new(op, count))?;
    hand_over(py, from, count, place, |op, _, value| {
        let made = op.handle_get(made.handle());
        list::push(op, made, value)
    })?;
    Ok(made)
}

/// Sets the elements of a new tuple from `at` on to those of a span of a list or tuple.
pub fn fill(py: Python<'_>, to: &Held, at: usize, from: &Held, span: Span) -> PyResult<()> {
    hand_over(
        py,
        from,
        span.count,
        |i| span.at(i),
        |op, i, value| {
            let to = op.handle_get(to.handle());
            tuple::init(op, to, at + i, value)
        },
    )
}
