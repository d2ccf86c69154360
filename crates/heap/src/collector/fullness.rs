//! Whether a collection can give memory back: what a thread asks that finds the heap full.
//!
//! A mark finds what is alive. From then on a collection can gain only what has become garbage since. Of some garbage the size is known,
//! and that nothing else became garbage with it: what an attempt at an operation allocated that failed, and the table of a container
//! that was copied to a larger one. All else comes of a reference that was overwritten, removed or dropped, and while little room is
//! left, the write barrier notes that there was one (`BARRIER_RELEASE`):
//!
//! ```text
//!   nothing was released:   gain <= garbage of known size since the mark began
//!   otherwise:              gain <= all that was allocated, and all that was alive
//! ```
//!
//! To this comes what moving objects could give back ([`Space::sparse_bytes`](crate::space::Space::sparse_bytes)), until packing
//! collections have tried that. Where all this is less than what is lacking, the heap is full, and says so without a collection. A
//! cycle under way may find what became garbage since the mark before its own: until it has ended, that counts, too. From its plan on
//! it holds more than it will at its end, how much more nobody knows but by waiting ([`Fullness::settled`]). Garbage of known size is lent
//! by the reserve meanwhile ([`Space::lend`](crate::space::Space::lend)), so that a full heap has the same room for each attempt.
//!
//! Not everything that is dropped releases something. A handle that was made by reading a container since the mark began names
//! an object that the container still holds, if nothing was released since. A handle that an operation makes for itself names
//! an object that is stored by its end, or is garbage of a failed attempt.

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering, fence};

use crate::space::table::SideTable;

/// What happened since the last mark began.
pub struct Fullness {
    /// Number of the mark, from 1 on; for handles, which note in which of them they were read.
    mark: AtomicU16,
    /// Whether releases are noted.
    is_watching: AtomicBool,
    /// Whether anything was released. True while nothing is noted.
    has_released: AtomicBool,
    /// Bytes of garbage that is known: see `note_garbage`.
    garbage_bytes: AtomicU64,
    /// The same between the last two marks, while the cycle with the last is under way.
    had_released: AtomicBool,
    had_garbage_bytes: AtomicU64,
    /// Whether a thread was refused memory, and nothing was released since.
    has_refused: AtomicBool,
    /// To how many bytes in use the next packing collection is to get. `u64::MAX` where nobody asks.
    used_wanted_bytes: AtomicU64,
    /// What seemed to be gained by moving objects after a packing collection, which did not gain it; 0 before one was made.
    unmoved_bytes: AtomicU64,
    /// Bytes that had been allocated by then.
    packed_at_bytes: AtomicU64,
    /// Bytes of the smallest large object that a full collection found no run of regions for.
    fragmented_bytes: AtomicU64,
    /// Odd while a cycle holds more than it will at its end: from its plan on, which charges destinations besides their sources.
    evacuations: AtomicU64,
    /// Bytes that had been allocated when the mark began.
    allocated_bytes: AtomicU64,
    /// What the mark found, and which share of what had been allocated since the one before was alive, in thousandths.
    live_bytes: AtomicU64,
    surviving_permille: AtomicU64,
    /// For each handle the mark since which it was read; 0 for one that was made with its object.
    read_in: SideTable<AtomicU16>,
}

/// What is alive between two marks, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveEstimate {
    /// A guess, in bytes: what was alive, and of what was allocated since the share that survived the last time.
    pub likely_bytes: u64,
    /// The most it can be, in bytes: what was alive, and all that was allocated since.
    pub most_bytes: u64,
}

impl Fullness {
    /// Before the first mark.
    ///
    /// # Errors
    /// As [`SideTable::new`].
    pub fn new(handles_max: usize) -> subduct_kernel::Result<Self> {
        Ok(Self {
            mark: AtomicU16::new(0),
            is_watching: AtomicBool::new(false),
            has_released: AtomicBool::new(true),
            garbage_bytes: AtomicU64::new(0),
            had_released: AtomicBool::new(false),
            had_garbage_bytes: AtomicU64::new(0),
            has_refused: AtomicBool::new(false),
            used_wanted_bytes: AtomicU64::new(u64::MAX),
            unmoved_bytes: AtomicU64::new(0),
            packed_at_bytes: AtomicU64::new(0),
            fragmented_bytes: AtomicU64::new(u64::MAX),
            evacuations: AtomicU64::new(0),
            allocated_bytes: AtomicU64::new(0),
            live_bytes: AtomicU64::new(0),
            surviving_permille: AtomicU64::new(1000),
            read_in: SideTable::new(handles_max)?,
        })
    }

    /// Unmaps the table of handles before it is dropped.
    ///
    /// # Safety
    /// As [`SideTable::release`].
    pub unsafe fn release(&self) {
        // SAFETY: by this function's contract.
        unsafe { self.read_in.release() };
    }

    /// A mark begins, with or without a watch on what is released. In its rendezvous.
    pub fn begin_mark(&self, watch: bool) {
        // Relaxed, here and below: changes in a rendezvous, which orders it, or is a figure.
        let had = self.garbage_bytes_max();
        self.had_released.store(had.is_none(), Ordering::Relaxed);
        self.had_garbage_bytes.store(had.unwrap_or(0), Ordering::Relaxed);
        self.has_refused.fetch_and(had.is_some(), Ordering::Relaxed);
        let mark = self.mark.load(Ordering::Relaxed);
        self.mark.store(if mark == u16::MAX { 1 } else { mark + 1 }, Ordering::Relaxed);
        self.is_watching.store(watch, Ordering::Relaxed);
        self.has_released.store(!watch, Ordering::Relaxed);
        self.garbage_bytes.store(0, Ordering::Relaxed);
        self.unmoved_bytes.store(0, Ordering::Relaxed);
        self.fragmented_bytes.store(u64::MAX, Ordering::Relaxed);
    }

    /// Destinations are about to be charged.
    pub fn begin_evacuation(&self) {
        self.evacuations.fetch_add(1, Ordering::Relaxed);
        // Whoever sees what is charged from here on, and then asks by `settled`, sees that an evacuation has begun.
        fence(Ordering::Release);
    }

    /// A number of the time since an evacuation ended; `None` while one is under way. Where the number is the same before and after
    /// figures were read, none of them was one of an evacuation.
    #[must_use]
    pub fn settled(&self) -> Option<u64> {
        // Pairs with `begin_evacuation`: figures that were read before are older than the number.
        fence(Ordering::Acquire);
        // Acquire pairs with `end_cycle`: figures that are read after it have what the evacuation gave back.
        let evacuations = self.evacuations.load(Ordering::Acquire);
        evacuations.is_multiple_of(2).then_some(evacuations)
    }

    /// The cycle has ended: what its mark found is free, and so is what it evacuated.
    pub fn end_cycle(&self) {
        // Release: see `settled`.
        self.evacuations.fetch_add(self.evacuations.load(Ordering::Relaxed) % 2, Ordering::Release);
        self.had_released.store(false, Ordering::Relaxed);
        self.had_garbage_bytes.store(0, Ordering::Relaxed);
    }

    /// A thread was refused memory.
    pub fn note_refused(&self) {
        self.has_refused.store(true, Ordering::Relaxed);
    }

    /// Whether a thread was refused memory, and nothing was released since.
    #[must_use]
    pub fn has_refused(&self) -> bool {
        self.has_refused.load(Ordering::Relaxed) && self.garbage_bytes_max().is_some()
    }

    /// The next packing collection is to leave at most this much in use.
    pub fn want_used(&self, bytes: u64) {
        self.used_wanted_bytes.fetch_min(bytes, Ordering::Relaxed);
    }

    /// What the packing collection that begins is to leave in use at most.
    pub fn take_used_wanted(&self) -> u64 {
        self.used_wanted_bytes.swap(u64::MAX, Ordering::Relaxed)
    }

    /// Packing collections have ended that found no room, and another one would seem to give `sparse_bytes` back.
    pub fn end_packing(&self, sparse_bytes: u64, allocated_bytes: u64) {
        self.unmoved_bytes.store(sparse_bytes, Ordering::Relaxed);
        self.packed_at_bytes.store(allocated_bytes, Ordering::Relaxed);
    }

    /// What moving objects may give back of what seems to be `sparse_bytes`. Once `few_bytes` have been allocated since objects were
    /// packed, packing them together with those may come out otherwise.
    #[must_use]
    pub fn moved_bytes_max(&self, sparse_bytes: u64, allocated_bytes: u64, few_bytes: u64) -> u64 {
        if allocated_bytes.saturating_sub(self.packed_at_bytes.load(Ordering::Relaxed)) >= few_bytes {
            return sparse_bytes;
        }
        sparse_bytes.saturating_sub(self.unmoved_bytes.load(Ordering::Relaxed))
    }

    /// A full collection found no run of free regions for a large object of `bytes`.
    pub fn note_fragmented(&self, bytes: u64) {
        self.fragmented_bytes.fetch_min(bytes, Ordering::Relaxed);
    }

    /// The mark that began when `began_at_bytes` had been allocated found `live_bytes`.
    pub fn end_mark(&self, began_at_bytes: u64, live_bytes: u64) {
        let allocated = began_at_bytes.saturating_sub(self.allocated_bytes.swap(began_at_bytes, Ordering::Relaxed));
        let survived = live_bytes.saturating_sub(self.live_bytes.swap(live_bytes, Ordering::Relaxed)).min(allocated);
        if allocated > 0 {
            let permille = (u128::from(survived) * 1000 / u128::from(allocated)) as u64;
            self.surviving_permille.store(permille, Ordering::Relaxed);
        }
    }

    /// Whether the write barrier has to note what is released.
    #[must_use]
    pub fn is_watching(&self) -> bool {
        self.is_watching.load(Ordering::Relaxed)
    }

    /// Something was released.
    pub fn note_release(&self) {
        // The load keeps the line shared: most releases are not the first.
        if !self.has_released.load(Ordering::Relaxed) {
            self.has_released.store(true, Ordering::Relaxed);
        }
    }

    /// So much became garbage, and nothing else with it: what a failed attempt allocated, or a container's table that was copied to
    /// another one. Returns how much there is of that.
    pub fn note_garbage(&self, bytes: u64) -> u64 {
        self.garbage_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes
    }

    /// A handle came into use: for an object that was `read` from a container, or with its object.
    pub fn note_handle(&self, handle: usize, read: bool) {
        let mark = if read { self.mark.load(Ordering::Relaxed) } else { 0 };
        self.read_in.get(handle).store(mark, Ordering::Relaxed);
    }

    /// A handle went out of use, with which its object may have.
    pub fn note_dropped(&self, handle: usize) {
        if self.read_in.get(handle).load(Ordering::Relaxed) != self.mark.load(Ordering::Relaxed) {
            self.note_release();
        }
    }

    /// Bytes of garbage that a collection can find at most; `None` where that is not known.
    #[must_use]
    pub fn garbage_bytes_max(&self) -> Option<u64> {
        let [has, had] = [&self.has_released, &self.had_released].map(|released| released.load(Ordering::Relaxed));
        let is_known = self.is_watching() && !has && !had;
        is_known.then(|| self.garbage_bytes.load(Ordering::Relaxed) + self.had_garbage_bytes.load(Ordering::Relaxed))
    }

    /// Whether no collection can find a run of free regions for a large object of `bytes`.
    #[must_use]
    pub fn is_fragmented_for(&self, bytes: u64) -> bool {
        self.garbage_bytes_max().is_some() && bytes >= self.fragmented_bytes.load(Ordering::Relaxed)
    }

    /// What is alive now, when `allocated_bytes` have been allocated, and `charged_bytes` are in use: no more than those.
    #[must_use]
    pub fn live_estimate(&self, allocated_bytes: u64, charged_bytes: u64) -> LiveEstimate {
        let live = self.live_bytes.load(Ordering::Relaxed);
        let since = allocated_bytes.saturating_sub(self.allocated_bytes.load(Ordering::Relaxed));
        let permille = match self.garbage_bytes_max() {
            Some(_) => 1000,
            None => self.surviving_permille.load(Ordering::Relaxed),
        };
        let likely = live + (u128::from(since) * u128::from(permille) / 1000) as u64;
        LiveEstimate { likely_bytes: likely.min(charged_bytes), most_bytes: (live + since).min(charged_bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutator::{Op, Retry};
    use crate::object::{Key, Ref, Scalar, dict, list};
    use crate::{Heap, Options};

    /// A whole cycle, of which nothing happens but the begin of its mark.
    fn mark(fullness: &Fullness) {
        fullness.begin_mark(true);
        fullness.end_cycle();
    }

    #[test]
    fn only_a_watched_heap_knows_that_nothing_can_be_gained() {
        let fullness = Fullness::new(16).unwrap();
        assert_eq!(fullness.garbage_bytes_max(), None);
        fullness.begin_mark(false);
        assert_eq!(fullness.garbage_bytes_max(), None);
        mark(&fullness);
        fullness.note_garbage(100);
        assert_eq!(fullness.garbage_bytes_max(), Some(100));
        fullness.note_release();
        assert_eq!(fullness.garbage_bytes_max(), None);
        mark(&fullness);
        assert_eq!(fullness.garbage_bytes_max(), Some(0));
        assert_eq!(fullness.moved_bytes_max(7, 100, 10), 7);
        fullness.end_packing(7, 100);
        assert_eq!([7, 9].map(|sparse| fullness.moved_bytes_max(sparse, 109, 10)), [0, 2]);
        assert_eq!(fullness.moved_bytes_max(7, 110, 10), 7);
        mark(&fullness);
        assert_eq!(fullness.moved_bytes_max(7, 109, 10), 7);
    }

    #[test]
    fn a_cycle_under_way_may_find_what_became_garbage_before_it() {
        let fullness = Fullness::new(1).unwrap();
        fullness.begin_mark(true);
        assert_eq!(fullness.garbage_bytes_max(), None, "nobody watched before the first");
        fullness.end_cycle();
        fullness.note_garbage(100);
        fullness.begin_mark(true);
        fullness.note_garbage(10);
        assert_eq!(fullness.garbage_bytes_max(), Some(110));
        fullness.end_cycle();
        assert_eq!(fullness.garbage_bytes_max(), Some(10));
        fullness.note_release();
        fullness.begin_mark(true);
        assert_eq!(fullness.garbage_bytes_max(), None);
    }

    #[test]
    fn figures_that_were_read_in_an_evacuation_do_not_settle() {
        let fullness = Fullness::new(1).unwrap();
        let before = fullness.settled();
        assert!(before.is_some());
        fullness.begin_evacuation();
        assert_eq!(fullness.settled(), None);
        fullness.end_cycle();
        assert!(fullness.settled().is_some() && fullness.settled() != before);
        // A cycle that evacuates nothing.
        let before = fullness.settled();
        mark(&fullness);
        assert_eq!(fullness.settled(), before);
    }

    #[test]
    fn a_refusal_lasts_until_something_is_released() {
        let fullness = Fullness::new(1).unwrap();
        mark(&fullness);
        fullness.note_refused();
        mark(&fullness);
        assert!(fullness.has_refused());
        fullness.note_release();
        assert!(!fullness.has_refused());
        mark(&fullness);
        assert!(!fullness.has_refused());
    }

    #[test]
    fn what_no_run_of_regions_was_found_for_stays_too_large_until_something_is_released() {
        let fullness = Fullness::new(1).unwrap();
        mark(&fullness);
        assert!(!fullness.is_fragmented_for(1 << 30));
        fullness.note_fragmented(1 << 20);
        assert!(fullness.is_fragmented_for(1 << 20) && !fullness.is_fragmented_for((1 << 20) - 1));
        fullness.note_release();
        assert!(!fullness.is_fragmented_for(1 << 20));
    }

    #[test]
    fn a_handle_releases_nothing_that_a_container_holds() {
        let fullness = Fullness::new(16).unwrap();
        mark(&fullness);
        fullness.note_handle(3, true);
        fullness.note_dropped(3);
        assert_eq!(fullness.garbage_bytes_max(), Some(0));
        // Made with its object, or read before the mark: since then the container may have let go.
        fullness.note_handle(3, true);
        mark(&fullness);
        fullness.note_dropped(3);
        assert_eq!(fullness.garbage_bytes_max(), None);
        mark(&fullness);
        fullness.note_handle(4, false);
        fullness.note_dropped(4);
        assert_eq!(fullness.garbage_bytes_max(), None);
    }

    #[test]
    fn a_container_that_grows_or_closes_gaps_releases_nothing_but_garbage_of_known_size() {
        let heap = Heap::new(Options { budget_bytes: 64 << 20, ..Options::default() }).unwrap();
        let held = |op: &mut Op<'_>, new: fn(&mut Op<'_>, usize) -> Result<Ref, Retry>| {
            new(op, 0).and_then(|object| op.handle_new(object))
        };
        let [list, dict] =
            [list::new as fn(&mut Op<'_>, usize) -> _, dict::new].map(|new| heap.run(|op| held(op, new)).unwrap());
        let text = Scalar::Str(b"too long to be part of the slot itself");
        let add = |number: i64| {
            heap.run(|op| list::push(op, op.handle_get(list), &text)).unwrap();
            heap.run(|op| dict::insert(op, op.handle_get(dict), &Key::Int(number), &text)).unwrap();
        };
        let known = || heap.shared().fullness.garbage_bytes_max();
        (0..5).for_each(add);
        heap.run(|op| dict::pop_last(op, op.handle_get(dict))).unwrap();
        heap.collect().unwrap();
        let mut before = known();
        assert_eq!(before, Some(0));
        for number in 5..2_000 {
            add(number);
            assert!(known() >= before, "{number}: {:?} after {before:?}", known());
            before = known();
        }
        assert!(before > Some(1 << 16), "{before:?}");
        heap.run(|op| dict::pop_last(op, op.handle_get(dict))).unwrap();
        assert_eq!(known(), None);
    }

    #[test]
    fn the_estimate_follows_what_survived() {
        let fullness = Fullness::new(1).unwrap();
        assert_eq!(fullness.live_estimate(50, 10_000), LiveEstimate { likely_bytes: 50, most_bytes: 50 });
        fullness.end_mark(1000, 400);
        assert_eq!(fullness.live_estimate(1100, 10_000), LiveEstimate { likely_bytes: 440, most_bytes: 500 });
        fullness.end_mark(2000, 300);
        assert_eq!(fullness.live_estimate(2500, 10_000), LiveEstimate { likely_bytes: 300, most_bytes: 800 });
        assert_eq!(fullness.live_estimate(2500, 250), LiveEstimate { likely_bytes: 250, most_bytes: 250 });
    }
}
