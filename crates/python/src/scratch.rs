//! Containers that a walk has to find again, by number. A handle for each would flood the handle table; a list in the heap holds
//! them in eight bytes each, and its single handle keeps them alive and follows them when they move.

use pyo3::prelude::*;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use subduct_heap::object::{Ref, Scalar, list};
use subduct_heap::{Handle, Heap, Op, Retry};

use crate::heap::NativeHeap;
use crate::turn;

/// Number of a container in a walk.
pub type Node = usize;

/// Does something with an object that was just made or found, under a handle that lasts as long: for what may move objects.
///
/// # Errors
/// [`Retry`] when there is no room for a handle, or what `then` returns.
pub fn with_handle<T>(
    op: &mut Op<'_>,
    object: Ref,
    then: impl FnOnce(&mut Op<'_>, Handle) -> Result<T, Retry>,
) -> Result<T, Retry> {
    let handle = op.handle_new(object)?;
    let result = then(op, handle);
    // Stored by now, read from elsewhere, or garbage of a failed attempt.
    op.handle_pass(handle);
    result
}

/// The numbered containers of a walk. The first numbers are those of `tops`, whose handles belong to the caller; the list is made when
/// there is a first container besides them.
pub struct Scratch<'h> {
    heap: &'h Heap,
    tops: SmallVec<[Handle; 2]>,
    list: Option<Handle>,
    listed: usize,
}

impl<'h> Scratch<'h> {
    /// With the containers that the walk starts from, numbered in this order.
    pub fn new(heap: &'h Heap, tops: &[Handle]) -> Self {
        Self { heap, tops: SmallVec::from_slice(tops), list: None, listed: 0 }
    }

    /// How many containers have a number.
    pub fn len(&self) -> usize {
        self.tops.len() + self.listed
    }

    /// The container with this number.
    ///
    /// # Panics
    /// When none has it.
    pub fn get(&self, op: &mut Op<'_>, node: Node) -> Result<Ref, Retry> {
        if let Some(top) = self.tops.get(node) {
            return Ok(op.handle_get(*top));
        }
        let Some(list) = self.list else { panic!("no container {node}") };
        let list = op.handle_get(list);
        let value = list::get(op, list, node - self.tops.len())?;
        match value.and_then(|value| value.as_ref()) {
            Some(container) => Ok(container),
            None => panic!("no container {node}"),
        }
    }

    /// Gives a container the number `node`: a new one, which has to be [`len`](Self::len), or that of one that is not needed any more.
    /// Once done, doing it again changes nothing. Objects may move.
    pub fn put(&mut self, op: &mut Op<'_>, node: Node, container: Handle) -> Result<(), Retry> {
        op.borrowing(|op| self.put_borrowing(op, node, container))
    }

    fn put_borrowing(&mut self, op: &mut Op<'_>, node: Node, container: Handle) -> Result<(), Retry> {
        let list = match self.list {
            Some(list) => list,
            None => {
                let made = list::new(op, 0)?;
                *self.list.insert(op.handle_new(made)?)
            }
        };
        let (list, at) = (op.handle_get(list), node - self.tops.len());
        if at < self.listed {
            list::set(op, list, at, &Scalar::Object(container))?;
        } else {
            assert_eq!(at, self.listed, "numbers are given in order");
            list::push(op, list, &Scalar::Object(container))?;
            self.listed += 1;
        }
        Ok(())
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        if let Some(list) = self.list {
            // Garbage now, with the shorter ones that it grew out of.
            self.heap.drop_private(list, 64 + 32 * self.listed as u64);
        }
    }
}

/// Whether a container was met before.
pub enum Met {
    /// Now for the first time; it has this number from now on.
    New(Node),
    /// Yes, as this number.
    Before(Node),
}

/// A walk's numbered containers, found by their address as long as nothing moved.
pub struct Visited<'h> {
    scratch: Scratch<'h>,
    by_offset: FxHashMap<u64, Node>,
    /// The heap's move epoch that the offsets belong to.
    epoch: Option<u64>,
}

/// Containers looked at in one operation while they are found again.
const PIECE: usize = 256;

impl<'h> Visited<'h> {
    /// With the containers that the walk starts from, numbered in this order.
    pub fn new(heap: &'h Heap, tops: &[Handle]) -> Self {
        Self { scratch: Scratch::new(heap, tops), by_offset: FxHashMap::default(), epoch: None }
    }

    /// The container with this number.
    pub fn get(&self, op: &mut Op<'_>, node: Node) -> Result<Ref, Retry> {
        self.scratch.get(op, node)
    }

    /// Makes room for `more` containers, outside operations: others wait for those.
    ///
    /// # Errors
    /// MemoryError.
    pub fn make_room(&mut self, py: Python<'_>, more: usize) -> PyResult<()> {
        let table = &mut self.by_offset;
        let room = (table.len(), table.capacity());
        // And for the containers that the walk starts from.
        turn::grow(py, room, more + self.scratch.tops.len(), |more| table.try_reserve(more).is_ok())
    }

    /// Whether addresses mean what they meant when the containers were last found, or first asked for. If not, [`Self::find_again`]
    /// before the next [`Self::meet`].
    pub fn is_current(&mut self, op: &Op<'_>) -> bool {
        let now = op.move_epoch();
        if self.epoch.is_none() {
            let tops = self.scratch.tops.iter().enumerate();
            self.by_offset.extend(tops.map(|(node, top)| (op.handle_get(*top).offset(), node)));
        }
        *self.epoch.get_or_insert(now) == now
    }

    /// The number of a container, which it gets now if it has none. For a new one objects may move: afterwards ask
    /// [`Self::is_current`] again.
    pub fn meet(&mut self, op: &mut Op<'_>, container: Ref) -> Result<Met, Retry> {
        debug_assert!(self.is_current(op), "addresses are out of date");
        if let Some(node) = self.by_offset.get(&container.offset()) {
            return Ok(Met::Before(*node));
        }
        let node = self.scratch.len();
        with_handle(op, container, |op, handle| {
            self.scratch.put(op, node, handle)?;
            // Where it is now: making room in the list may have moved it.
            self.by_offset.insert(op.handle_get(handle).offset(), node);
            Ok(Met::New(node))
        })
    }

    /// Finds all containers again after they moved. O(containers met).
    ///
    /// # Errors
    /// As [`NativeHeap::run`].
    pub fn find_again(&mut self, py: Python<'_>, heap: &NativeHeap) -> PyResult<()> {
        let mut next = 0;
        while next == 0 || next < self.scratch.len() {
            next = heap.run(py, |op| {
                let mut next = next;
                if next == 0 || !self.is_current(op) {
                    self.by_offset.clear();
                    self.epoch = Some(op.move_epoch());
                    next = 0;
                }
                let end = self.scratch.len().min(next + PIECE);
                while next < end {
                    let offset = self.scratch.get(op, next)?.offset();
                    self.by_offset.insert(offset, next);
                    next += 1;
                }
                Ok(next)
            })?;
        }
        Ok(())
    }
}
