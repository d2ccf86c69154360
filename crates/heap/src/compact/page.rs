//! Making one page ready: fix its references in place, or build it from the objects that go there.
//!
//! Any page can be made ready by any thread, in any order, from the plan alone. These functions run in the SIGBUS
//! handler: they take no lock, allocate nothing and log nothing.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::compact::forwarding::Lookup;
use crate::compact::mover::Mover;
use crate::object::{Header, Ref, Value};
use crate::space::layout::{BLOCK_BYTES, bit_of, block_of};
use crate::space::{Base, PageId, RegionId, Role, Window};

/// Bytes that the processor fetches at once.
const LINE_BYTES: u64 = 64;
/// The words of an OS page of 4 KiB: what lies in a larger one comes in parts.
const SLOTS_TO_FIX_MAX: usize = 512;

/// What making a page ready took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Nothing: it points at nothing that moved.
    Clean,
    /// Its references were looked at and rewritten where needed.
    Fixed,
    /// Its objects were copied to it.
    Built,
}

impl Mover {
    /// Whether a page of a region with this role points at nothing that moved.
    #[must_use]
    pub fn is_clean(&self, role: Role, page: PageId) -> bool {
        matches!(role, Role::Small | Role::LargeHead | Role::LargeTail)
            && self.marks.signature(page) & self.source_signature() == 0
    }

    /// Makes the content of a page right, writing through `write`. The caller has claimed the page, or nobody else runs.
    pub fn make_ready(&self, page: PageId, write: Base) -> Work {
        let start = self.space.geometry().page_start(page);
        let region = self.space.regions.of(start);
        match region.role() {
            Role::Destination => {
                self.build(page, write);
                Work::Built
            }
            Role::Handles => {
                let mut slots = SlotsToFix::new(self, write, start);
                slots.look(start, start + self.space.geometry().page_bytes());
                slots.fix();
                Work::Fixed
            }
            role @ (Role::Small | Role::LargeHead | Role::LargeTail) if !self.is_clean(role, page) => {
                if region.role() == Role::Small {
                    self.fix_small(page, write);
                } else {
                    self.fix_large(page, region.head(), write);
                }
                Work::Fixed
            }
            // Sources are read, never mapped: see [inv.flip.to-space].
            Role::Small | Role::LargeHead | Role::LargeTail | Role::Source | Role::Reserved | Role::Free => Work::Clean,
        }
    }

    /// The header of the object at `object`.
    #[inline]
    #[must_use]
    pub fn header(&self, base: Base, object: Ref) -> Header {
        Header::from_bits(self.space.windows.word(base, object.offset()).load(Ordering::Acquire))
    }

    /// Fixes the references of all marked objects that have slots in the page. Objects that were made after the flip
    /// are not marked, and hold new references only.
    fn fix_small(&self, page: PageId, write: Base) {
        let start = self.space.geometry().page_start(page);
        let end = start + self.space.geometry().page_bytes();
        let mut slots = SlotsToFix::new(self, write, start);
        let mut next = match self.marks.reaching_into(page) {
            Some(object) => Some(object.offset()),
            None => self.marks.next_marked(start, end),
        };
        while let Some(object) = next {
            let header = self.header(write, Ref::at(object));
            let first = object + 8;
            slots.look(first.max(start), (first + header.slots() as u64 * 8).min(end));
            next = self.marks.next_marked(object + header.bytes(), end);
        }
        slots.fix();
    }

    /// Fixes the part of a large object's slots that lies in the page.
    fn fix_large(&self, page: PageId, head: RegionId, write: Base) {
        let start = self.space.geometry().page_start(page);
        let object = head.start();
        if !self.marks.is_marked(object) {
            return;
        }
        let header = self.header(write, Ref::at(object));
        let slots_end = object + 8 + header.slots() as u64 * 8;
        let mut slots = SlotsToFix::new(self, write, start);
        slots.look(start.max(object + 8), slots_end.min(start + self.space.geometry().page_bytes()));
        slots.fix();
    }

    /// Copies to a destination page the objects that the plan puts there, whole or in part, and fixes them.
    fn build(&self, page: PageId, write: Base) {
        let Some(built) = self.built_part(page) else { return };
        let window = self.space.geometry().window_of(built.start);
        let read = self.source_base(window, write);
        let (object, skip) = self.origin(page);
        self.copy_live_words((read, object.offset() + skip * 8), (write, built.start), built.end);
        if window == Window::Slots {
            self.fix_built((self.header(read, object), skip), write, built.start, built.end);
        }
    }

    /// The part of a destination page that the plan puts objects in.
    fn built_part(&self, page: PageId) -> Option<Range<u64>> {
        let geometry = self.space.geometry();
        let start = geometry.page_start(page);
        let destination = RegionId::of(start);
        let used_end = destination.start() + self.space.regions.get(destination).used_bytes();
        let end = (start + geometry.page_bytes()).min(used_end);
        (start < end).then_some(start..end)
    }

    /// Where the sources of a window are read.
    fn source_base(&self, window: Window, write: Base) -> Base {
        match window {
            Window::Slots => write,
            // The leaves window is not flipped: its sources are where they were.
            Window::Leaves => self.space.windows.view(),
        }
    }

    /// Asks for what making a page ready will read. The worker does so while it makes the page before ready; only a gain of
    /// time.
    pub fn ask_for(&self, page: PageId, role: Role, write: Base) {
        if role == Role::Destination {
            let Some(built) = self.built_part(page) else { return };
            let (object, skip) = self.origin(page);
            let read = self.source_base(self.space.geometry().window_of(built.start), write);
            self.ask_for_live_words(read, object.offset() + skip * 8, built.end - built.start);
        } else if !self.is_clean(role, page) {
            let start = self.space.geometry().page_start(page);
            for line in (start..start + self.space.geometry().page_bytes()).step_by(LINE_BYTES as usize) {
                self.space.windows.prefetch(write, line);
            }
        }
    }

    /// Copies live words, from `from` on and in the order of the plan, to `[to, end)`.
    fn copy_live_words(&self, (read, mut from): (Base, u64), (write, mut to): (Base, u64), end: u64) {
        let mut source = RegionId::of(from);
        self.ask_for_live_words(read, from, end - to);
        while to < end {
            if let Some(run) = self.marks.next_run(from, source.end(), end - to) {
                let bytes = run.end - run.start;
                self.space.windows.copy_words((read, run.start), (write, to), (bytes / 8) as usize);
                to += bytes;
                from = run.end;
            } else {
                let following = self.space.regions.get(source).head();
                assert!(
                    following > source,
                    "[inv.plan.origin] objects of {source:?} end before their destination page"
                );
                source = following;
                from = source.start();
                self.ask_for_live_words(read, from, end - to);
            }
        }
    }

    /// Asks for the lines that hold the next `bytes` of live words of a source: where little of it lives, they are far
    /// apart, and each would be waited for in turn.
    fn ask_for_live_words(&self, read: Base, from: u64, bytes: u64) {
        let first = block_of(from);
        let mut wanted = (bytes / 8) as u32 + bit_of(from);
        for block in first..block_of(RegionId::of(from).end()) {
            let live = self.marks.block(block);
            for line in 0..BLOCK_BYTES / LINE_BYTES {
                if (live >> (line * 8)) & 0xff != 0 {
                    self.space.windows.prefetch(read, block as u64 * BLOCK_BYTES + line * LINE_BYTES);
                }
            }
            let count = live.count_ones();
            if count >= wanted {
                return;
            }
            wanted -= count;
        }
    }

    /// Fixes the objects of a built page: the first has this header, and `skip` of its words lie before the page.
    fn fix_built(&self, (mut header, mut skip): (Header, u64), write: Base, start: u64, end: u64) {
        let mut slots = SlotsToFix::new(self, write, start);
        let mut at = start;
        loop {
            // Words [1, 1 + slots) of an object are slots; those from `skip` on are here.
            let first_slot = skip.max(1);
            let next = at + (header.words() as u64 - skip) * 8;
            let slots_end = 1 + header.slots() as u64;
            if first_slot < slots_end {
                slots.look(at + (first_slot - skip) * 8, (at + (slots_end - skip) * 8).min(end));
            }
            if next >= end {
                break;
            }
            (at, skip) = (next, 0);
            header = self.header(write, Ref::at(at));
        }
        slots.fix();
    }
}

/// The slots of a page that refer to objects that move. They are found first, which asks for their entries of the
/// forwarding table, and rewritten when all are on their way from memory: one after the other, each would be waited for.
struct SlotsToFix<'m> {
    lookup: Lookup<'m>,
    /// Where the page starts.
    start: u64,
    words: &'m [AtomicU64],
    /// Which words were found.
    found: [u16; SLOTS_TO_FIX_MAX],
    count: usize,
}

impl<'m> SlotsToFix<'m> {
    fn new(mover: &'m Mover, write: Base, start: u64) -> Self {
        let words = mover.space.windows.words(write, start, (mover.space.geometry().page_bytes() / 8) as usize);
        Self { lookup: mover.forwarding.lookup(), start, words, found: [0; SLOTS_TO_FIX_MAX], count: 0 }
    }

    /// Adds those of `[from, end)`.
    #[inline]
    fn look(&mut self, from: u64, end: u64) {
        if end <= from {
            return;
        }
        let (mut first, end) = ((from - self.start) as usize / 8, (end - self.start) as usize / 8);
        // At most as many at a time as the list can hold.
        while end - first > SLOTS_TO_FIX_MAX - self.count {
            let part_end = end.min(first + SLOTS_TO_FIX_MAX);
            self.fix();
            self.look_at_part(first, part_end);
            first = part_end;
        }
        self.look_at_part(first, end);
    }

    #[inline]
    fn look_at_part(&mut self, first: usize, end: usize) {
        // Apart from `self`, so that they stay in registers.
        let (lookup, mut count) = (self.lookup, self.count);
        for (slot, number) in self.words[first..end].iter().zip(first as u16..) {
            // Relaxed, here and below: only the claimer of the page touches its words until it is published.
            let value = Value::from_bits(slot.load(Ordering::Relaxed));
            if let Some(object) = value.as_ref()
                && lookup.is_moving(RegionId::of(object.offset()))
            {
                lookup.prefetch(object);
                self.found[count] = number;
                count += 1;
            }
        }
        self.count = count;
    }

    /// Rewrites those found.
    fn fix(&mut self) {
        let (lookup, words) = (self.lookup, self.words);
        for number in &self.found[..self.count] {
            let slot = &words[usize::from(*number)];
            let object = Ref::at(slot.load(Ordering::Relaxed));
            slot.store(Value::reference(lookup.forward(object)).bits(), Ordering::Relaxed);
        }
        self.count = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compact::forwarding::Forwarding;
    use crate::space::Geometry;

    /// Where OS pages have 64 KiB, one holds more slots than the list.
    #[test]
    fn all_slots_of_a_larger_page_are_fixed() {
        let geometry = Geometry::new(64 << 10, 1 << 30, 1 << 30);
        let forwarding = Forwarding::new(&geometry).unwrap();
        let (source, destination) = (RegionId(3), RegionId(7));
        let count = geometry.page_bytes() / 8;
        for block in block_of(source.start())..block_of(source.start() + count * 8) {
            forwarding.begin_block(block, u64::MAX);
        }
        let place = |region: RegionId, number| Ref::at(region.start() + number * 8);
        (0..count).for_each(|number| forwarding.record(place(source, number), place(destination, number)));
        forwarding.set_moving(source, true);
        let words: Vec<_> =
            (0..count).map(|number| AtomicU64::new(Value::reference(place(source, number)).bits())).collect();
        let page = RegionId(1).start();
        let mut slots = SlotsToFix {
            lookup: forwarding.lookup(),
            start: page,
            words: &words,
            found: [0; SLOTS_TO_FIX_MAX],
            count: 0,
        };
        slots.look(page, page + 80);
        slots.look(page + 80, page + count * 8);
        slots.fix();
        for (word, number) in words.iter().zip(0..) {
            assert_eq!(word.load(Ordering::Relaxed), Value::reference(place(destination, number)).bits());
        }
    }
}
