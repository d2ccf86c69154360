//! Deep copy out of the heap: `to_python()`.
//!
//! Every container becomes its Python counterpart when it is first met, empty, and is filled later, from a work list: depth overflows no
//! stack, and shared references and cycles come out as they are. Tuples are filled in place before anybody sees them. While this runs
//! other threads may change what is copied; each element is then one that was there at some moment.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use subduct_heap::object::{Kind, tuple};

use crate::cpython;
use crate::held::Held;
use crate::long;
use crate::names::Names;
use crate::outgoing::to_object;
use crate::scratch::{Node, Visited};
use crate::turn::{self, Turn};
use crate::walk::{Child, Container, Cursor, Item, Long, Progress};

/// Items read in one operation.
const PIECE: usize = 128;

/// The Python value equal to this container, made of builtins. O(size of the content).
///
/// # Errors
/// HeapFull when there is no room for the list of what was met, MemoryError, HeapClosed, what a signal handler raises.
pub fn to_python<'py>(py: Python<'py>, held: &Held) -> PyResult<Bound<'py, PyAny>> {
    let heap = held.heap().get();
    let (kind, tuple_len) = held.run(py, |op, object| {
        let kind = op.header(object).kind();
        Ok((kind, if kind == Kind::Tuple { tuple::len(op, object) } else { 0 }))
    })?;
    let mut visited = Visited::new(heap.core(), &[held.handle()]);
    let top = Target::new(py, kind, tuple_len)?;
    let mut objects = vec![top.to_any()];
    let mut frames = vec![Frame::new(0, kind, top)];
    let (mut items, mut names, mut turn) = (Vec::new(), Names::new(), Turn::new());
    while let Some(frame) = frames.last_mut() {
        turn.pass(py)?;
        items.clear();
        let progress = frame.cursor.read(py, heap, &mut visited, PIECE, &mut items)?;
        let mut deeper = Vec::new();
        for Item { key, child } in items.drain(..) {
            let value = match child {
                Child::Scalar(value) => to_object(py, held.heap(), value)?,
                Child::Long(Long { node, kind, len, is_new: true }) => {
                    let leaf = Held::make(py, held.heap(), |op| visited.get(op, node))?;
                    let value = long::copied_out(py, &leaf, kind, len)?;
                    debug_assert_eq!(node, objects.len(), "numbers are given in order");
                    turn::push(&mut objects, value.clone())?;
                    value
                }
                Child::Long(Long { node, .. }) => objects[node].clone(),
                Child::Container(Container { node, kind, tuple_len, is_new: true }) => {
                    let target = Target::new(py, kind, tuple_len)?;
                    debug_assert_eq!(node, objects.len(), "numbers are given in order");
                    turn::push(&mut objects, target.to_any())?;
                    let value = target.to_any();
                    turn::push(&mut deeper, Frame::new(node, kind, target))?;
                    value
                }
                Child::Container(Container { node, .. }) => objects[node].clone(),
            };
            let key = key.map(|key| names.key(py, held.heap(), key)).transpose()?;
            frame.target.put(frame.filled, key, value)?;
            frame.filled += 1;
        }
        match progress {
            Progress::End => drop(frames.pop()),
            // What was met on the way has its number, and is made although it may be needed no more.
            Progress::Restart => frame.target.clear(),
            Progress::More | Progress::Moved => {}
        }
        // The first is filled next: what is made in the order of the items is read, and freed, in the order of memory.
        for frame in deeper.into_iter().rev() {
            turn::push(&mut frames, frame)?;
        }
    }
    let top = objects.swap_remove(0);
    turn::drop_all(py, objects)?;
    Ok(top)
}

/// A container that is being filled.
struct Frame<'py> {
    cursor: Cursor,
    target: Target<'py>,
    filled: usize,
}

impl<'py> Frame<'py> {
    fn new(node: Node, kind: Kind, target: Target<'py>) -> Self {
        Self { cursor: Cursor::new(node, kind).leaving_long(), target, filled: 0 }
    }
}

/// What a container becomes.
enum Target<'py> {
    Dict(Bound<'py, PyDict>),
    List(Bound<'py, PyList>),
    Tuple(Bound<'py, PyTuple>),
}

impl<'py> Target<'py> {
    fn new(py: Python<'py>, kind: Kind, tuple_len: usize) -> PyResult<Self> {
        Ok(match kind {
            Kind::Dict => Self::Dict(cpython::dict(py)?),
            Kind::Tuple => Self::Tuple(cpython::new_tuple(py, tuple_len)?),
            _ => Self::List(cpython::list(py)?),
        })
    }

    fn to_any(&self) -> Bound<'py, PyAny> {
        match self {
            Self::Dict(dict) => dict.clone().into_any(),
            Self::List(list) => list.clone().into_any(),
            Self::Tuple(tuple) => tuple.clone().into_any(),
        }
    }

    /// Makes `value` item `i`.
    fn put(&self, i: usize, key: Option<Bound<'py, PyAny>>, value: Bound<'py, PyAny>) -> PyResult<()> {
        match (self, key) {
            (Self::Dict(dict), Some(key)) => dict.set_item(key, value),
            (Self::Dict(_), None) => unreachable!("items of a dict have keys"),
            (Self::List(list), _) => list.append(value),
            (Self::Tuple(tuple), _) => {
                cpython::set_tuple_item(tuple, i, value);
                Ok(())
            }
        }
    }

    /// Starts over with a dict; nothing else needs to.
    fn clear(&self) {
        if let Self::Dict(dict) = self {
            dict.clear();
        }
    }
}
