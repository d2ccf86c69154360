//! Moving values between containers of one heap, without Python seeing them.

use pyo3::exceptions::{PyMemoryError, PyRuntimeError};
use pyo3::prelude::*;
use subduct_heap::object::{Kind, Outgoing, Ref, Scalar, Value, View, dict, list, outgoing, tuple};
use subduct_heap::{Op, Retry};

use crate::held::Held;
use crate::index::Span;
use crate::keys::KeyOut;
use crate::scratch::with_handle;

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

/// Removes a value and reads it. A container's handle has to exist before the removal, which cannot be undone; so `peek` tells what
/// is about to go. Should another thread have put something else there in between, that is what is read.
pub fn take_out(
    op: &mut Op<'_>,
    peek: impl FnOnce(&mut Op<'_>) -> Result<Option<Value>, Retry>,
    remove: impl FnOnce(&mut Op<'_>) -> Result<Option<Value>, Retry>,
) -> Result<Option<Outgoing>, Retry> {
    let Some(expected) = peek(op)? else { return Ok(None) };
    let reserved = outgoing(op, expected)?;
    let removed = remove(op);
    if let Outgoing::Container(_, handle) = reserved {
        if let Ok(Some(value)) = removed
            && value.as_ref() == Some(op.handle_get(handle))
        {
            return Ok(Some(reserved));
        }
        op.handle_drop(handle);
    }
    removed?.map(|value| outgoing(op, value)).transpose()
}

/// Copies all entries of a dict into another of the same heap.
///
/// # Errors
/// RuntimeError when the dict that is read changes its size meanwhile; what was copied before stays.
pub fn merge(py: Python<'_>, to: &Held, from: &Held) -> PyResult<()> {
    let (expected_len, expected_generation, _) = from.run(py, dict::shape)?;
    let (mut position, mut more) = (0, true);
    while more {
        more = from
            .run(py, |op, source| {
                let (len, generation, _) = dict::shape(op, source)?;
                if (len, generation) != (expected_len, expected_generation) {
                    return Ok(None);
                }
                for _ in 0..PIECE {
                    let source = op.handle_get(from.handle());
                    let Some((next, key, value)) = dict::next(op, source, position)? else { return Ok(Some(false)) };
                    let key = KeyOut::read(op, key)?;
                    with_scalar(op, value, |op, value| {
                        let to = op.handle_get(to.handle());
                        dict::insert(op, to, &key.key(), value)
                    })?;
                    position = next;
                }
                Ok(Some(true))
            })?
            .ok_or_else(|| PyRuntimeError::new_err("dict mutated during update"))?;
    }
    Ok(())
}

/// Replaces `delete` elements of a list from `start` on by the first `count` of a list or tuple, which may be the same. What lies
/// beyond the end counts for nothing. All or nothing.
pub fn splice(py: Python<'_>, to: &Held, start: usize, delete: usize, from: &Held, count: usize) -> PyResult<()> {
    to.run(py, |op, to| list::splice_from(op, to, start, delete, from.handle(), count))
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
    let mut next = 0;
    while next < count {
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

/// Sets the elements of a span of a list to those of another list or a tuple, one to one.
pub fn assign(py: Python<'_>, to: &Held, span: Span, from: &Held) -> PyResult<()> {
    hand_over(
        py,
        from,
        span.count,
        |i| i,
        |op, i, value| {
            let to = op.handle_get(to.handle());
            list::set(op, to, span.at(i), value).map(drop)
        },
    )
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

/// Deletes the elements of an ascending span that is not empty from a list of `len`. All or nothing.
pub fn delete_span(py: Python<'_>, list: &Held, span: Span, len: usize) -> PyResult<()> {
    if span.step == 1 || span.count == 1 {
        return list.run(py, |op, list| list::splice(op, list, span.start, span.count, &[]));
    }
    // Of every `step` elements from the start on the first goes and the others stay; behind the last that goes, all do.
    let between = span.step.unsigned_abs() - 1;
    let kept =
        collect(py, list, len - span.start - span.count, |i| span.start + i + (i / between + 1).min(span.count))?;
    splice(py, list, span.start, len - span.start, &kept, usize::MAX)
}
