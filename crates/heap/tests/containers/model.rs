//! The oracle: containers as std's collections have them, by number, so that cycles and shared objects cost nothing.

use std::collections::{BTreeMap, HashMap};

use super::value::{Canonical, Plain};

/// What a container holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    Plain(Plain),
    /// An object's number.
    Object(usize),
}

/// An object.
#[derive(Clone, Debug)]
pub enum Container {
    Dict(Dict),
    List(Vec<Held>),
    Tuple(Vec<Held>),
}

impl Container {
    /// Number of entries or items.
    pub fn len(&self) -> usize {
        match self {
            Self::Dict(dict) => dict.len(),
            Self::List(items) | Self::Tuple(items) => items.len(),
        }
    }
}

/// A dict: entries in insertion order, found by what their keys are equal to.
#[derive(Clone, Debug, Default)]
pub struct Dict {
    entries: BTreeMap<u64, (Plain, Held)>,
    places: HashMap<Canonical, u64>,
    inserted: u64,
}

impl Dict {
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn get(&self, key: &Plain) -> Option<&Held> {
        let place = self.places.get(&key.canonical()?)?;
        self.entries.get(place).map(|(_, value)| value)
    }

    /// Returns the old value. An equal key that is there keeps its place and its form.
    pub fn insert(&mut self, key: &Plain, value: Held) -> Option<Held> {
        let canonical = key.canonical();
        if let Some(place) = canonical.as_ref().and_then(|canonical| self.places.get(canonical)) {
            let (_, old) = self.entries.get_mut(place).expect("places lead to entries");
            return Some(std::mem::replace(old, value));
        }
        self.inserted += 1;
        self.places.extend(canonical.map(|canonical| (canonical, self.inserted)));
        self.entries.insert(self.inserted, (key.stored(), value));
        None
    }

    pub fn remove(&mut self, key: &Plain) -> Option<Held> {
        let place = self.places.remove(&key.canonical()?)?;
        self.entries.remove(&place).map(|(_, value)| value)
    }

    pub fn pop_last(&mut self) -> Option<(Plain, Held)> {
        let (_, (key, value)) = self.entries.pop_last()?;
        key.canonical().map(|canonical| self.places.remove(&canonical));
        Some((key, value))
    }

    /// Entries in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &(Plain, Held)> {
        self.entries.values()
    }
}

/// All objects that were ever made.
#[derive(Debug, Default)]
pub struct Objects(Vec<Container>);

impl Objects {
    pub fn add(&mut self, container: Container) -> usize {
        self.0.push(container);
        self.0.len() - 1
    }

    pub fn get(&self, object: usize) -> &Container {
        &self.0[object]
    }

    pub fn dict(&mut self, object: usize) -> &mut Dict {
        match &mut self.0[object] {
            Container::Dict(dict) => dict,
            other => panic!("no dict: {other:?}"),
        }
    }

    pub fn list(&mut self, object: usize) -> &mut Vec<Held> {
        match &mut self.0[object] {
            Container::List(items) => items,
            other => panic!("no list: {other:?}"),
        }
    }

    /// Item or value number `at`.
    pub fn held(&self, object: usize, at: usize) -> Option<&Held> {
        match self.get(object) {
            Container::Dict(dict) => dict.iter().nth(at).map(|(_, value)| value),
            Container::List(items) | Container::Tuple(items) => items.get(at),
        }
    }
}
