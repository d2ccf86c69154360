//! Steps 1 to 3 of the cycle: clearing, marking beside the mutators, and knowing when it is complete.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::collector::share::Share;
use crate::mark::Marker;
use crate::mark::marker::live_bytes;
use crate::mutator::Mutator;
use crate::object::Value;
use crate::shared::{BARRIER_LOG, BARRIER_TRACK, Shared};
use crate::space::{Chunk, Role, Window};
use crate::verify;

/// What is released is watched while less than this part of the budget is left.
const WATCHED_SHARE: u64 = 4;

/// What marking found.
pub struct Marked {
    /// How long mutators were kept out where it began, in microseconds.
    pub start_us: f64,
    /// The same where it ended; the longest of several attempts.
    pub end_us: f64,
    /// Live bytes, objects born marked included.
    pub live_bytes: u64,
    /// Live objects, objects born marked included.
    pub live_objects: u64,
}

/// Forgets all marks, and regions that are as new then. The barrier is off, so no mutator sets any.
pub fn clear(shared: &Shared) {
    let mover = &shared.mover;
    for window in Window::ALL {
        for (id, region) in mover.space.regions.iter(window) {
            match region.role() {
                // A large object's other regions have no marks, but signatures.
                Role::LargeTail => mover.marks.clear_region(&mover.space.regions, id),
                _ if region.live_bytes() > 0 => mover.marks.clear_region(&mover.space.regions, id),
                _ => {}
            }
        }
    }
    mover.space.forget_holes();
}

/// Marks everything that is reachable when it begins. Afterwards mutators hold no chunk of a region that was in use.
pub fn run(shared: &Shared, share: &mut Share<'_>) -> Marked {
    let mover = &shared.mover;
    let space = &mover.space;
    let is_nearly_full =
        space.mutator_room_bytes() < space.mutator_bytes() / WATCHED_SHARE || shared.control.is_waited_for();
    let ((), start_us) = shared.rendezvous(|mutators| {
        // Logs may hold entries from the end of the last mark.
        each_logged(shared, mutators, |_| {});
        shared.marked_unscanned.store(false, Ordering::Relaxed);
        shared.drop_orphans();
        shared.fullness.begin_mark(is_nearly_full);
        space.lend(0);
        shared.born_before_end.store(0, Ordering::Relaxed);
        for mutator in mutators {
            // SAFETY: inside the rendezvous.
            unsafe { mutator.local() }.born = 0;
        }
        shared.set_barrier(BARRIER_LOG | BARRIER_TRACK);
    });

    let mut marker = Marker::new(&mover.space, &mover.marks);
    let view = mover.space.windows.view();
    for slot in shared.handles.slots() {
        // Acquire: pairs with the release of the mutator that stored it; see `Marker::header`.
        let word = mover.space.windows.word(view, slot).load(Ordering::Acquire);
        marker.push(Value::from_bits(word));
    }
    let mut between = |objects| {
        share.between(objects);
        // As they come, so that they need little memory.
        shared.logs.take()
    };
    let mut end_us: f64 = 0.0;
    loop {
        marker.drain(&mut between);
        shared.logs.take().into_iter().flatten().for_each(|value| marker.push(value));
        marker.drain(&mut between);
        if marker.has_unscanned() || shared.marked_unscanned.swap(false, Ordering::Relaxed) {
            marker.scan_marked(&mut between);
            continue;
        }
        let (born, pause_us) = shared.rendezvous(|mutators| try_end(shared, mutators, &mut marker));
        end_us = end_us.max(pause_us);
        if let Some(born) = born {
            let (live_bytes, live_objects) = (live_bytes(&mover.space), marker.objects() + born);
            return Marked { start_us, end_us, live_bytes, live_objects };
        }
    }
}

/// Takes the references that mutators have logged, and hands each to `then`.
fn each_logged(shared: &Shared, mutators: &[Arc<Mutator>], mut then: impl FnMut(Value)) {
    shared.logs.take().into_iter().flatten().for_each(&mut then);
    for mutator in mutators {
        // SAFETY: inside the rendezvous.
        unsafe { mutator.local() }.log.drain(..).for_each(&mut then);
    }
}

/// Ends marking if nothing unmarked was logged, and counts the objects that were born marked. Otherwise gives the marker
/// more to do.
fn try_end(shared: &Shared, mutators: &[Arc<Mutator>], marker: &mut Marker) -> Option<u64> {
    let mut more = shared.marked_unscanned.load(Ordering::Relaxed);
    each_logged(shared, mutators, |value| {
        if value.as_ref().is_some_and(|object| !shared.mover.marks.is_marked(object.offset())) {
            marker.push(value);
            more = true;
        }
    });
    if more {
        return None;
    }
    verify::after_mark(shared);
    let mut born = shared.born_before_end.load(Ordering::Relaxed);
    for mutator in mutators {
        // SAFETY: inside the rendezvous.
        let local = unsafe { mutator.local() };
        local.chunks = [Chunk::default(); 2];
        mutator.left.iter().for_each(|left| left.note_end(0));
        born += local.born;
    }
    shared.mover.space.hold_partial();
    shared.set_barrier(BARRIER_TRACK);
    Some(born)
}
