//! Finding a value in a list or tuple.

use pyo3::prelude::*;
use subduct_heap::object::{Kind, Outgoing, Ref, Value, list, outgoing, scalar_equals};
use subduct_heap::{Op, Retry};

use crate::held::{self, Held};
use crate::incoming::{self, Incoming, Taken};
use crate::index::clamp;
use crate::outgoing::to_object;
use crate::transfer::{element, length};
use crate::turn::Turn;

/// Elements looked at in one operation.
const PIECE: usize = 512;

/// The first element in `[start, stop)` equal to `value`, if there is one. O(stop - start).
///
/// # Errors
/// What comparing raises, HeapClosed.
pub fn find(
    py: Python<'_>,
    held: &Held,
    value: &Bound<'_, PyAny>,
    start: isize,
    stop: isize,
) -> PyResult<Option<usize>> {
    let len = held.run(py, length)?;
    let stop = clamp(stop, len);
    Ok(Search::of(value)?.next(py, held, clamp(start, len), stop)?.map(|(at, _)| at))
}

/// How many elements equal `value`. O(len).
///
/// # Errors
/// What comparing raises, HeapClosed.
pub fn count(py: Python<'_>, held: &Held, value: &Bound<'_, PyAny>) -> PyResult<usize> {
    let search = Search::of(value)?;
    let (mut next, mut count) = (0, 0);
    while let Some((found, _)) = search.next(py, held, next, usize::MAX)? {
        next = found + 1;
        count += 1;
    }
    Ok(count)
}

/// Removes the first element equal to `value`; false if there is none. Where other threads change the list between finding it and removing
/// it, the search begins anew, so that nothing else is removed. O(len).
///
/// # Errors
/// What comparing raises, HeapClosed.
pub fn remove(py: Python<'_>, held: &Held, value: &Bound<'_, PyAny>) -> PyResult<bool> {
    let search = Search::of(value)?;
    loop {
        let changes = held.run(py, |op, list| Ok(op.changes(list)))?;
        let Some((at, element)) = search.next(py, held, 0, usize::MAX)? else { return Ok(false) };
        let seen = match (&search, element) {
            (_, Some(element)) => incoming::take(held.heap(), &element)?,
            (Search::Scalar(_), None) => Taken::Unstorable,
            (_, None) => unreachable!("Python was asked"),
        };
        let wanted = match (&seen, &search) {
            (Taken::Scalar(element), _) | (_, Search::Scalar(element)) => element,
            _ => unreachable!("elements of a heap are scalars and its own containers"),
        };
        let removed = held.run_long(py, |op, list| {
            list::remove_if(op, list, at, |op, list, stored| {
                Ok(op.changes(list) == changes || scalar_equals(op, stored, &wanted.scalar()))
            })
        })?;
        if removed.is_some() {
            return Ok(true);
        }
    }
}

/// What to look for, and so which elements Python has to be asked about.
enum Search<'a, 'py> {
    /// A scalar: the heap compares.
    Scalar(Incoming),
    /// A container: only containers of this kind can equal it.
    Container(Kind, &'a Bound<'py, PyAny>),
    /// Anything else: it may equal whatever it likes.
    Any(&'a Bound<'py, PyAny>),
}

type Found<'py> = (usize, Option<Bound<'py, PyAny>>);

/// What became of looking through a piece.
enum Step {
    /// This one is equal.
    Found(usize),
    /// Python has to say whether this one is.
    Ask(usize, Outgoing),
    /// None up to here.
    None(usize),
    /// There are no more.
    End,
}

impl<'a, 'py> Search<'a, 'py> {
    fn of(value: &'a Bound<'py, PyAny>) -> PyResult<Self> {
        if let Some(scalar) = incoming::scalar(value)? {
            return Ok(Self::Scalar(scalar));
        }
        let kind = incoming::container(value).map(|source| source.kind());
        let kind = kind.or_else(|| held::of_proxy(value).map(|(kind, _)| kind));
        Ok(kind.map_or(Self::Any(value), |kind| Self::Container(kind, value)))
    }

    /// The first equal element in `[next, stop)`: where it is, and what it is if Python was asked.
    fn next(&self, py: Python<'py>, held: &Held, mut next: usize, stop: usize) -> PyResult<Option<Found<'py>>> {
        let mut turn = Turn::new();
        while next < stop {
            turn.pass(py)?;
            next = match held.run(py, |op, sequence| self.step(op, sequence, next, stop))? {
                Step::Found(at) => return Ok(Some((at, None))),
                Step::Ask(at, element) => {
                    let element = to_object(py, held.heap(), element)?;
                    if self.is_equal(&element)? {
                        return Ok(Some((at, Some(element))));
                    }
                    at + 1
                }
                Step::None(end) => end,
                Step::End => return Ok(None),
            };
        }
        Ok(None)
    }

    fn step(&self, op: &mut Op<'_>, sequence: Ref, next: usize, stop: usize) -> Result<Step, Retry> {
        let end = stop.min(next.saturating_add(PIECE));
        for i in next..end {
            let Some(value) = element(op, sequence, i)? else { return Ok(Step::End) };
            match self {
                Self::Scalar(scalar) => {
                    if scalar_equals(op, value, &scalar.scalar()) {
                        return Ok(Step::Found(i));
                    }
                }
                Self::Container(kind, _) if kind_of(op, value) != Some(*kind) => {}
                Self::Container(..) | Self::Any(_) => return Ok(Step::Ask(i, outgoing(op, value)?)),
            }
        }
        Ok(Step::None(end))
    }

    fn is_equal(&self, element: &Bound<'py, PyAny>) -> PyResult<bool> {
        match self {
            Self::Scalar(_) => Ok(false),
            Self::Container(_, value) | Self::Any(value) => element.eq(value),
        }
    }
}

fn kind_of(op: &Op<'_>, value: Value) -> Option<Kind> {
    value.as_ref().map(|object| op.header(object).kind())
}
