//! Deep copy into the heap.
//!
//! A container is made empty and linked into its parent at once, and filled later, from a work list: depth overflows no stack, and all
//! that exists hangs on the top, whose handle keeps it alive. Until the whole copy is done nobody else can reach it; an error leaves
//! only garbage.
//!
//! | what | how |
//! |---|---|
//! | shared references, cycles | every container that something else may refer to is remembered by identity, and kept alive meanwhile |
//! | containers with few items, none of them a new container | built whole in the operation that links them |
//! | the others | found again by number ([`Scratch`]); the number of an unshared one is free again once it is filled |

use pyo3::prelude::*;
use rustc_hash::FxHashMap;
use subduct_heap::object::{Kind, Ref, Scalar, dict, list, tuple};
use subduct_heap::{Handle, Op, Retry};

use crate::cpython;
use crate::heap::NativeHeap;
use crate::held::Held;
use crate::incoming::{Incoming, Taken, is_container, take};
use crate::keys::{self, KeyIn};
use crate::long;
use crate::path;
use crate::reader::{Piece, Reader, Source};
use crate::scratch::{Node, Scratch, with_handle};
use crate::turn::{self, Turn};

/// Items read from a Python container at a time.
const PIECE: usize = 32;
/// Most items of a container that is built whole. Fewer than make a list or dict poll.
const LEAF_MAX: usize = 32;
/// Values stored in one operation, give or take a leaf.
const OPERATION_MAX: usize = 256;
/// References to an unshared container while it is planned: its parent's, the piece's and the source's.
const UNSHARED: isize = 3;

/// A value ready to be put somewhere in the heap.
pub enum Prepared {
    /// A scalar, or a container of this heap.
    Scalar(Incoming),
    /// A container of scalars, to be built in the operation that puts it.
    Leaf(Leaf),
    /// A complete copy.
    Built(Held),
}

impl Prepared {
    /// Hands the value to `put`, in the same operation. Nothing has changed yet when this fails.
    pub fn place<T>(
        &self,
        op: &mut Op<'_>,
        put: impl FnOnce(&mut Op<'_>, &Scalar<'_>) -> Result<T, Retry>,
    ) -> Result<T, Retry> {
        match self {
            Self::Scalar(scalar) => put(op, &scalar.scalar()).inspect(|_| scalar.note_placed()),
            Self::Leaf(leaf) => {
                let object = leaf.build(op, None)?;
                with_handle(op, object, |op, handle| put(op, &Scalar::Object(handle))).inspect(|_| leaf.note_placed())
            }
            Self::Built(held) => put(op, &Scalar::Object(held.handle())).inspect(|_| held.note_placed()),
        }
    }

    /// The container itself, attached to nothing.
    ///
    /// # Panics
    /// When it is a scalar.
    pub fn hold(self, py: Python<'_>, heap: &Py<NativeHeap>) -> PyResult<Held> {
        match self {
            Self::Scalar(_) => unreachable!("only containers are held"),
            Self::Leaf(leaf) => Held::make(py, heap, |op| leaf.build(op, None)).inspect(|_| leaf.note_placed()),
            Self::Built(held) => Ok(held.published()),
        }
    }
}

/// Copies a value as far as possible without knowing where it goes. O(size of the value).
///
/// # Errors
/// TypeError naming the path to what cannot be stored, RuntimeError when a container changes meanwhile, HeapFull, what a signal
/// handler raises.
pub fn prepare(py: Python<'_>, heap: &Py<NativeHeap>, value: &Bound<'_, PyAny>) -> PyResult<Prepared> {
    match take(heap, value)? {
        Taken::Scalar(scalar) => long::copied_in(py, heap, scalar).map(Prepared::Scalar),
        Taken::Container(source) => {
            let copy = DeepCopy::new(py, heap, value);
            match copy.leaf(&source)? {
                Some(leaf) => Ok(Prepared::Leaf(leaf)),
                None => copy.run(source).map(Prepared::Built),
            }
        }
        Taken::Foreign => Err(path::foreign(value, value)),
        Taken::Unstorable => Err(path::unstorable(value, value)),
    }
}

/// A container with few items, each of which exists already or needs no walk.
pub struct Leaf {
    kind: Kind,
    keys: Vec<KeyIn>,
    values: Vec<Item>,
}

enum Item {
    Scalar(Incoming),
    /// A container that was copied, or begun, before.
    Node(Node),
}

impl Leaf {
    fn build(&self, op: &mut Op<'_>, scratch: Option<&Scratch<'_>>) -> Result<Ref, Retry> {
        // Room for all items from the start: nothing below moves the new object.
        let object = empty(op, self.kind, self.values.len())?;
        for (i, value) in self.values.iter().enumerate() {
            value.with_scalar(op, scratch, |op, scalar| attach(op, object, self.keys.get(i), i, scalar))?;
        }
        Ok(object)
    }

    /// Notes that the container was stored, and with it what it holds.
    fn note_placed(&self) {
        self.values.iter().for_each(Item::note_placed);
    }
}

impl Item {
    fn note_placed(&self) {
        if let Self::Scalar(scalar) = self {
            scalar.note_placed();
        }
    }

    fn with_scalar<T>(
        &self,
        op: &mut Op<'_>,
        scratch: Option<&Scratch<'_>>,
        then: impl FnOnce(&mut Op<'_>, &Scalar<'_>) -> Result<T, Retry>,
    ) -> Result<T, Retry> {
        match (self, scratch) {
            (Self::Scalar(scalar), _) => then(op, &scalar.scalar()),
            (Self::Node(node), Some(scratch)) => {
                let object = scratch.get(op, *node)?;
                with_handle(op, object, |op, handle| then(op, &Scalar::Object(handle)))
            }
            (Self::Node(node), None) => unreachable!("container {node} without a scratch list"),
        }
    }
}

/// A new container with room for `len` items.
fn empty(op: &mut Op<'_>, kind: Kind, len: usize) -> Result<Ref, Retry> {
    match kind {
        Kind::Dict => dict::new(op, len),
        Kind::List => list::new(op, len),
        _ => tuple::new(op, len),
    }
}

/// Makes `value` item `i` of a container that nobody else knows, which has all items before it.
fn attach(op: &mut Op<'_>, parent: Ref, key: Option<&KeyIn>, i: usize, value: &Scalar<'_>) -> Result<(), Retry> {
    match (op.header(parent).kind(), key) {
        (Kind::Dict, Some(key)) => dict::insert(op, parent, &key.key()?, value).map(drop),
        (Kind::List, _) => list::push(op, parent, value),
        _ => tuple::init(op, parent, i, value),
    }
}

/// One item of a container that is being filled.
struct Link {
    key: Option<KeyIn>,
    value: Planned,
}

/// What the item is to be.
enum Planned {
    Item(Item),
    /// A container to build whole, and its number if something else may refer to it.
    Leaf(Leaf, Option<Node>),
    /// A container to make empty.
    Open(Kind, usize, Node),
}

impl Link {
    /// Values that storing it stores.
    fn weight(&self) -> usize {
        match &self.value {
            Planned::Leaf(leaf, _) => leaf.values.len() + 1,
            _ => 1,
        }
    }

    /// Notes that it was stored.
    fn note_placed(&self) {
        match &self.value {
            Planned::Item(item) => item.note_placed(),
            Planned::Leaf(leaf, _) => leaf.note_placed(),
            Planned::Open(..) => {}
        }
    }

    /// Makes it item `i` of container `parent`, its last mutation: when it fails, it can be done again.
    fn store(&self, op: &mut Op<'_>, scratch: &mut Scratch<'_>, parent: Node, i: usize) -> Result<(), Retry> {
        let (object, node) = match &self.value {
            Planned::Item(item) => {
                return item.with_scalar(op, Some(&*scratch), |op, scalar| {
                    let parent = scratch.get(op, parent)?;
                    attach(op, parent, self.key.as_ref(), i, scalar)
                });
            }
            Planned::Leaf(leaf, node) => (leaf.build(op, Some(&*scratch))?, *node),
            Planned::Open(kind, len, node) => (empty(op, *kind, *len)?, Some(*node)),
        };
        with_handle(op, object, |op, handle: Handle| {
            if let Some(node) = node {
                scratch.put(op, node, handle)?;
            }
            let parent = scratch.get(op, parent)?;
            attach(op, parent, self.key.as_ref(), i, &Scalar::Object(handle))
        })
    }
}

/// A container that is being filled.
struct Frame<'py> {
    reader: Reader<'py>,
    node: Node,
    shared: bool,
}

/// An object's identity.
fn address(object: &Bound<'_, PyAny>) -> usize {
    object.as_ptr().addr()
}

/// One deep copy.
struct DeepCopy<'a, 'py> {
    py: Python<'py>,
    heap: &'a Py<NativeHeap>,
    /// What is copied, for messages.
    top: &'a Bound<'py, PyAny>,
    /// Numbers of the containers that may be met again, by identity.
    memo: FxHashMap<usize, Node>,
    /// Keeps the memo's objects from being replaced by others at the same address.
    alive: Vec<Bound<'py, PyAny>>,
    /// Numbers given so far, and those that can be given again.
    nodes: Node,
    free: Vec<Node>,
}

impl<'a, 'py> DeepCopy<'a, 'py> {
    fn new(py: Python<'py>, heap: &'a Py<NativeHeap>, top: &'a Bound<'py, PyAny>) -> Self {
        Self { py, heap, top, memo: FxHashMap::default(), alive: Vec::new(), nodes: 0, free: Vec::new() }
    }

    fn run(mut self, source: Source<'py>) -> PyResult<Held> {
        let (kind, len) = (source.kind(), source.len());
        let top = Held::make_private(self.py, self.heap, |op| empty(op, kind, len))?;
        let mut scratch = Scratch::new(self.heap.get().core(), &[top.handle()]);
        let node = self.number(self.top, true)?;
        let mut turn = Turn::new();
        let mut frames = vec![Frame { reader: Reader::new(source), node, shared: true }];
        while let Some(frame) = frames.last_mut() {
            turn.pass(self.py)?;
            let first = frame.reader.taken();
            let piece = frame.reader.read(PIECE)?;
            if piece.values.is_empty() {
                if !frame.shared {
                    turn::push(&mut self.free, frame.node)?;
                }
                frames.pop();
                continue;
            }
            let node = frame.node;
            let links = self.plan(piece, &mut frames)?;
            self.link(&mut scratch, node, first, &links)?;
        }
        turn::drop_all(self.py, self.alive)?;
        Ok(top)
    }

    /// What is to become of these items. Containers that are to be filled later are added to `frames`.
    fn plan(&mut self, piece: Piece<'py>, frames: &mut Vec<Frame<'py>>) -> PyResult<Vec<Link>> {
        let mut links = turn::with_room(piece.values.len())?;
        let mut keys = piece.keys.iter();
        for value in &piece.values {
            let key = keys.next().map(|key| self.key(key)).transpose()?;
            let value = match take(self.heap, value)? {
                Taken::Scalar(scalar) => Planned::Item(Item::Scalar(long::copied_in(self.py, self.heap, scalar)?)),
                Taken::Container(source) => self.plan_container(source, frames)?,
                Taken::Foreign => return Err(path::foreign(self.top, value)),
                Taken::Unstorable => return Err(path::unstorable(self.top, value)),
            };
            links.push(Link { key, value });
        }
        Ok(links)
    }

    fn plan_container(&mut self, source: Source<'py>, frames: &mut Vec<Frame<'py>>) -> PyResult<Planned> {
        let object = source.as_any();
        if let Some(node) = self.memo.get(&address(object)) {
            return Ok(Planned::Item(Item::Node(*node)));
        }
        let shared = cpython::reference_count(object) > UNSHARED;
        if let Some(leaf) = self.leaf(&source)? {
            let node = shared.then(|| self.number(object, true)).transpose()?;
            return Ok(Planned::Leaf(leaf, node));
        }
        let node = self.number(object, shared)?;
        let planned = Planned::Open(source.kind(), source.len(), node);
        turn::push(frames, Frame { reader: Reader::new(source), node, shared })?;
        Ok(planned)
    }

    /// The container as a leaf, if it is small and all its items are scalars or have a number.
    fn leaf(&self, source: &Source<'py>) -> PyResult<Option<Leaf>> {
        if source.len() > LEAF_MAX {
            return Ok(None);
        }
        let piece = Reader::new(source.clone()).read(LEAF_MAX)?;
        let is_new = |value: &Bound<'py, PyAny>| is_container(value) && !self.memo.contains_key(&address(value));
        if piece.values.iter().any(is_new) {
            return Ok(None);
        }
        let mut values = turn::with_room(piece.values.len())?;
        for value in &piece.values {
            values.push(match self.memo.get(&address(value)) {
                Some(node) => Item::Node(*node),
                None => match take(self.heap, value)? {
                    Taken::Scalar(scalar) => Item::Scalar(long::copied_in(self.py, self.heap, scalar)?),
                    Taken::Foreign => return Err(path::foreign(self.top, value)),
                    Taken::Container(_) | Taken::Unstorable => return Err(path::unstorable(self.top, value)),
                },
            });
        }
        let mut keys = turn::with_room(piece.keys.len())?;
        for key in &piece.keys {
            keys.push(self.key(key)?);
        }
        Ok(Some(Leaf { kind: source.kind(), keys, values }))
    }

    fn key(&self, key: &Bound<'py, PyAny>) -> PyResult<KeyIn> {
        keys::storable(key)?.ok_or_else(|| path::unstorable_key(self.top, key))
    }

    /// A number for a container, which is remembered if something else may refer to it.
    fn number(&mut self, object: &Bound<'py, PyAny>, shared: bool) -> PyResult<Node> {
        let node = self.free.pop().unwrap_or_else(|| {
            self.nodes += 1;
            self.nodes - 1
        });
        if shared {
            let (size, memo) = ((self.memo.len(), self.memo.capacity()), &mut self.memo);
            turn::grow(self.py, size, 1, |more| memo.try_reserve(more).is_ok())?;
            turn::push(&mut self.alive, object.clone())?;
            self.memo.insert(address(object), node);
        }
        Ok(node)
    }

    /// Stores planned items, in as many operations as that takes, the first of them as item `first`.
    fn link(&self, scratch: &mut Scratch<'_>, parent: Node, first: usize, links: &[Link]) -> PyResult<()> {
        let mut done = 0;
        while done < links.len() {
            self.heap.get().run(self.py, |op| {
                let mut stored = 0;
                while let Some(link) = links.get(done).filter(|_| stored < OPERATION_MAX) {
                    link.store(op, scratch, parent, first + done)?;
                    link.note_placed();
                    stored += link.weight();
                    done += 1;
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}
