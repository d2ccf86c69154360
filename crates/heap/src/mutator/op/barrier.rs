//! What an operation changes, and the write barrier: the collector hears of what is overwritten, and of what refers to what.

use std::sync::atomic::Ordering;

use super::Op;
use crate::object::{Ref, Value};
use crate::shared::{BARRIER_LOG, BARRIER_RELEASE, BARRIER_TRACK};
use crate::space::layout::LARGE_BYTES;

impl Op<'_> {
    /// Changes a slot.
    #[inline]
    pub fn store(&mut self, object: Ref, slot: usize, value: Value) {
        let offset = self.slot(object, slot);
        self.store_at(offset, value);
    }

    #[inline]
    pub(super) fn store_at(&mut self, offset: u64, value: Value) {
        if self.barrier != 0 {
            self.note_release(offset, value);
            self.before_store(offset, value);
        }
        self.store_word(offset, value.bits());
    }

    /// As [`Op::store_at`], where what is overwritten is no loss to any user: handles, for one.
    #[inline]
    pub(super) fn store_uncounted_at(&mut self, offset: u64, value: Value) {
        if self.barrier != 0 {
            self.before_store(offset, value);
        }
        self.store_word(offset, value.bits());
    }

    /// As [`Op::store`], where what is overwritten is held elsewhere, or was only kept in case that it is needed.
    pub fn store_uncounted(&mut self, object: Ref, slot: usize, value: Value) {
        let offset = self.slot(object, slot);
        self.store_uncounted_at(offset, value);
    }

    /// As [`Op::store`], where what is overwritten is a table that nobody else holds, and was copied to the new one: it is garbage, and
    /// nothing else is with it.
    pub fn store_copied(&mut self, container: Ref, slot: usize, table: Value) {
        let old = self.load(container, slot);
        if self.barrier & BARRIER_RELEASE != 0
            && old != table
            && let Some(old) = old.as_ref()
        {
            let bytes = self.header(old).bytes();
            let geometry = self.shared.mover.space.geometry();
            self.shared.note_garbage(if bytes > LARGE_BYTES { geometry.round_to_pages(bytes) } else { bytes });
        }
        self.store_uncounted(container, slot, table);
    }

    #[cold]
    fn note_release(&mut self, offset: u64, value: Value) {
        if self.barrier & BARRIER_RELEASE != 0 {
            let old = Value::from_bits(self.load_word(offset));
            if old != value && old.as_ref().is_some() {
                self.shared.fullness.note_release();
            }
        }
    }

    /// The write barrier: keeps the snapshot whole, and the page signatures true.
    #[cold]
    fn before_store(&mut self, offset: u64, value: Value) {
        if self.barrier & BARRIER_LOG != 0 {
            self.log(Value::from_bits(self.load_word(offset)));
        }
        if self.barrier & BARRIER_TRACK != 0
            && let Some(target) = value.as_ref()
        {
            self.shared.mover.marks.note_reference(offset, target);
        }
    }

    fn log(&mut self, value: Value) {
        let Some(object) = value.as_ref() else { return };
        let marks = &self.shared.mover.marks;
        if !marks.is_marked(object.offset()) && !self.shared.logs.push(&mut self.local.log, value) {
            let header = self.header(object);
            self.local.born += u64::from(marks.mark(&self.shared.mover.space.regions, object, header));
            // Relaxed: the marker looks in the rendezvous that would end marking.
            self.shared.marked_unscanned.store(true, Ordering::Relaxed);
        }
    }

    /// Moves `count` slots within an object, to where others may be overwritten: `memmove` with the barrier.
    pub fn move_slots(&mut self, object: Ref, from: usize, to: usize, count: usize) {
        let mut step = |i: usize| {
            let value = self.load(object, from + i);
            self.store(object, to + i, value);
        };
        if to <= from { (0..count).for_each(&mut step) } else { (0..count).rev().for_each(&mut step) }
    }

    /// Copies slots into an object of this operation whose slots there are still empty.
    pub fn copy_slots(&mut self, source: Ref, from: usize, destination: Ref, to: usize, count: usize) {
        for i in 0..count {
            let value = self.load(source, from + i);
            self.store(destination, to + i, value);
        }
    }

    /// Empties slots.
    pub fn clear_slots(&mut self, object: Ref, from: usize, count: usize) {
        for slot in from..from + count {
            self.store(object, slot, Value::EMPTY);
        }
    }
}
