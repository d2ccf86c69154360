//! When the next cycle begins, how much it is to gain, and how much memory stays for reuse.
//!
//! The model: when marking ends `used` bytes are in use, and `live` of them alive, in the worst case mixed evenly. Evacuation
//! needs room for what it moves until that is done, and while a cycle runs mutators go on; how much they will allocate, the
//! *drain*, is guessed from the last cycles, and half of it left to them from the end of marking on. So evacuation frees at most
//!
//! ```text
//!   gain = (room - used) (used - live) / live         room = budget - drain / 2
//! ```
//!
//! which is most at `used = (room + live) / 2`, the *crest*. Behind it each cycle gains less than the last, until mutators wait. So
//! marking should end before it:
//!
//! ```text
//!   used ----------|-- step --|------ 1.5 x drain ------|- crest ------------ budget
//!                  ^          ^                         ^
//!         last cycle ends    next begins        marking must have ended
//!
//!   step = min(live / 2, crest - used - 1.5 x drain)
//! ```
//!
//! `live / 2` keeps the memory that is dead but not collected in proportion; a step is at least 16 MiB, and in a heap
//! that is nearly full a 64th of the budget. Where `used` is too much for a whole `live / 2`, a cycle evacuates
//! regions that are less sparse, too ([`Pacing::used_wanted_bytes`]). If all this is not enough mutators wait, and
//! `longest_stall_us` says for how long.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::options::{Options, Recycle};

const LEAST_BYTES: u64 = 16 << 20;

/// When to collect.
pub struct Pacing {
    /// Allocated bytes, counted since the heap was made, at which the next cycle begins.
    next_at_bytes: AtomicU64,
    /// What mutators are expected to allocate while a cycle runs.
    drain_bytes: AtomicU64,
    /// Used bytes at which evacuation would gain the most.
    crest_bytes: AtomicU64,
    mutator_bytes: u64,
    stress_bytes: Option<u64>,
    recycle: Recycle,
}

impl Pacing {
    /// Pacing for a heap whose mutators may use `mutator_bytes`.
    #[must_use]
    pub fn new(options: &Options, mutator_bytes: u64) -> Self {
        let pacing = Self {
            next_at_bytes: AtomicU64::new(0),
            drain_bytes: AtomicU64::new(0),
            crest_bytes: AtomicU64::new(0),
            mutator_bytes,
            stress_bytes: options.stress_bytes,
            recycle: options.recycle,
        };
        pacing.after_cycle(0, 0, 0, 0);
        pacing
    }

    /// Whether a cycle should begin.
    #[inline]
    #[must_use]
    pub fn is_due(&self, allocated_bytes: u64) -> bool {
        // Relaxed: a figure; a request too many or too late does no harm.
        allocated_bytes >= self.next_at_bytes.load(Ordering::Relaxed)
    }

    /// Sets when the next cycle begins: `drained_bytes` were allocated while this one ran, `used_bytes` are not free now.
    pub fn after_cycle(&self, allocated_bytes: u64, live_bytes: u64, used_bytes: u64, drained_bytes: u64) {
        // Relaxed, here and below: figures, written by the collector.
        self.drain_bytes.store(self.drain_with(drained_bytes), Ordering::Relaxed);
        self.crest_bytes.store(self.crest(live_bytes, self.drain_bytes.load(Ordering::Relaxed)), Ordering::Relaxed);
        let in_time = self.before_crest().saturating_sub(used_bytes);
        let paced = (live_bytes / 2).max(LEAST_BYTES).min(in_time.max(self.mutator_bytes / 64));
        let step = self.stress_bytes.unwrap_or(paced);
        self.next_at_bytes.store(allocated_bytes + step, Ordering::Relaxed);
    }

    /// How much of the budget should at most be in use when a cycle ends that found `live_bytes` and during which
    /// `drained_bytes` were allocated, so that mutators can make half of that garbage before the next.
    #[must_use]
    pub fn used_wanted_bytes(&self, live_bytes: u64, drained_bytes: u64) -> u64 {
        let drain = self.drain_with(drained_bytes);
        self.crest(live_bytes, drain).saturating_sub(drain + drain / 2 + live_bytes / 2)
    }

    /// What mutators may allocate until marking ends, if it begins now with `room_bytes` left: up to the crest, or a quarter of the
    /// room where that is behind.
    #[must_use]
    pub fn marking_bytes(&self, room_bytes: u64) -> u64 {
        let used_bytes = self.mutator_bytes.saturating_sub(room_bytes);
        self.crest_bytes.load(Ordering::Relaxed).saturating_sub(used_bytes).max(room_bytes / 4)
    }

    /// What evacuation should leave to mutators when `drained_bytes` were allocated since the cycle began.
    #[must_use]
    pub fn spare_bytes(&self, drained_bytes: u64) -> u64 {
        self.drain_with(drained_bytes) / 2
    }

    /// Whether a cycle that began now, and ran at full speed, would still end in time; and whether so much of the room is
    /// left that this would be true even if mutators allocated far more than during the last cycle: seven eighths, while
    /// `allocated_bytes` were allocated since this one began.
    #[must_use]
    pub fn has_time(&self, room_bytes: u64, allocated_bytes: u64) -> bool {
        self.mutator_bytes.saturating_sub(room_bytes) < self.before_crest() && room_bytes / 8 > allocated_bytes
    }

    fn crest(&self, live_bytes: u64, drain: u64) -> u64 {
        u64::midpoint(self.mutator_bytes.saturating_sub(drain / 2), live_bytes)
    }

    /// Used bytes at which a cycle should begin.
    fn before_crest(&self) -> u64 {
        let drain = self.drain_bytes.load(Ordering::Relaxed);
        self.crest_bytes.load(Ordering::Relaxed).saturating_sub(drain + drain / 2)
    }

    /// The drain to expect when `drained_bytes` is the latest. It is forgotten slowly: nobody may have allocated
    /// during the last cycle only because it was asked for, and waited for.
    fn drain_with(&self, drained_bytes: u64) -> u64 {
        drained_bytes.max(self.drain_bytes.load(Ordering::Relaxed) / 4 * 3)
    }

    /// Bytes of free regions that stay resident after a cycle.
    #[must_use]
    pub fn pool_bytes(&self, full: bool) -> u64 {
        match self.recycle {
            Recycle::Keep => u64::MAX,
            Recycle::Pool if !full => self.mutator_bytes / 8,
            Recycle::Pool | Recycle::Release => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn pacing() -> Pacing {
        Pacing::new(&Options::default(), 1000 * MIB)
    }

    #[test]
    fn a_cycle_is_due_before_the_crest() {
        let pacing = pacing();
        // The crest is at 900 MiB.
        pacing.after_cycle(0, 800 * MIB, 820 * MIB, 0);
        assert!(!pacing.is_due(79 * MIB) && pacing.is_due(80 * MIB));
        // Half of what is alive comes first.
        pacing.after_cycle(0, 100 * MIB, 200 * MIB, 0);
        assert!(!pacing.is_due(49 * MIB) && pacing.is_due(50 * MIB));
    }

    #[test]
    fn there_is_time_while_there_is_more_room_than_a_cycle_needs() {
        let pacing = pacing();
        // The crest is at 525 MiB, and 150 less is 375.
        pacing.after_cycle(0, 100 * MIB, 200 * MIB, 100 * MIB);
        assert!(pacing.has_time(626 * MIB, 0) && !pacing.has_time(625 * MIB, 0));
        assert!(pacing.has_time(800 * MIB, 99 * MIB) && !pacing.has_time(800 * MIB, 100 * MIB));
    }

    #[test]
    fn a_cycle_that_will_take_long_begins_early() {
        let pacing = pacing();
        // The crest is at 660 MiB; one and a half times 160 before it is 420.
        pacing.after_cycle(0, 400 * MIB, 400 * MIB, 160 * MIB);
        assert!(!pacing.is_due(19 * MIB) && pacing.is_due(20 * MIB));
        // More than there is room for: the least step.
        pacing.after_cycle(0, 400 * MIB, 400 * MIB, 500 * MIB);
        assert!(!pacing.is_due(15 * MIB) && pacing.is_due(16 * MIB));
    }

    #[test]
    fn a_drain_is_not_forgotten_because_one_cycle_had_none() {
        let pacing = pacing();
        pacing.after_cycle(0, 400 * MIB, 400 * MIB, 160 * MIB);
        // Three quarters of 160 are expected, and one and a half times that left: 670 - 180 - 400.
        pacing.after_cycle(0, 400 * MIB, 400 * MIB, 0);
        assert!(!pacing.is_due(89 * MIB) && pacing.is_due(90 * MIB));
    }

    #[test]
    fn marking_may_last_until_the_crest_or_takes_a_quarter_of_the_room() {
        let pacing = pacing();
        pacing.after_cycle(0, 400 * MIB, 400 * MIB, 0);
        assert_eq!(pacing.marking_bytes(500 * MIB), 200 * MIB);
        assert_eq!(pacing.marking_bytes(200 * MIB), 50 * MIB);
    }

    #[test]
    fn less_is_to_stay_in_use_where_mutators_allocate_more() {
        let pacing = pacing();
        assert_eq!(pacing.used_wanted_bytes(400 * MIB, 0), 500 * MIB);
        assert_eq!(pacing.used_wanted_bytes(400 * MIB, 100 * MIB), 325 * MIB);
        assert_eq!(pacing.used_wanted_bytes(400 * MIB, 900 * MIB), 0);
    }
}
