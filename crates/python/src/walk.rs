//! Walking through containers of a heap piece by piece, each known by a number that survives moves.

use pyo3::prelude::*;
use subduct_heap::memory;
use subduct_heap::object::{Key, Kind, Outgoing, Ref, Value, dict, long, outgoing, tuple};
use subduct_heap::{Op, Retry};

use crate::heap::NativeHeap;
use crate::keys::KeyOut;
use crate::scratch::{Met, Node, Visited};
use crate::transfer::{element, length};

/// An item of a container.
pub enum Child {
    /// A scalar.
    Scalar(Outgoing),
    /// A value that is yet to be copied, for a cursor that leaves long ones where they are.
    Long(Long),
    /// A container.
    Container(Container),
}

/// A long value, as its container shows it.
#[derive(Clone, Copy)]
pub struct Long {
    /// Its number.
    pub node: Node,
    /// What it is.
    pub kind: Kind,
    /// Its length.
    pub len: usize,
    /// Whether it was met for the first time.
    pub is_new: bool,
}

/// A container, as its parent shows it.
#[derive(Clone, Copy)]
pub struct Container {
    /// Its number.
    pub node: Node,
    /// What it is.
    pub kind: Kind,
    /// Number of items if it is a tuple: the others can change.
    pub tuple_len: usize,
    /// Whether it was met for the first time.
    pub is_new: bool,
}

/// An item with its key, if it is one of a dict.
pub struct Item {
    /// The key.
    pub key: Option<KeyOut>,
    /// The value.
    pub child: Child,
}

/// A position in a container.
pub struct Cursor {
    node: Node,
    kind: Kind,
    position: usize,
    /// The layout that positions in a dict refer to.
    generation: Option<u64>,
    /// Length of a sequence when its first item was read: one that grows as fast as it is read still has an end.
    len: Option<usize>,
    /// How often a dict was laid out anew before it was read to its end.
    restarts: u32,
    /// Whether long values get a number instead of being copied.
    leaves_long: bool,
}

/// Restarts after which pieces grow no more: they hold any dict by then.
const RESTARTS_COUNTED: u32 = 40;

/// What reading a piece came to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// There may be more.
    More,
    /// That was all.
    End,
    /// A dict was laid out anew, and the cursor is at its start again: all that was read is void.
    Restart,
    /// Objects moved: find them again.
    Moved,
}

impl Cursor {
    /// At the start of a container.
    pub fn new(node: Node, kind: Kind) -> Self {
        Self { node, kind, position: 0, generation: None, len: None, restarts: 0, leaves_long: false }
    }

    /// Leaves long values where they are.
    pub fn leaving_long(self) -> Self {
        Self { leaves_long: true, ..self }
    }

    /// Adds the next items to `items`, up to `most` in all, and twice as many after each restart: other threads may lay a dict out anew
    /// between any two pieces, and the copy of it ends all the same. They may change the container meanwhile: each item is one that
    /// was there.
    ///
    /// # Errors
    /// As [`NativeHeap::run`].
    pub fn read(
        &mut self,
        py: Python<'_>,
        heap: &NativeHeap,
        visited: &mut Visited<'_>,
        most: usize,
        items: &mut Vec<Item>,
    ) -> PyResult<Progress> {
        visited.make_room(py, most)?;
        loop {
            match heap.run(py, |op| self.step(op, visited, most << self.restarts, items))? {
                Progress::Moved => visited.find_again(py, heap)?,
                progress => return Ok(progress),
            }
        }
    }

    fn step(
        &mut self,
        op: &mut Op<'_>,
        visited: &mut Visited<'_>,
        most: usize,
        items: &mut Vec<Item>,
    ) -> Result<Progress, Retry> {
        while items.len() < most {
            if !visited.is_current(op) {
                return Ok(Progress::Moved);
            }
            let container = visited.get(op, self.node)?;
            if self.kind != Kind::Dict && self.len.is_none() {
                self.len = Some(length(op, container)?);
                continue;
            }
            let found = self.next(op, container)?;
            // Looking for the next entry may have let the collector in.
            if !visited.is_current(op) {
                return Ok(Progress::Moved);
            }
            if self.is_laid_out_anew(op, container)? {
                return Ok(self.restart());
            }
            let Some((next, key, value)) = found else { return Ok(Progress::End) };
            let child = if self.leaves_long { long_or_child(op, visited, value)? } else { child(op, visited, value)? };
            memory::push(items, Item { key, child })?;
            self.position = next;
        }
        Ok(Progress::More)
    }

    /// The position after the next item, its key if it is one of a dict, and its value. The item may be there no more.
    fn next(&mut self, op: &mut Op<'_>, container: Ref) -> Result<Option<(usize, Option<KeyOut>, Value)>, Retry> {
        if self.kind != Kind::Dict {
            if self.len.is_some_and(|len| self.position >= len) {
                return Ok(None);
            }
            return Ok(element(op, container, self.position)?.map(|value| (self.position + 1, None, value)));
        }
        if self.generation.is_none() {
            self.generation = Some(dict::shape(op, container)?.1);
        }
        let Some((next, key, value)) = dict::next(op, container, self.position)? else { return Ok(None) };
        Ok(Some((next, Some(KeyOut::read(op, key)?), value)))
    }

    /// Whether the position means something else by now.
    fn is_laid_out_anew(&self, op: &mut Op<'_>, container: Ref) -> Result<bool, Retry> {
        match self.generation {
            Some(generation) => Ok(dict::shape(op, container)?.1 != generation),
            None => Ok(false),
        }
    }

    fn restart(&mut self) -> Progress {
        (self.position, self.generation) = (0, None);
        self.restarts = (self.restarts + 1).min(RESTARTS_COUNTED);
        Progress::Restart
    }
}

/// As [`child`], for a cursor that leaves long values where they are.
fn long_or_child(op: &mut Op<'_>, visited: &mut Visited<'_>, value: Value) -> Result<Child, Retry> {
    let Some((kind, leaf, len)) = long::stored(op, value) else { return child(op, visited, value) };
    let (node, is_new) = number(visited.meet(op, leaf)?);
    Ok(Child::Long(Long { node, kind, len, is_new }))
}

fn number(met: Met) -> (Node, bool) {
    match met {
        Met::New(node) => (node, true),
        Met::Before(node) => (node, false),
    }
}

/// A stored value as an item. Addresses have to be current; they may not be any more afterwards.
fn child(op: &mut Op<'_>, visited: &mut Visited<'_>, value: Value) -> Result<Child, Retry> {
    let Some((kind, object)) = container(op, value) else { return outgoing(op, value).map(Child::Scalar) };
    let tuple_len = if kind == Kind::Tuple { tuple::len(op, object) } else { 0 };
    let (node, is_new) = number(visited.meet(op, object)?);
    Ok(Child::Container(Container { node, kind, tuple_len, is_new }))
}

fn container(op: &Op<'_>, value: Value) -> Option<(Kind, Ref)> {
    let object = value.as_ref()?;
    let kind = op.header(object).kind();
    kind.is_container().then_some((kind, object))
}

/// The value of `key` in dict `node`, if there is one.
///
/// # Errors
/// As [`NativeHeap::run`].
pub fn look_up(
    py: Python<'_>,
    heap: &NativeHeap,
    visited: &mut Visited<'_>,
    node: Node,
    key: &Key<'_>,
) -> PyResult<Option<Child>> {
    visited.make_room(py, 1)?;
    loop {
        let found = heap.run(py, |op| {
            if !visited.is_current(op) {
                return Ok(Err(Progress::Moved));
            }
            let object = visited.get(op, node)?;
            // Finds without letting the collector in, so addresses are still current.
            match dict::get(op, object, key)? {
                Some(value) => child(op, visited, value).map(|child| Ok(Some(child))),
                None => Ok(Ok(None)),
            }
        })?;
        match found {
            Ok(child) => return Ok(child),
            Err(_) => visited.find_again(py, heap)?,
        }
    }
}
