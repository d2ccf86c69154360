//! The heap's containers against the oracle's: one after a step, all of them after a collection.

use std::collections::{HashMap, HashSet};

use subduct_heap::object::{Kind, Ref, Value, dict, list, tuple};
use subduct_heap::{Handle, Interned, Op, Retry};

use super::machine::{Machine, Register};
use super::model::{Container, Dict, Held};
use super::program::REGISTERS;
use super::value::Plain;

/// Items up to which a container is compared whole after a step, and of which so many are looked at in a larger one.
const LOOKS: usize = 16;
/// Items compared in one operation.
const PER_OPERATION: usize = 128;

/// What can be said of a value without a new handle.
#[derive(Debug, PartialEq)]
pub(super) enum Seen {
    Plain(Plain),
    /// A container: its kind, and which registers hold the same one.
    Container(Kind, [bool; REGISTERS]),
}

/// Objects of the oracle that were met in the heap, and the handles to them.
#[derive(Default)]
struct Met {
    handles: HashMap<usize, Handle>,
    /// Of those, the ones to look into.
    waiting: Vec<usize>,
}

impl Machine<'_> {
    /// What a value is.
    pub(super) fn see(&self, op: &mut Op<'_>, value: Value) -> Result<Seen, Retry> {
        Ok(match container(op, value) {
            Some(object) => Seen::Container(
                op.header(object).kind(),
                self.registers.each_ref().map(|register| op.handle_get(register.handle) == object),
            ),
            None => Seen::Plain(Plain::read(op, value)?),
        })
    }

    /// What a value must be.
    pub(super) fn foresee(&self, held: &Held) -> Seen {
        match held {
            Held::Plain(plain) => Seen::Plain(plain.clone()),
            Held::Object(object) => Seen::Container(
                self.kind(*object),
                self.registers.each_ref().map(|register| register.object == *object),
            ),
        }
    }

    fn kind(&self, object: usize) -> Kind {
        match self.objects.get(object) {
            Container::Dict(_) => Kind::Dict,
            Container::List(_) => Kind::List,
            Container::Tuple(_) => Kind::Tuple,
        }
    }

    /// Compares a container, or a part of a large one, but not what it holds containers of.
    pub(super) fn compare_one(&self, register: Register) {
        let object = self.objects.get(register.object);
        let stride = object.len().div_ceil(LOOKS).max(1);
        let (len, kind) =
            self.run(|op| Ok((len(op, register.handle)?, op.header(op.handle_get(register.handle)).kind())));
        assert_eq!((len, kind), (object.len(), self.kind(register.object)));
        match object {
            Container::Dict(dict) => {
                dict.iter().step_by(stride).for_each(|(key, _)| self.compare_lookup(register, key));
            }
            Container::List(items) | Container::Tuple(items) => self.run(|op| {
                for (i, expected) in items.iter().enumerate().step_by(stride) {
                    let item = item(op, register.handle, i)?.expect("an item below the length");
                    assert_eq!(self.see(op, item)?, self.foresee(expected), "item {i} of {len}");
                }
                assert!(item(op, register.handle, len)?.is_none());
                Ok(())
            }),
        }
    }

    /// Looks a key up in both.
    pub(super) fn compare_lookup(&self, register: Register, key: &Plain) {
        let Container::Dict(dict) = self.objects.get(register.object) else { panic!("no dict") };
        let found = self.run(|op| {
            let value = dict::get(op, op.handle_get(register.handle), &key.key())?;
            value.map(|value| self.see(op, value)).transpose()
        });
        assert_eq!(found, dict.get(key).map(|value| self.foresee(value)), "{key:?}");
    }

    /// Compares the entries of a dict in order.
    pub(super) fn compare_order(&self, register: Register, backwards: bool) {
        let Container::Dict(dict) = self.objects.get(register.object) else { panic!("no dict") };
        let (len, _, used) = self.run(|op| dict::shape(op, op.handle_get(register.handle)));
        assert_eq!(len, dict.len());
        let mut position = if backwards { used } else { 0 };
        let mut expected = dict.iter();
        loop {
            let entry = self.run(|op| {
                let object = op.handle_get(register.handle);
                let step = if backwards { dict::previous } else { dict::next };
                let Some((next, key, value)) = step(op, object, position)? else { return Ok(None) };
                Ok(Some((next, Plain::read_key(op, key)?, self.see(op, value)?)))
            });
            let expected = if backwards { expected.next_back() } else { expected.next() };
            let found = entry.as_ref().map(|(_, key, value)| (key, value));
            let foreseen = expected.map(|(key, value)| (key, self.foresee(value)));
            assert_eq!(found, foreseen.as_ref().map(|(key, value)| (*key, value)));
            let Some((next, ..)) = entry else { break };
            position = next;
        }
    }

    /// Compares everything that the registers lead to, and which objects are the same.
    pub(super) fn compare_all(&self) {
        let mut met = Met::default();
        for register in &self.registers {
            let own = self.run(|op| op.handle_new(op.handle_get(register.handle)));
            if let Some(handle) = met.handles.get(&register.object) {
                assert!(self.run(|op| Ok(op.same(*handle, own))), "one object, met twice");
                self.heap.drop_handle(own);
            } else {
                met.handles.insert(register.object, own);
                met.waiting.push(register.object);
            }
        }
        while let Some(object) = met.waiting.pop() {
            let handle = met.handles[&object];
            match self.objects.get(object) {
                Container::Dict(dict) => self.compare_entries(handle, dict, &mut met),
                Container::List(items) | Container::Tuple(items) => self.compare_items(handle, items, &mut met),
            }
        }
        let places = self.run(|op| {
            Ok(met.handles.values().map(|handle| op.address(op.handle_get(*handle))).collect::<HashSet<_>>())
        });
        assert_eq!(places.len(), met.handles.len(), "different objects at different places");
        met.handles.values().for_each(|handle| self.heap.drop_handle(*handle));
    }

    fn compare_items(&self, handle: Handle, items: &[Held], met: &mut Met) {
        assert_eq!(self.run(|op| len(op, handle)), items.len());
        for (piece, expected) in items.chunks(PER_OPERATION).enumerate() {
            self.run(|op| {
                for (i, expected) in expected.iter().enumerate() {
                    let item = item(op, handle, piece * PER_OPERATION + i)?.expect("an item below the length");
                    self.meet(op, item, expected, met)?;
                }
                Ok(())
            });
        }
    }

    fn compare_entries(&self, handle: Handle, dict: &Dict, met: &mut Met) {
        assert_eq!(self.run(|op| len(op, handle)), dict.len());
        let expected: Vec<_> = dict.iter().collect();
        let mut reached = 0;
        for expected in expected.chunks(PER_OPERATION) {
            reached = self.run(|op| {
                let mut position = reached;
                for (expected_key, expected) in expected {
                    let entry = dict::next(op, op.handle_get(handle), position)?;
                    let (next, key, value) = entry.expect("as many entries as the dict says");
                    assert_eq!(Plain::read_key(op, key)?, *expected_key);
                    self.meet(op, value, expected, met)?;
                    let found = dict::get(op, op.handle_get(handle), &expected_key.key())?;
                    match expected_key.canonical() {
                        Some(_) => self.meet(op, found.expect("a key that is there"), expected, met)?,
                        None => assert!(found.is_none(), "nothing equals {expected_key:?}"),
                    }
                    position = next;
                }
                Ok(position)
            });
        }
        let end = self.run(|op| Ok(dict::next(op, op.handle_get(handle), reached)?.is_none()));
        assert!(end, "no more entries than the dict says");
    }

    /// Compares a value; a container that was not met before is looked into later.
    fn meet(&self, op: &mut Op<'_>, value: Value, expected: &Held, met: &mut Met) -> Result<(), Retry> {
        let Held::Object(expected) = expected else {
            assert_eq!(self.see(op, value)?, self.foresee(expected));
            return Ok(());
        };
        let object = container(op, value).expect("a container");
        assert_eq!(op.header(object).kind(), self.kind(*expected));
        match met.handles.get(expected) {
            Some(handle) => assert!(op.handle_get(*handle) == object, "one object, met twice"),
            None => {
                met.handles.insert(*expected, op.handle_new(object)?);
                met.waiting.push(*expected);
            }
        }
        Ok(())
    }

    /// Strings that live on because they may be stored again.
    pub(super) fn cached_strings(&self) -> u64 {
        let strings = self.run(|op| {
            let mut strings = HashSet::new();
            for which in [Interned::Keys, Interned::Values] {
                let cache = op.interner(which);
                let slots = 0..op.header(cache).slots();
                strings.extend(slots.filter_map(|slot| op.load(cache, slot).as_ref()));
            }
            Ok(strings)
        });
        strings.len() as u64
    }
}

/// The container that a value is, if it is one.
fn container(op: &Op<'_>, value: Value) -> Option<Ref> {
    value.as_ref().filter(|object| op.header(*object).kind().is_container())
}

fn len(op: &mut Op<'_>, handle: Handle) -> Result<usize, Retry> {
    let object = op.handle_get(handle);
    match op.header(object).kind() {
        Kind::Dict => dict::len(op, object),
        Kind::List => list::len(op, object),
        _ => Ok(tuple::len(op, object)),
    }
}

/// Item `i` of a list or tuple.
fn item(op: &mut Op<'_>, handle: Handle, i: usize) -> Result<Option<Value>, Retry> {
    let object = op.handle_get(handle);
    if op.header(object).kind() == Kind::List { list::get(op, object, i) } else { Ok(tuple::get(op, object, i)) }
}
