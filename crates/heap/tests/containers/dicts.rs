//! Steps on dicts.

use subduct_heap::object::dict;

use super::machine::{Machine, Register};
use super::model::{Container, Dict};
use super::program::{DictStep, Item};
use super::value::Plain;

impl Machine<'_> {
    pub(super) fn dict_step(&mut self, dict: Register, step: &DictStep) {
        let Register { handle, object } = dict;
        match step {
            DictStep::Insert { key, item } => {
                self.insert(dict, key, item);
            }
            DictStep::GetOrInsert { key, item } => {
                let scalar = self.scalar(item);
                let found =
                    self.try_run(|op| dict::get_or_insert(op, op.handle_get(handle), &key.key(), &scalar).map(drop));
                if found.is_some() && self.objects.dict(object).get(key).is_none() {
                    let held = self.held(item);
                    self.objects.dict(object).insert(key, held);
                }
            }
            DictStep::Get { key } => self.compare_lookup(dict, key),
            DictStep::Remove { key } => self.remove(dict, key),
            DictStep::RemoveAt { at } => {
                let at = at % self.objects.get(object).len().max(1);
                let entry = self.objects.dict(object).iter().nth(at).cloned();
                if let Some((key, _)) = entry {
                    self.remove(dict, &key);
                }
            }
            DictStep::PopLast => {
                let found = self.run(|op| {
                    let Some((key, value)) = dict::pop_last(op, op.handle_get(handle))? else { return Ok(None) };
                    Ok(Some((Plain::read_key(op, key)?, self.see(op, value)?)))
                });
                let expected = self.objects.dict(object).pop_last();
                assert_eq!(found, expected.map(|(key, value)| (key, self.foresee(&value))));
            }
            DictStep::Clear => {
                self.run(|op| dict::clear(op, op.handle_get(handle)));
                *self.objects.dict(object) = Dict::default();
            }
            DictStep::Copy { to } => {
                let copy = self.objects.dict(object).clone();
                if self.afford(copy.len()) {
                    self.make(*to, Container::Dict(copy), |op| dict::copy(op, op.handle_get(handle)));
                }
            }
            DictStep::Iterate { backwards } => self.compare_order(dict, *backwards),
            DictStep::Fill { first, count, form } => {
                let value = |number| Item::Plain(Plain::Int(number as i64));
                // A full heap refuses the rest, too.
                for number in *first..*first + *count {
                    if !self.afford(1) || !self.insert(dict, &form.key(number), &value(number)) {
                        break;
                    }
                }
            }
            DictStep::Drain { first, count, form } => {
                if self.afford(*count) {
                    (*first..*first + *count).for_each(|number| self.remove(dict, &form.key(number)));
                }
            }
        }
    }

    /// Whether there was room for it.
    fn insert(&mut self, dict: Register, key: &Plain, item: &Item) -> bool {
        let (given, scalar) = (key.key(), self.scalar(item));
        let replaced = self.try_run(|op| {
            let old = dict::insert(op, op.handle_get(dict.handle), &given, &scalar)?;
            old.map(|old| self.see(op, old)).transpose()
        });
        let Some(replaced) = replaced else { return false };
        let held = self.held(item);
        let expected = self.objects.dict(dict.object).insert(key, held);
        assert_eq!(replaced, expected.map(|old| self.foresee(&old)), "what {key:?} had");
        true
    }

    fn remove(&mut self, dict: Register, key: &Plain) {
        let removed = self.run(|op| {
            let old = dict::remove(op, op.handle_get(dict.handle), &key.key())?;
            old.map(|old| self.see(op, old)).transpose()
        });
        let expected = self.objects.dict(dict.object).remove(key);
        assert_eq!(removed, expected.map(|old| self.foresee(&old)), "what {key:?} had");
    }
}
