//! Sorting a list: Python's own sort orders short runs, which are merged; then the elements change their places in one step.

use pyo3::exceptions::{PyMemoryError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyRange};
use subduct_heap::object::list::{self, Slice};

use crate::constant::name;
use crate::held::Held;
use crate::list::List;
use crate::outgoing::Read;
use crate::transfer;
use crate::turn::Turn;

/// Elements that Python sorts in one call, which keeps other threads from running: a few milliseconds.
const RUN: usize = 4096;

/// `list.sort(key=key, reverse=reverse)`.
///
/// # Errors
/// What `key` or comparing raises, HeapFull: nothing has changed then. ValueError when the list changed meanwhile: it stays as it was
/// changed.
pub fn sort(py: Python<'_>, list: &List, key: Option<&Bound<'_, PyAny>>, reverse: bool) -> PyResult<()> {
    let (before, changes) = snapshot(py, list)?;
    let len = before.run(py, list::len)?;
    let (keys, mut turn) = (PyList::empty(py), Turn::new());
    for i in 0..len {
        turn.step(py)?;
        let element = element(py, &before, i)?;
        keys.append(match key {
            Some(key) => key.call1((element,))?,
            None => element,
        })?;
    }
    let order = order(&keys, reverse)?;
    // What becomes of the keys may change the list, too.
    drop(keys);
    let sorted = transfer::collect(py, &before, len, |i| order[i])?;
    let replaced = list.held().run(py, |op, object| {
        let sorted = op.handle_get(sorted.handle());
        list::replace_unchanged(op, object, changes, sorted)
    })?;
    replaced.then_some(()).ok_or_else(|| PyValueError::new_err("list modified during sort"))
}

/// What was given to a sort as `reverse`, if anything.
#[derive(Default)]
pub struct Reverse(Option<Py<PyAny>>);

impl FromPyObject<'_, '_> for Reverse {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        Ok(Self(Some(value.to_owned().unbind())))
    }
}

impl Reverse {
    /// What this interpreter's own sort takes it for: versions differ in what they refuse.
    ///
    /// # Errors
    /// TypeError, what asking for its value raises.
    pub fn is_set(&self, py: Python<'_>) -> PyResult<bool> {
        let Some(reverse) = &self.0 else { return Ok(false) };
        let (sample, options) = (positions(py, 0, 2)?, PyDict::new(py));
        options.set_item(name!(py, "reverse"), reverse)?;
        sample.call_method(name!(py, "sort"), (), Some(&options))?;
        sample.get_item(0)?.is_truthy()
    }
}

/// A copy of the list, and how often it was changed before.
fn snapshot(py: Python<'_>, list: &List) -> PyResult<(Held, u64)> {
    let held = list.held();
    let (handle, changes) = held.run_long(py, |op, object| {
        let (copy, changes) = list::snapshot(op, object, Slice::ALL)?;
        Ok((op.handle_new(copy)?, changes))
    })?;
    Ok((Held::new(held.heap().clone_ref(py), handle), changes))
}

fn element<'py>(py: Python<'py>, list: &Held, i: usize) -> PyResult<Bound<'py, PyAny>> {
    let value = list.run(py, |op, object| match list::get(op, object, i)? {
        Some(value) => Read::of(op, value),
        None => unreachable!("nobody else knows this list"),
    })?;
    value.into_object(py, list.heap())
}

/// The numbers from `start` up to `end`.
fn positions(py: Python<'_>, start: usize, end: usize) -> PyResult<Bound<'_, PyList>> {
    let numbers = PyRange::new(py, start.cast_signed(), end.cast_signed())?;
    Ok(py.get_type::<PyList>().call1((numbers,))?.cast_into::<PyList>()?)
}

/// The positions of `keys`, in the order that sorts them.
fn order(keys: &Bound<'_, PyList>, reverse: bool) -> PyResult<Vec<usize>> {
    let py = keys.py();
    let options = PyDict::new(py);
    options.set_item(name!(py, "key"), keys.getattr(name!(py, "__getitem__"))?)?;
    options.set_item(name!(py, "reverse"), reverse)?;
    let (mut order, mut turn) = (room_for(keys.len())?, Turn::new());
    for start in (0..keys.len()).step_by(RUN) {
        turn.pass(py)?;
        let run = positions(py, start, keys.len().min(start + RUN))?;
        run.call_method(name!(py, "sort"), (), Some(&options))?;
        for position in run {
            order.push(position.extract()?);
        }
    }
    let mut merged = room_for(keys.len())?;
    let mut width = RUN;
    while width < order.len() {
        for pair in order.chunks(2 * width) {
            let (left, right) = pair.split_at(width.min(pair.len()));
            merge(keys, reverse, left, right, &mut merged, &mut turn)?;
        }
        std::mem::swap(&mut order, &mut merged);
        merged.clear();
        width *= 2;
    }
    Ok(order)
}

fn room_for(len: usize) -> PyResult<Vec<usize>> {
    let mut room = Vec::new();
    room.try_reserve_exact(len).map_err(|_| PyMemoryError::new_err(format!("no memory to sort {len} elements")))?;
    Ok(room)
}

/// Adds the positions of two runs in the order of both: of equal elements those of the left run come first.
fn merge(
    keys: &Bound<'_, PyList>,
    reverse: bool,
    mut left: &[usize],
    mut right: &[usize],
    merged: &mut Vec<usize>,
    turn: &mut Turn,
) -> PyResult<()> {
    // Whether the element at the second position belongs in front of the one at the first.
    let is_before = |left: usize, right: usize| {
        let (left, right) = (keys.get_item(left)?, keys.get_item(right)?);
        if reverse { left.lt(right) } else { right.lt(left) }
    };
    if let (Some(last), Some(first)) = (left.last(), right.first())
        && !is_before(*last, *first)?
    {
        // In order already, as all runs of a sorted list are.
        merged.extend(left.iter().chain(right));
        return Ok(());
    }
    while let (Some((first, others)), Some((second, rest))) = (left.split_first(), right.split_first()) {
        turn.step(keys.py())?;
        if is_before(*first, *second)? {
            merged.push(*second);
            right = rest;
        } else {
            merged.push(*first);
            left = others;
        }
    }
    merged.extend(left.iter().chain(right));
    Ok(())
}
