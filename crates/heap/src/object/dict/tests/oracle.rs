//! A naive dict to compare with, and keys of which it knows which are equal.

use std::collections::{BTreeMap, HashMap};

use rand::Rng;
use rand::rngs::StdRng;

use crate::object::testing::Plain;

/// A dict as Python has it: keys by class of equal ones, in order of insertion.
#[derive(Default, Clone)]
pub(super) struct Oracle {
    places: HashMap<usize, u64>,
    pub(super) entries: BTreeMap<u64, (usize, Plain, Plain)>,
    inserted: u64,
}

impl Oracle {
    pub(super) fn get(&self, class: usize) -> Option<Plain> {
        self.places.get(&class).map(|place| self.entries[place].2.clone())
    }

    pub(super) fn insert(&mut self, class: usize, key: Plain, value: Plain) -> Option<Plain> {
        if let Some(place) = self.places.get(&class) {
            let entry = self.entries.get_mut(place).unwrap();
            return Some(std::mem::replace(&mut entry.2, value));
        }
        self.inserted += 1;
        self.places.insert(class, self.inserted);
        self.entries.insert(self.inserted, (class, key, value));
        None
    }

    pub(super) fn remove(&mut self, class: usize) -> Option<Plain> {
        let place = self.places.remove(&class)?;
        self.entries.remove(&place).map(|(_, _, value)| value)
    }

    pub(super) fn pop_last(&mut self) -> Option<(Plain, Plain)> {
        let (_, (class, key, value)) = self.entries.pop_last()?;
        self.places.remove(&class);
        Some((key, value))
    }

    pub(super) fn items(&self) -> Vec<(Plain, Plain)> {
        self.entries.values().map(|(_, key, value)| (key.clone(), value.clone())).collect()
    }
}

/// A key of a class, in one of the forms that are equal to each other and to no key of another class.
pub(super) fn key_of_class(class: usize, random: &mut StdRng) -> Plain {
    let n = (class / 8) as i128;
    let int_or_float = |value: i128, random: &mut StdRng| {
        if random.random() { Plain::int(value) } else { Plain::float(value as f64) }
    };
    match class % 8 {
        0 if n < 2 && random.random() => Plain::Bool(n == 1),
        0 if n == 0 && random.random() => Plain::float(-0.0),
        0 => int_or_float(n, random),
        // Above 2**53, where only even ints have a float.
        1 if n % 2 == 1 => Plain::int((1 << 53) + n),
        1 => int_or_float((1 << 53) + n, random),
        // Ints that need a leaf: of 64 bits, and of more.
        2 => int_or_float(-(1 << 62) + (n << 10), random),
        3 => int_or_float((1 << 70) + (n << 20), random),
        4 => Plain::Str(text(n)),
        5 => Plain::Bytes(text(n)),
        6 if n == 0 => Plain::None,
        6 => Plain::float(n as f64 + 0.5),
        _ => Plain::Tuple(vec![
            Plain::Tuple(vec![int_or_float(n % 3, random)]),
            Plain::Str(text(n / 3)),
            int_or_float(1 << 65, random),
        ]),
    }
}

/// Short ones, interned ones, and long ones.
fn text(n: i128) -> Vec<u8> {
    let text = match n % 3 {
        0 => format!("k{n}"),
        1 => format!("a_name_of_a_field_{n}"),
        _ => format!("{n:0>70}"),
    };
    text.into_bytes()
}

/// Any value but a container.
pub(super) fn some_value(random: &mut StdRng) -> Plain {
    match random.random_range(0..6) {
        0 => Plain::int(i128::from(random.random::<i64>())),
        1 => Plain::float(random.random()),
        2 => Plain::Str(text(random.random_range(0..1000))),
        3 => Plain::Bytes(text(random.random_range(0..1000))),
        4 => Plain::None,
        _ => Plain::Int(random.random_range(0..1000)),
    }
}
