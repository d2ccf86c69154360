//! Making one page ready: fix its references in place, or build it from the objects that go there.
//!
//! Any page can be made ready by any thread, in any order, from the plan alone. These functions run in the SIGBUS
//! handler: they take no lock, allocate nothing and log nothing.

use std::sync::atomic::Ordering;

use crate::compact::mover::Mover;
use crate::object::{Header, Ref, Value};
use crate::space::{Base, PageId, RegionId, Role, Window};

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
                self.fix_words(write, start, start + self.space.geometry().page_bytes());
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
        let mut next = match self.marks.reaching_into(page) {
            Some(object) => Some(object.offset()),
            None => self.marks.next_marked(start, end),
        };
        while let Some(object) = next {
            let header = self.header(write, Ref::at(object));
            let slots = object + 8;
            self.fix_words(write, slots.max(start), (slots + header.slots() as u64 * 8).min(end));
            next = self.marks.next_marked(object + header.bytes(), end);
        }
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
        self.fix_words(write, start.max(object + 8), slots_end.min(start + self.space.geometry().page_bytes()));
    }

    /// Rewrites the slots in `[start, end)` that refer to objects that moved. A first pass asks for the table entries,
    /// so that the second does not wait for each in turn.
    #[inline]
    fn fix_words(&self, write: Base, start: u64, end: u64) {
        // Relaxed: only the claimer of the page touches these words until it is published.
        let load = |offset| Value::from_bits(self.space.windows.word(write, offset).load(Ordering::Relaxed));
        let moving =
            |value: Value| value.as_ref().filter(|object| self.forwarding.is_moving(RegionId::of(object.offset())));
        let mut any = false;
        for offset in (start..end).step_by(8) {
            if let Some(object) = moving(load(offset)) {
                self.forwarding.prefetch(object);
                any = true;
            }
        }
        if !any {
            return;
        }
        for offset in (start..end).step_by(8) {
            if let Some(object) = moving(load(offset)) {
                let to = Value::reference(self.forwarding.forward(object));
                self.space.windows.word(write, offset).store(to.bits(), Ordering::Relaxed);
            }
        }
    }

    /// Copies to a destination page the objects that the plan puts there, whole or in part, and fixes them.
    fn build(&self, page: PageId, write: Base) {
        let geometry = self.space.geometry();
        let start = geometry.page_start(page);
        let destination = RegionId::of(start);
        let used_end = destination.start() + self.space.regions.get(destination).used_bytes();
        let end = (start + geometry.page_bytes()).min(used_end);
        if start >= end {
            return;
        }
        let read = match geometry.window_of(start) {
            Window::Slots => write,
            // The leaves window is not flipped: its sources are where they were.
            Window::Leaves => self.space.windows.view(),
        };
        let (mut object, mut skip) = self.origin(page);
        let mut at = start;
        loop {
            let header = self.header(read, object);
            let words = (header.words() as u64 - skip).min((end - at) / 8);
            self.space.windows.copy_words((read, object.offset() + skip * 8), (write, at), words as usize);
            // Words [1, 1 + slots) of the object are slots; words [skip, skip + words) of it are here.
            let first_slot = skip.max(1);
            let last_slot = (1 + header.slots() as u64).min(skip + words);
            if first_slot < last_slot {
                self.fix_words(write, at + (first_slot - skip) * 8, at + (last_slot - skip) * 8);
            }
            at += words * 8;
            if at >= end {
                return;
            }
            skip = 0;
            object = self.object_after(object, header);
        }
    }

    /// The marked object behind one of a source, in this source or the following.
    fn object_after(&self, object: Ref, header: Header) -> Ref {
        let mut source = RegionId::of(object.offset());
        let mut from = object.offset() + header.bytes();
        loop {
            if let Some(next) = self.marks.next_marked(from, source.end()) {
                return Ref::at(next);
            }
            let following = self.space.regions.get(source).head();
            assert!(following > source, "[inv.plan.origin] objects of {source:?} end before their destination page");
            source = following;
            from = source.start();
        }
    }
}
