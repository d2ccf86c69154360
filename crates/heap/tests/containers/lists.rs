//! Steps on lists.

use subduct_heap::object::list;

use super::machine::{Machine, Register};
use super::model::{Container, Held};
use super::program::ListStep;

impl Machine<'_> {
    pub(super) fn list_step(&mut self, list: Register, step: &ListStep) {
        let Register { handle, object } = list;
        let len = self.objects.list(object).len();
        match step {
            ListStep::Push { item } => {
                let scalar = self.scalar(item);
                if self.try_run(|op| list::push(op, op.handle_get(handle), &scalar)).is_some() {
                    let held = self.held(item);
                    self.objects.list(object).push(held);
                }
            }
            ListStep::Set { at, item } => {
                let (at, scalar) = (at % (len + 1), self.scalar(item));
                if let Some(found) = self.try_run(|op| list::set(op, op.handle_get(handle), at, &scalar)) {
                    assert_eq!(found, at < len);
                    let held = self.held(item);
                    self.objects.list(object).get_mut(at).map(|item| std::mem::replace(item, held));
                }
            }
            ListStep::Insert { at, item } => {
                let scalar = self.scalar(item);
                if self.try_run(|op| list::insert(op, op.handle_get(handle), *at, &scalar)).is_some() {
                    let held = self.held(item);
                    self.objects.list(object).insert(len.min(*at), held);
                }
            }
            ListStep::Remove { at } => {
                let at = at % (len + 1);
                let removed = self.run(|op| {
                    let old = list::remove(op, op.handle_get(handle), at)?;
                    old.map(|old| self.see(op, old)).transpose()
                });
                let expected = (at < len).then(|| self.objects.list(object).remove(at));
                assert_eq!(removed, expected.map(|old| self.foresee(&old)), "item {at} of {len}");
            }
            ListStep::Truncate { len } => {
                self.run(|op| list::truncate(op, op.handle_get(handle), *len));
                self.objects.list(object).truncate(*len);
            }
            ListStep::Clear => {
                self.run(|op| list::clear(op, op.handle_get(handle)));
                self.objects.list(object).clear();
            }
            ListStep::Reverse => {
                self.run(|op| list::reverse(op, op.handle_get(handle)));
                self.objects.list(object).reverse();
            }
            ListStep::Copy { start, step, count, to } => self.copy_list(list, (*start, *step, *count), *to),
            ListStep::Splice { start, deleted, items, repeat } => {
                let Some((scalars, held)) = self.repeat(items, *repeat) else { return };
                let done = self.try_run(|op| list::splice(op, op.handle_get(handle), *start, *deleted, &scalars));
                if done.is_some() {
                    self.splice_model(object, *start, *deleted, held);
                }
            }
            ListStep::SpliceFrom { start, deleted, from, count } => {
                self.splice_from(list, (*start, *deleted), *from, *count);
            }
        }
    }

    fn copy_list(&mut self, list: Register, (start, step, count): (usize, isize, usize), to: usize) {
        if !self.afford(count) {
            return;
        }
        let items = self.objects.list(list.object);
        let indexes = std::iter::successors(Some(start), |index| index.checked_add_signed(step));
        let copy = indexes.map_while(|index| items.get(index).cloned()).take(count).collect();
        self.make(to, Container::List(copy), |op| list::copy(op, op.handle_get(list.handle), start, step, count));
    }

    fn splice_from(&mut self, list: Register, (start, deleted): (usize, usize), from: usize, count: usize) {
        let Some(from) = self.find(from, |container| !matches!(container, Container::Dict(_))) else { return };
        let from = self.registers[from];
        if !self.afford(count) {
            return;
        }
        let (Container::List(items) | Container::Tuple(items)) = self.objects.get(from.object) else { return };
        let held = items.iter().take(count).cloned().collect();
        let done =
            self.try_run(|op| list::splice_from(op, op.handle_get(list.handle), start, deleted, from.handle, count));
        if done.is_some() {
            self.splice_model(list.object, start, deleted, held);
        }
    }

    fn splice_model(&mut self, object: usize, start: usize, deleted: usize, new: Vec<Held>) {
        let items = self.objects.list(object);
        let start = start.min(items.len());
        let end = (start + deleted).min(items.len());
        items.splice(start..end, new);
    }
}
