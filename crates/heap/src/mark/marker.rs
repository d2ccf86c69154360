//! The concurrent marker: snapshot at the beginning.
//!
//! Everything that was reachable when marking began is marked, whatever mutators do meanwhile: a mutator that
//! overwrites a slot hands over the reference that was in it (the *log*), and objects made meanwhile are born marked.
//! Marking reads the view, which is an ordinary mapping at that time, and never waits for a mutator.
//!
//! Where there is no memory for the worklist, an object is marked but not scanned. The marker then looks at all marked objects
//! again ([`Marker::scan_marked`]), as often as it takes: each time it marks something new.

use std::ops::Range;
use std::sync::atomic::{Ordering, fence};

use crate::mark::Marks;
use crate::object::{Header, Ref, Value};
use crate::space::{Space, Window};

/// Slots of an object that are scanned before others get a turn, so that one huge list does not fill the worklist.
const SCAN_SLOTS: usize = 1024;
/// Steps between two looks at whether others need the processor more.
const STEPS: u32 = 1024;
/// References between being found and being looked up in the bitmap, and objects between that and being marked: long enough
/// for the words of the bitmap, and then the headers, to come from memory.
const PREFETCH: usize = 16;

/// The part of an object that is still to be scanned.
#[derive(Clone, Copy)]
struct Task {
    object: Ref,
    slot: usize,
}

/// One marking.
pub struct Marker<'h> {
    space: &'h Space,
    marks: &'h Marks,
    worklist: Vec<Task>,
    /// Found; the words of the bitmap are on their way.
    found: Latest,
    /// Not marked when they left `found`; the headers are on their way. Most references lead to what is marked already, and
    /// cost no look at the object.
    unmarked: Latest,
    objects: u64,
    /// Whether an object was marked that is neither scanned nor on the worklist.
    has_unscanned: bool,
}

/// The latest references, each of which leaves when [`PREFETCH`] others have come.
struct Latest {
    references: [Option<Ref>; PREFETCH],
    turn: usize,
}

impl Latest {
    fn empty() -> Self {
        Self { references: [None; PREFETCH], turn: 0 }
    }

    /// Adds one; returns the one that leaves.
    #[inline]
    fn push(&mut self, object: Ref) -> Option<Ref> {
        let turn = self.turn;
        self.turn = (turn + 1) % PREFETCH;
        self.references[turn].replace(object)
    }

    /// Takes all that are left, oldest first.
    fn take(&mut self) -> impl Iterator<Item = Ref> + use<> {
        let Self { mut references, turn } = std::mem::replace(self, Self::empty());
        references.rotate_left(turn);
        references.into_iter().flatten()
    }
}

impl<'h> Marker<'h> {
    /// A marker with nothing to do.
    #[must_use]
    pub fn new(space: &'h Space, marks: &'h Marks) -> Self {
        Self {
            space,
            marks,
            worklist: Vec::new(),
            found: Latest::empty(),
            unmarked: Latest::empty(),
            objects: 0,
            has_unscanned: false,
        }
    }

    /// Objects marked so far by this marker; those born marked are not among them.
    #[must_use]
    pub fn objects(&self) -> u64 {
        self.objects
    }

    /// Takes a value from a root or a log.
    pub fn push(&mut self, value: Value) {
        if let Some(object) = value.as_ref() {
            self.find(object);
        }
    }

    /// Takes a reference, whose turn comes later.
    #[inline]
    fn find(&mut self, object: Ref) {
        self.marks.prefetch(object.offset());
        if let Some(ready) = self.found.push(object) {
            self.look_up(ready);
        }
    }

    #[inline]
    fn look_up(&mut self, object: Ref) {
        if self.marks.is_marked(object.offset()) {
            return;
        }
        self.space.windows.prefetch(self.space.windows.view(), object.offset());
        if let Some(ready) = self.unmarked.push(object) {
            self.visit(ready);
        }
    }

    /// Marks an object and puts it on the worklist, if it still has to be.
    fn visit(&mut self, object: Ref) {
        if self.marks.is_marked(object.offset()) {
            return;
        }
        let header = self.header(object);
        if self.marks.mark(&self.space.regions, object, header) {
            self.objects += 1;
            if header.slots() > 0 {
                self.put_off(Task { object, slot: 0 });
            }
        }
    }

    /// Puts a task on the worklist.
    #[inline]
    fn put_off(&mut self, task: Task) {
        if self.worklist.len() == self.worklist.capacity() && self.worklist.try_reserve(1).is_err() {
            self.has_unscanned = true;
            return;
        }
        self.worklist.push(task);
    }

    fn header(&self, object: Ref) -> Header {
        // Acquire: pairs with the release by which the reference was stored, so the header of an object that was
        // made a moment ago is complete.
        Header::from_bits(self.space.windows.word(self.space.windows.view(), object.offset()).load(Ordering::Acquire))
    }

    /// Marks until nothing is left to do. Calls `between` every thousand steps or so, with the number of objects marked so far,
    /// and marks what it returns.
    pub fn drain(&mut self, between: &mut impl FnMut(u64) -> Vec<Vec<Value>>) {
        let mut steps = 0;
        loop {
            while let Some(task) = self.worklist.pop() {
                self.scan(task);
                steps += 1;
                if steps % STEPS == 0 {
                    between(self.objects).into_iter().flatten().for_each(|value| self.push(value));
                }
            }
            self.found.take().for_each(|object| self.look_up(object));
            self.unmarked.take().for_each(|object| self.visit(object));
            if self.worklist.is_empty() {
                return;
            }
        }
    }

    /// Whether objects are marked that were not scanned.
    #[must_use]
    pub fn has_unscanned(&self) -> bool {
        self.has_unscanned
    }

    /// Scans all marked objects again, those born marked included. O(live data).
    pub fn scan_marked(&mut self, between: &mut impl FnMut(u64) -> Vec<Vec<Value>>) {
        self.has_unscanned = false;
        let space = self.space;
        for (id, region) in space.regions.iter(Window::Slots) {
            if region.live_bytes() == 0 {
                continue;
            }
            let mut from = id.start();
            while let Some(offset) = self.marks.next_marked(from, id.end()) {
                // Pairs with the release in `Marks::mark`: the header of an object that was born marked is complete.
                fence(Ordering::Acquire);
                let object = Ref::at(offset);
                let header = self.header(object);
                for slot in (0..header.slots()).step_by(SCAN_SLOTS) {
                    self.scan_slots(object, slot..header.slots().min(slot + SCAN_SLOTS));
                    self.drain(between);
                }
                from = offset + header.bytes();
            }
        }
    }

    /// Scans a stretch of one object's slots.
    fn scan(&mut self, task: Task) {
        let slots = self.header(task.object).slots();
        let end = slots.min(task.slot + SCAN_SLOTS);
        if end < slots {
            self.put_off(Task { object: task.object, slot: end });
        }
        self.scan_slots(task.object, task.slot..end);
    }

    fn scan_slots(&mut self, object: Ref, slots: Range<usize>) {
        let view = self.space.windows.view();
        for slot in slots {
            let offset = object.offset() + 8 + slot as u64 * 8;
            // Acquire: see `header`.
            let value = Value::from_bits(self.space.windows.word(view, offset).load(Ordering::Acquire));
            if let Some(target) = value.as_ref() {
                self.marks.note_reference(offset, target);
                self.find(target);
            }
        }
    }
}

/// Live bytes of both windows, as marked.
#[must_use]
pub fn live_bytes(space: &Space) -> u64 {
    Window::ALL.into_iter().flat_map(|window| space.regions.iter(window)).map(|(_, region)| region.live_bytes()).sum()
}
