//! Comparing by value, with proxies and with Python's containers.
//!
//! `==` walks both sides with a work list of pairs still to compare, so depth overflows no stack. A pair that was met before is not
//! compared again: if it is not equal, that shows elsewhere. A pair inside itself is a cycle, of which the builtins say nothing but
//! RecursionError; so does a comparison that found nothing unequal apart from it.

use pyo3::exceptions::PyRecursionError;
use pyo3::prelude::*;
use pyo3::pyclass::CompareOp;
use pyo3::types::{PyDict, PyList, PyTuple};
use rustc_hash::FxHashMap;
use subduct_heap::Handle;
use subduct_heap::object::{Kind, Outgoing, dict};

use crate::held::{self, Held};
use crate::incoming;
use crate::keys::{self, KeyOut};
use crate::outgoing::{proxy, to_object};
use crate::scratch::{Node, Visited};
use crate::transfer;
use crate::turn::{self, Turn};
use crate::walk::{Child, Container, Cursor, Item, Progress, look_up};

/// Items compared at a time.
const PIECE: usize = 64;

/// `==` and `!=` of a proxy with anything; NotImplemented for other operators and for what is no such container.
pub fn equality<'py>(
    proxy: &Bound<'py, PyAny>,
    other: &Bound<'py, PyAny>,
    operator: CompareOp,
) -> PyResult<Bound<'py, PyAny>> {
    let py = proxy.py();
    let wants = match operator {
        CompareOp::Eq => true,
        CompareOp::Ne => false,
        _ => return Ok(py.NotImplemented().into_bound(py)),
    };
    match equal(proxy, other)? {
        Some(is_equal) => Ok((is_equal == wants).into_pyobject(py)?.to_owned().into_any()),
        None => Ok(py.NotImplemented().into_bound(py)),
    }
}

/// All comparisons of a List or Tuple with anything: lexicographic, NotImplemented for what is no such sequence.
pub fn order<'py>(
    proxy: &Bound<'py, PyAny>,
    other: &Bound<'py, PyAny>,
    operator: CompareOp,
) -> PyResult<Bound<'py, PyAny>> {
    let py = proxy.py();
    if matches!(operator, CompareOp::Eq | CompareOp::Ne) {
        return equality(proxy, other, operator);
    }
    if !is_comparable(proxy, other) {
        return Ok(py.NotImplemented().into_bound(py));
    }
    let mut turn = Turn::new();
    for i in 0..proxy.len()?.min(other.len()?) {
        turn.step(py)?;
        let (Ok(ours), Ok(theirs)) = (proxy.get_item(i), other.get_item(i)) else { break };
        if !ours.eq(&theirs)? {
            return ours.rich_compare(theirs, operator);
        }
    }
    proxy.len()?.into_pyobject(py)?.rich_compare(other.len()?, operator)
}

/// Whether `other` is a container of the same kind as a proxy, in a heap or Python's.
fn is_comparable(proxy: &Bound<'_, PyAny>, other: &Bound<'_, PyAny>) -> bool {
    let Some((kind, _)) = held::of_proxy(proxy) else { return false };
    match held::of_proxy(other) {
        Some((other, _)) => other == kind,
        None => match kind {
            Kind::Dict => other.is_instance_of::<PyDict>(),
            Kind::List => other.is_instance_of::<PyList>(),
            _ => other.is_instance_of::<PyTuple>(),
        },
    }
}

/// Whether a proxy equals another container of its kind; `None` for what is none.
fn equal<'py>(proxy: &Bound<'py, PyAny>, other: &Bound<'py, PyAny>) -> PyResult<Option<bool>> {
    let py = proxy.py();
    let Some((kind, ours)) = held::of_proxy(proxy).filter(|_| is_comparable(proxy, other)) else { return Ok(None) };
    let (mut walk, right) = match held::of_proxy(other) {
        Some((_, theirs)) if ours.is_same(py, theirs)? => return Ok(Some(true)),
        Some((_, theirs)) if ours.is_in(theirs.heap()) => {
            (Walk::new(py, ours, None, &[ours.handle(), theirs.handle()]), Side::Ours(1))
        }
        Some((_, theirs)) => (Walk::new(py, ours, Some(theirs), &[ours.handle()]), Side::Theirs(0)),
        None => (Walk::new(py, ours, None, &[ours.handle()]), Side::Python(other.clone())),
    };
    walk.push(kind, 0, right)?;
    let is_equal = walk.run()?;
    turn::drop_all(py, walk.alive)?;
    Ok(Some(is_equal))
}

/// The right side of a pair; the left one is always a container of our heap.
enum Side<'py> {
    /// A container of the same heap.
    Ours(Node),
    /// A container of the other heap.
    Theirs(Node),
    /// A container of Python, of the kind that is compared.
    Python(Bound<'py, PyAny>),
}

impl Side<'_> {
    fn identity(&self) -> Identity {
        match self {
            Side::Ours(node) => Identity::Ours(*node),
            Side::Theirs(node) => Identity::Theirs(*node),
            Side::Python(object) => Identity::Python(object.as_ptr().addr()),
        }
    }
}

/// Identity of a right side.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Identity {
    Ours(Node),
    Theirs(Node),
    Python(usize),
}

/// A pair to compare.
struct Pair<'py> {
    kind: Kind,
    left: Node,
    right: Side<'py>,
}

/// How far the comparison of a pair is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It is to be compared. The pair that it was found in, by its number.
    Found(usize),
    /// Its own items are compared, or what is in them.
    Open,
    /// It is equal, as far as it was not met before.
    Done,
}

/// What is still to do.
enum Task<'py> {
    Compare(Pair<'py>),
    /// All in this pair is compared.
    Leave(Node, Identity),
}

/// An item of the right side.
enum Right<'py> {
    Ours(Child),
    Theirs(Child),
    Python(Bound<'py, PyAny>),
}

/// One deep comparison.
struct Walk<'a, 'py> {
    py: Python<'py>,
    ours: &'a Held,
    theirs: Option<&'a Held>,
    our_nodes: Visited<'a>,
    their_nodes: Option<Visited<'a>>,
    met: FxHashMap<(Node, Identity), Stage>,
    /// Keeps Python containers that were met from being replaced by others at the same address.
    alive: Vec<Bound<'py, PyAny>>,
    tasks: Vec<Task<'py>>,
    /// How many pairs were opened.
    opened: usize,
    /// Whether a pair was found inside itself.
    has_cycle: bool,
    turn: Turn,
}

impl<'a, 'py> Walk<'a, 'py> {
    fn new(py: Python<'py>, ours: &'a Held, theirs: Option<&'a Held>, tops: &[Handle]) -> Self {
        Self {
            py,
            ours,
            theirs,
            our_nodes: Visited::new(ours.heap().get().core(), tops),
            their_nodes: theirs.map(|theirs| Visited::new(theirs.heap().get().core(), &[theirs.handle()])),
            met: FxHashMap::default(),
            alive: Vec::new(),
            tasks: Vec::new(),
            opened: 0,
            has_cycle: false,
            turn: Turn::new(),
        }
    }

    /// Adds a pair found in the one that was opened last, unless it was compared before.
    fn push(&mut self, kind: Kind, left: Node, right: Side<'py>) -> PyResult<()> {
        if matches!(right, Side::Ours(node) if node == left) {
            return Ok(());
        }
        let (size, met) = ((self.met.len(), self.met.capacity()), &mut self.met);
        turn::grow(self.py, size, 1, |more| met.try_reserve(more).is_ok())?;
        match self.met.insert((left, right.identity()), Stage::Found(self.opened)) {
            None => {
                if let Side::Python(object) = &right {
                    turn::push(&mut self.alive, object.clone())?;
                }
            }
            Some(Stage::Found(place)) if place == self.opened => return Ok(()),
            // Found further up, too; it is compared here first, lest a cycle through both places is taken for none.
            Some(Stage::Found(_)) => {}
            Some(stage) => {
                self.has_cycle |= stage == Stage::Open;
                self.met.insert((left, right.identity()), stage);
                return Ok(());
            }
        }
        turn::push(&mut self.tasks, Task::Compare(Pair { kind, left, right }))
    }

    fn run(&mut self) -> PyResult<bool> {
        while let Some(task) = self.tasks.pop() {
            let pair = match task {
                Task::Compare(pair) => pair,
                Task::Leave(left, right) => {
                    self.met.insert((left, right), Stage::Done);
                    continue;
                }
            };
            self.turn.pass(self.py)?;
            let identity = pair.right.identity();
            if self.met.insert((pair.left, identity), Stage::Open) == Some(Stage::Done) {
                self.met.insert((pair.left, identity), Stage::Done);
                continue;
            }
            self.opened += 1;
            turn::push(&mut self.tasks, Task::Leave(pair.left, identity))?;
            if !self.compare(&pair)? {
                return Ok(false);
            }
        }
        if self.has_cycle {
            return Err(PyRecursionError::new_err("maximum recursion depth exceeded in comparison"));
        }
        Ok(true)
    }

    /// Whether the items of a pair are equal, as far as they are no containers; those become pairs.
    fn compare(&mut self, pair: &Pair<'py>) -> PyResult<bool> {
        if self.len(pair.kind, pair.left)? != self.right_len(pair)? {
            return Ok(false);
        }
        let mut left = Cursor::new(pair.left, pair.kind);
        let mut right = match pair.right {
            Side::Ours(node) | Side::Theirs(node) => Some(Cursor::new(node, pair.kind)),
            Side::Python(_) => None,
        };
        let (mut items, mut done) = (Vec::new(), 0);
        loop {
            self.turn.pass(self.py)?;
            let heap = self.ours.heap().get();
            let progress = left.read(self.py, heap, &mut self.our_nodes, PIECE, &mut items)?;
            if progress == Progress::Restart {
                items.clear();
                continue;
            }
            let count = items.len();
            let rights = match (pair.kind, right.as_mut()) {
                (Kind::Dict, _) => None,
                (_, Some(cursor)) => Some(self.read_right(pair, cursor, count)?),
                (_, None) => Some(python_items(pair, done, count)?),
            };
            let mut rights = rights.map(Vec::into_iter);
            for Item { key, child } in items.drain(..) {
                let right = match (&mut rights, key) {
                    (Some(rights), _) => rights.next(),
                    (None, Some(key)) => self.value_of(pair, key)?,
                    (None, None) => None,
                };
                let Some(right) = right else { return Ok(false) };
                if !self.items_equal(child, right)? {
                    return Ok(false);
                }
            }
            done += count;
            if progress == Progress::End {
                return Ok(true);
            }
        }
    }

    fn len(&mut self, kind: Kind, node: Node) -> PyResult<usize> {
        length(self.py, self.ours, &mut self.our_nodes, kind, node)
    }

    fn right_len(&mut self, pair: &Pair<'py>) -> PyResult<usize> {
        match (&pair.right, self.theirs, &mut self.their_nodes) {
            (Side::Ours(node), _, _) => length(self.py, self.ours, &mut self.our_nodes, pair.kind, *node),
            (Side::Theirs(node), Some(theirs), Some(nodes)) => length(self.py, theirs, nodes, pair.kind, *node),
            (Side::Theirs(_), _, _) => unreachable!("there is no other heap"),
            (Side::Python(object), _, _) => object.len(),
        }
    }

    /// The next `count` items of a right side in a heap, less where it has fewer.
    fn read_right(&mut self, pair: &Pair<'py>, cursor: &mut Cursor, count: usize) -> PyResult<Vec<Right<'py>>> {
        let mut items = turn::with_room(count)?;
        let is_theirs = matches!(pair.right, Side::Theirs(_));
        match (is_theirs, self.theirs, &mut self.their_nodes) {
            (true, Some(theirs), Some(nodes)) => {
                cursor.read(self.py, theirs.heap().get(), nodes, count, &mut items)?;
                turn::gathered(items.into_iter().map(|item| Ok(Right::Theirs(item.child))))
            }
            _ => {
                cursor.read(self.py, self.ours.heap().get(), &mut self.our_nodes, count, &mut items)?;
                turn::gathered(items.into_iter().map(|item| Ok(Right::Ours(item.child))))
            }
        }
    }

    /// The value of `key` on the right side of a pair of dicts.
    fn value_of(&mut self, pair: &Pair<'py>, key: KeyOut) -> PyResult<Option<Right<'py>>> {
        match (&pair.right, self.theirs, &mut self.their_nodes) {
            (Side::Ours(node), _, _) => {
                let heap = self.ours.heap().get();
                Ok(look_up(self.py, heap, &mut self.our_nodes, *node, &keys::given(key.key())?)?.map(Right::Ours))
            }
            (Side::Theirs(node), Some(theirs), Some(nodes)) => {
                Ok(look_up(self.py, theirs.heap().get(), nodes, *node, &keys::given(key.key())?)?.map(Right::Theirs))
            }
            (Side::Theirs(_), _, _) => unreachable!("there is no other heap"),
            (Side::Python(object), _, _) => {
                let key = key.into_object(self.py, self.ours.heap())?;
                Ok(object.cast::<PyDict>()?.get_item(key)?.map(Right::Python))
            }
        }
    }

    /// Whether two items are equal, as far as that can be said at once.
    fn items_equal(&mut self, left: Child, right: Right<'py>) -> PyResult<bool> {
        match (left, right) {
            (Child::Scalar(left), Right::Ours(Child::Scalar(right)) | Right::Theirs(Child::Scalar(right))) => {
                scalars_equal(self.py, self.ours, left, right)
            }
            (Child::Scalar(left), Right::Python(right)) => to_object(self.py, self.ours.heap(), left)?.eq(right),
            (Child::Container(left), Right::Ours(Child::Container(right))) => {
                self.same_kind(left, right.kind, Side::Ours(right.node))
            }
            (Child::Container(left), Right::Theirs(Child::Container(right))) => {
                self.same_kind(left, right.kind, Side::Theirs(right.node))
            }
            (Child::Container(left), Right::Python(right)) => match incoming::container(&right) {
                Some(source) => self.same_kind(left, source.kind(), Side::Python(right)),
                None => self.proxy_equals(left, &right),
            },
            (Child::Long(_), _) | (_, Right::Ours(Child::Long(_)) | Right::Theirs(Child::Long(_))) => {
                unreachable!("what is compared is copied")
            }
            (_, Right::Ours(_) | Right::Theirs(_)) => Ok(false),
        }
    }

    /// Whether containers are of the same kind; the rest is a pair more.
    fn same_kind(&mut self, left: Container, kind: Kind, right: Side<'py>) -> PyResult<bool> {
        if left.kind == kind {
            self.push(kind, left.node, right)?;
        }
        Ok(left.kind == kind)
    }

    /// Lets Python compare a container with an object that is no builtin container: it may equal whatever it likes.
    fn proxy_equals(&mut self, left: Container, right: &Bound<'py, PyAny>) -> PyResult<bool> {
        let nodes = &self.our_nodes;
        let held = Held::make(self.py, self.ours.heap(), |op| nodes.get(op, left.node))?;
        proxy(self.py, left.kind, held)?.eq(right)
    }
}

fn length(py: Python<'_>, held: &Held, nodes: &mut Visited<'_>, kind: Kind, node: Node) -> PyResult<usize> {
    held.heap().get().run(py, |op| {
        let object = nodes.get(op, node)?;
        if kind == Kind::Dict { dict::len(op, object) } else { transfer::length(op, object) }
    })
}

/// Items of a right side that is Python's, from `first` on.
fn python_items<'py>(pair: &Pair<'py>, first: usize, count: usize) -> PyResult<Vec<Right<'py>>> {
    let Side::Python(object) = &pair.right else { return Ok(Vec::new()) };
    let item = |i: usize| match (object.cast::<PyList>(), object.cast::<PyTuple>()) {
        (Ok(list), _) => list.get_item(i).ok(),
        (_, Ok(tuple)) => tuple.get_item(i).ok(),
        _ => None,
    };
    turn::gathered((first..first + count).map_while(item).map(|item| Ok(Right::Python(item))))
}

fn scalars_equal(py: Python<'_>, held: &Held, left: Outgoing, right: Outgoing) -> PyResult<bool> {
    match (&left, &right) {
        (Outgoing::None, Outgoing::None) => Ok(true),
        (Outgoing::Int(left), Outgoing::Int(right)) => Ok(left == right),
        (Outgoing::Str(left), Outgoing::Str(right)) | (Outgoing::Bytes(left), Outgoing::Bytes(right)) => {
            Ok(left == right)
        }
        _ => to_object(py, held.heap(), left)?.eq(to_object(py, held.heap(), right)?),
    }
}
