//! The cycle: what the collector does, from the first look at a root to the last freed region.
//!
//! ```text
//!  mutators  ==|=======================|====================|=================================>
//!             start                   end                 flip       faults serve themselves
//!  collector   |---- mark ------------|------ plan --------|---- move ----------|-- finish --|
//! ```
//!
//! 1. **Start.** All marks are cleared, concurrently. Then a rendezvous of a few microseconds: the write barrier goes on. From
//!    here on mutators hand over each reference they overwrite (snapshot at the beginning, T. Yuasa 1990), and new
//!    objects are born marked.
//! 2. **Mark**, concurrently: everything that was reachable at the start, from the handle table. The bitmap gets a bit
//!    for each live word; regions count live bytes; pages collect a signature of the regions they point into.
//! 3. **End of mark.** A rendezvous: if no mutator has handed over an unmarked object, marking is complete. If one has,
//!    it goes on; every round marks something new, so it ends. Mutators give up their chunks: what they allocate from
//!    here on lies in regions that the plan leaves alone.
//! 4. **Plan**, concurrently. Regions without a live byte are free at once. Sparse regions are chosen, and every object
//!    in them gets a new place: destination base + live words before it. For each destination page the plan
//!    notes which object it starts with, so that pages can be built in any order by anybody. Destination regions in
//!    the leaves window are registered: nobody can reach them yet.
//! 5. **Flip**, the one stop that makes system calls: with all mutators parked, `mremap(MREMAP_DONTUNMAP)` moves the page
//!    tables of the slots window from view to shadow, `UFFDIO_REGISTER` arms the empty view, the barrier goes off. No
//!    object, root or page is looked at. In this order: registered first, the kernel would move page by page.
//! 6. **Move**, concurrently. The collector walks all pages; a mutator that touches one that is not ready makes it ready
//!    itself. A page that stays is fixed in place through the shadow, a destination page is built there, and both are
//!    mapped into the view with `UFFDIO_CONTINUE`, without a copy. So every reference a mutator can load is a new one.
//! 7. **Finish**, concurrently. The registration ends, destinations become ordinary regions, sources are free, the shadow
//!    is taken down in slices, free memory beyond the pool goes back to the machine.
//!
//! When nothing is worth moving, steps 5 to 7 shrink to a rendezvous that switches the barrier off. When the kernel refuses
//! a call of the flip, the move is done in that same pause ([`CycleReport::fallback`]): no page is ever left
//! unreachable. `pause` delivery does the same on purpose.
//!
//! References: H. Kermany, E. Petrank, *The Compressor* (PLDI 2006), for the arithmetic of step 4; T. Yuasa, *Real-time garbage
//! collection on general-purpose machines* (1990), for step 1; Linux commit a4609387859f (5.13) for step 5.

use std::time::Instant;

use crate::collector::control::Kind;
use crate::collector::flip::{self, Flip};
use crate::collector::marking;
use crate::collector::share::Share;
use crate::compact::mover::Counters;
use crate::compact::plan::{self, Eagerness, Plan};
use crate::shared::Shared;
use crate::space::layout::REGION_BYTES;
use crate::space::{Role, Window};
use crate::stats::CycleReport;
use crate::sync::lock;
use crate::verify;

/// Regions are evacuated in an ordinary cycle when at most this share of them is alive, whatever the need.
const SPARSE_SHARE: f64 = 0.5;
/// The same in a full cycle, which is asked for and may cost more, and in an ordinary one where room is needed.
const FULL_SHARE: f64 = 0.94;
/// What evacuating a window has to give back at least: a quarter of a region. A packing cycle, which somebody needs who would
/// be refused memory otherwise, has no least.
const WORTHWHILE_BYTES: u64 = REGION_BYTES / 4;
/// Up to this budget a packing cycle takes all regions: what is left at their ends is a large share of it, and all of it is soon
/// copied. Beyond, of those that are denser than others it takes what is needed, and this share of the budget more.
const PACKED_BUDGET_BYTES: u64 = 256 << 20;
const PACKED_SHARE: u64 = 256;

/// Runs one cycle.
pub fn run_cycle(shared: &Shared, kind: Kind) -> CycleReport {
    let full = kind >= Kind::Full;
    let mut report = CycleReport::begin(lock(&shared.figures).cycles + 1, shared.delivery, full);
    let counted = Counted::now(&shared.mover.counters);
    let allocated_before = shared.mover.space.allocated_bytes();
    shared.prune_mutators();
    shared.mover.space.give_back_uncharged();
    if kind == Kind::Flip {
        return flip_only(shared, report);
    }

    marking::clear(shared);
    allow(shared, shared.pacing.marking_bytes(shared.mover.space.mutator_room_bytes()));
    let mut share = Share::new(shared, kind == Kind::Ordinary);
    let marked = timed(&mut report.mark_ms, || marking::run(shared, &mut share));
    report.rest_ms = share.rested().as_secs_f64() * 1e3;
    (report.mark_start_us, report.mark_end_us) = (marked.start_us, marked.end_us);
    (report.live_bytes, report.live_objects) = (marked.live_bytes, marked.live_objects);
    shared.fullness.end_mark(allocated_before, marked.live_bytes);

    let plan = timed(&mut report.plan_ms, || {
        let drained_bytes = shared.mover.space.allocated_bytes() - allocated_before;
        allow(shared, shared.pacing.spare_bytes(drained_bytes) / 2);
        shared.throttle.progress(1.0);
        free_dead(shared);
        shared.mover.space.note_dead();
        shared.fullness.begin_evacuation();
        let plan = plan::make(&shared.mover, eagerness(shared, kind, marked.live_bytes, drained_bytes));
        shared.mover.set_source_signature(plan.signature);
        shared.mover.space.release_held();
        plan
    });

    let mut before = None;
    if plan.sources.is_empty() {
        shared.rendezvous(|_| shared.set_barrier(0));
        shared.throttle.lift();
    } else {
        before = flip_and_move(shared, &plan, &mut report);
    }
    report.verified = verify::after_cycle(shared, before);
    counted.report(&shared.mover.counters, &mut report);
    give_back(shared, &plan, allocated_before, &mut report);
    shared.fullness.end_cycle();
    report
}

/// Steps 5 to 7.
fn flip_and_move(shared: &Shared, plan: &Plan, report: &mut CycleReport) -> Option<verify::Snapshot> {
    let flip = flip::flip(shared, plan);
    (report.pause_us, report.fallback) = (flip.pause_us, flip.fallback.clone());
    timed(&mut report.move_ms, || {
        if flip.is_moving {
            let space = &shared.mover.space;
            allow(shared, space.mutator_room_bytes());
            let (counted, pages) =
                (Counted::now(&shared.mover.counters), space.charged_bytes() / space.geometry().page_bytes());
            shared.mover.work(|| {
                flip::keep_handler(shared);
                shared.throttle.progress(counted.pages(&shared.mover.counters) as f64 / pages as f64);
            });
        }
    });
    timed(&mut report.finish_ms, || finish(shared, plan, &flip));
    shared.throttle.lift();
    flip.before
}

/// Steps 5 to 7 with an empty plan: every page of the slots window is installed as it is.
fn flip_only(shared: &Shared, mut report: CycleReport) -> CycleReport {
    // As the start and end of marking do: from here on no operation remembers the last move.
    (_, report.mark_start_us) = shared.rendezvous(|_| ());
    shared.mover.set_source_signature(0);
    let counted = Counted::now(&shared.mover.counters);
    let before = flip_and_move(shared, &Plan::default(), &mut report);
    report.verified = verify::after_cycle(shared, before);
    counted.report(&shared.mover.counters, &mut report);
    let mut figures = lock(&shared.figures);
    figures.cycles += 1;
    figures.pauses.add(report.pause_us);
    (report.live_bytes, report.live_objects) = (figures.live_bytes, figures.live_objects);
    report
}

/// What mutators may allocate in the part of the cycle that begins now. Under stress, where cycles follow one another anyway,
/// as much as they like.
fn allow(shared: &Shared, bytes: u64) {
    if shared.options.stress_bytes.is_none() {
        shared.throttle.begin(shared.mover.space.allocated_bytes(), bytes);
    }
}

fn timed<T>(duration_ms: &mut f64, f: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let result = f();
    *duration_ms = began.elapsed().as_secs_f64() * 1e3;
    result
}

fn eagerness(shared: &Shared, kind: Kind, live_bytes: u64, drained_bytes: u64) -> Eagerness {
    let stress = shared.options.stress_bytes.is_some();
    let budget_bytes = shared.options.budget_bytes;
    let packing = kind == Kind::Packing;
    let live_share = match kind {
        _ if stress => 1.0,
        Kind::Packing if budget_bytes <= PACKED_BUDGET_BYTES => 1.0,
        Kind::Packing | Kind::Full => FULL_SHARE,
        Kind::Ordinary | Kind::Flip => SPARSE_SHARE,
    };
    Eagerness {
        live_share,
        live_share_max: if packing { 1.0 } else { live_share.max(FULL_SHARE) },
        used_wanted_bytes: if packing {
            shared.fullness.take_used_wanted().saturating_sub(budget_bytes / PACKED_SHARE)
        } else {
            shared.pacing.used_wanted_bytes(live_bytes, drained_bytes)
        },
        // One who asks for a full cycle waits for it.
        spare_bytes: if kind >= Kind::Full { 0 } else { shared.pacing.spare_bytes(drained_bytes) },
        gain_bytes_min: match kind {
            _ if stress || packing => 0,
            _ => WORTHWHILE_BYTES,
        },
        whole_regions: packing,
    }
}

/// Frees what has no live byte and was in use when marking ended: large objects and whole regions.
fn free_dead(shared: &Shared) {
    let space = &shared.mover.space;
    for window in Window::ALL {
        for (id, region) in space.regions.iter(window) {
            if region.live_bytes() > 0 {
                continue;
            }
            match space.held_role(id) {
                Some(Role::LargeHead) => space.free_large(id),
                Some(Role::Small) => space.free(id),
                _ => {}
            }
        }
    }
}

/// Ends the move: nothing is registered any more, destinations are ordinary regions, sources are free.
fn finish(shared: &Shared, plan: &Plan, flip: &Flip) {
    let space = &shared.mover.space;
    flip::unflip(shared, flip);
    for id in &plan.sources {
        shared.mover.forwarding.set_moving(*id, false);
        shared.mover.forwarding.give_back(*id);
        space.free(*id);
    }
    for id in &plan.destinations {
        space.adopt_destination(*id);
    }
}

/// Trims the pool, sets the pace, and writes the cycle into the books.
fn give_back(shared: &Shared, plan: &Plan, allocated_before: u64, report: &mut CycleReport) {
    let space = &shared.mover.space;
    space.trim_pool(shared.pacing.pool_bytes(report.full));
    let allocated = space.allocated_bytes();
    shared.pacing.after_cycle(allocated, report.live_bytes, space.used_bytes(), allocated - allocated_before);
    report.resident_bytes = space.resident_bytes().unwrap_or(0);
    report.truncated = plan.truncated;
    report.regions_evacuated = plan.sources.len() as u64;
    report.bytes_evacuated = plan.bytes;

    let mut figures = lock(&shared.figures);
    figures.cycles += 1;
    figures.rest_ms += report.rest_ms;
    (figures.live_bytes, figures.live_objects) = (report.live_bytes, report.live_objects);
    if !plan.sources.is_empty() {
        figures.moves += 1;
        figures.bytes_evacuated += plan.bytes;
        figures.pauses.add(report.pause_us);
    }
}

/// The counters as they were when the cycle began.
struct Counted([u64; 4]);

impl Counted {
    fn now(counters: &Counters) -> Self {
        let all = [&counters.fixed, &counters.built, &counters.clean, &counters.faults];
        Self(all.map(|counter| counter.load(std::sync::atomic::Ordering::Relaxed)))
    }

    /// Pages made ready since.
    fn pages(&self, counters: &Counters) -> u64 {
        let now = Self::now(counters).0;
        (0..3).map(|i| now[i] - self.0[i]).sum()
    }

    fn report(&self, counters: &Counters, report: &mut CycleReport) {
        let now = Self::now(counters).0;
        let [fixed, built, clean, faults] = std::array::from_fn(|i| now[i] - self.0[i]);
        (report.pages_fixed, report.pages_built) = (fixed, built);
        (report.pages_installed, report.faults) = (clean, faults);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;
    use crate::Heap;
    use crate::object::{Scalar, list, tuple};
    use crate::options::{Delivery, Options};

    const RECORDS: usize = 100_000;

    /// Bytes that ordinary cycles evacuate in a heap of about 8 MiB, of which a fifth was replaced all over: every region is about
    /// four fifths alive.
    fn evacuated_after_churn(budget_bytes: u64) -> u64 {
        let heap = Heap::new(Options { budget_bytes, verify: true, ..Options::default() }).unwrap();
        let records = heap.run(|op| list::new(op, RECORDS).and_then(|list| op.handle_new(list))).unwrap();
        let put = |number: Option<usize>| {
            let put = heap.run(|op| {
                let record = tuple::new(op, 7).and_then(|tuple| op.handle_new(tuple))?;
                let (list, value) = (op.handle_get(records), Scalar::Object(record));
                let put = match number {
                    Some(number) => list::set(op, list, number, &value).map(drop),
                    None => list::push(op, list, &value),
                };
                op.handle_drop(record);
                put
            });
            put.unwrap();
        };
        (0..RECORDS).for_each(|_| put(None));
        heap.collect().unwrap();
        let before = heap.stats().unwrap().bytes_evacuated;
        let mut random = StdRng::seed_from_u64(7);
        (0..RECORDS / 5).for_each(|_| put(Some(random.random_range(0..RECORDS))));
        heap.shared().collect(Kind::Ordinary).unwrap();
        heap.stats().unwrap().bytes_evacuated - before
    }

    #[test]
    fn a_cycle_evacuates_regions_that_are_less_than_half_empty_where_room_is_needed() {
        assert!(evacuated_after_churn(16 << 20) > 1 << 20);
        assert_eq!(evacuated_after_churn(256 << 20), 0);
    }

    /// Nothing but a new cycle would let mutators go on whom the last one held back.
    #[test]
    fn no_cycle_holds_anybody_back_when_it_has_ended() {
        for delivery in Delivery::ALL {
            let heap =
                Heap::new(Options { budget_bytes: 64 << 20, delivery: Some(delivery), ..Options::default() }).unwrap();
            let new = || heap.run(|op| list::new(op, 0).and_then(|list| op.handle_new(list))).unwrap();
            let (kept, dropped) = (new(), new());
            let mut moved = [false, false];
            for kind in [Kind::Flip, Kind::Ordinary, Kind::Full] {
                for number in 0..40_000 {
                    let list = if number % 8 == 0 { kept } else { dropped };
                    let text = Scalar::Str(b"too long to be part of the list itself");
                    heap.run(|op| list::push(op, op.handle_get(list), &text)).unwrap();
                }
                heap.run(|op| list::clear(op, op.handle_get(dropped))).unwrap();
                for _ in 0..2 {
                    let report = heap.shared().collect(kind).unwrap();
                    moved[usize::from(report.bytes_evacuated > 0)] = true;
                    let sleep = heap.shared().throttle.sleep_for(1 << 60);
                    assert_eq!(sleep, Duration::ZERO, "{kind:?} {delivery:?}");
                }
            }
            assert_eq!(moved, [true, true], "{delivery:?}");
        }
    }
}
