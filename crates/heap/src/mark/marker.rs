//! The concurrent marker: snapshot at the beginning.
//!
//! Everything that was reachable when marking began is marked, whatever mutators do meanwhile: a mutator that
//! overwrites a slot hands over the reference that was in it (the *log*), and objects made meanwhile are born marked.
//! Marking reads the view, which is an ordinary mapping at that time, and never waits for a mutator.

use std::sync::atomic::Ordering;

use crate::mark::Marks;
use crate::object::{Header, Ref, Value};
use crate::space::{Space, Window};

/// Slots of an object that are scanned before others get a turn, so that one huge list does not fill the worklist.
const SCAN_SLOTS: usize = 1024;
/// Objects between being found and being scanned: long enough for their headers to come from memory.
const PREFETCH: usize = 8;

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
    /// Found, prefetched, not looked at yet.
    found: [Option<Ref>; PREFETCH],
    turn: usize,
    objects: u64,
}

impl<'h> Marker<'h> {
    /// A marker with nothing to do.
    #[must_use]
    pub fn new(space: &'h Space, marks: &'h Marks) -> Self {
        Self { space, marks, worklist: Vec::new(), found: [None; PREFETCH], turn: 0, objects: 0 }
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

    /// Puts an object into the prefetch window; the one that leaves it is marked and queued.
    #[inline]
    fn find(&mut self, object: Ref) {
        self.space.windows.prefetch(self.space.windows.view(), object.offset());
        let turn = self.turn;
        self.turn = (turn + 1) % PREFETCH;
        if let Some(ready) = self.found[turn].replace(object) {
            self.visit(ready);
        }
    }

    fn visit(&mut self, object: Ref) {
        if self.marks.is_marked(object.offset()) {
            return;
        }
        let header = self.header(object);
        if self.marks.mark(&self.space.regions, object, header) {
            self.objects += 1;
            if header.slots() > 0 {
                self.worklist.push(Task { object, slot: 0 });
            }
        }
    }

    fn header(&self, object: Ref) -> Header {
        // Acquire: pairs with the release by which the reference was stored, so the header of an object that was
        // made a moment ago is complete.
        Header::from_bits(self.space.windows.word(self.space.windows.view(), object.offset()).load(Ordering::Acquire))
    }

    /// Marks until nothing is left to do.
    pub fn drain(&mut self) {
        loop {
            while let Some(task) = self.worklist.pop() {
                self.scan(task);
            }
            let mut idle = true;
            for i in 0..PREFETCH {
                if let Some(object) = self.found[i].take() {
                    idle = false;
                    self.visit(object);
                }
            }
            if idle {
                return;
            }
        }
    }

    /// Scans a stretch of one object's slots.
    fn scan(&mut self, task: Task) {
        let slots = self.header(task.object).slots();
        let end = slots.min(task.slot + SCAN_SLOTS);
        if end < slots {
            self.worklist.push(Task { object: task.object, slot: end });
        }
        let view = self.space.windows.view();
        for slot in task.slot..end {
            let offset = task.object.offset() + 8 + slot as u64 * 8;
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
