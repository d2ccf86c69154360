//! When the next cycle begins, and how much memory stays for reuse.
//!
//! The model: after a cycle there is *room*, what the budget leaves, and the next cycle will see about as much allocated
//! while it runs as the last one did, the *drain*. So that it ends before the memory does, it must begin while there is
//! room for one and a half drains.
//!
//! ```text
//!   |---------------- room ----------------|
//!   |-- step --|------ 1.5 x drain --------|      step = min(live / 2, room / 2, room - 1.5 x drain)
//!   ^          ^                           ^
//!   last ends  next begins        mutators would wait
//! ```
//!
//! `live / 2` keeps the memory that is dead but not collected in proportion; a step is at least 16 MiB, and in a heap
//! that is nearly full a 64th of the budget. If the drain is larger than the room mutators wait, and
//! `longest_stall_us` says for how long.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::options::{Options, Recycle};

const LEAST_BYTES: u64 = 16 << 20;

/// When to collect.
pub struct Pacing {
    /// Allocated bytes, counted since the heap was made, at which the next cycle begins.
    next_at_bytes: AtomicU64,
    /// Allocated while the last cycle ran.
    drained_bytes: AtomicU64,
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
            drained_bytes: AtomicU64::new(0),
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
        self.drained_bytes.store(drained_bytes, Ordering::Relaxed);
        let room = self.mutator_bytes.saturating_sub(used_bytes);
        let in_time = (room / 2).min(room.saturating_sub(drained_bytes + drained_bytes / 2));
        let paced = (live_bytes / 2).max(LEAST_BYTES).min(in_time.max(self.mutator_bytes / 64));
        let step = self.stress_bytes.unwrap_or(paced);
        self.next_at_bytes.store(allocated_bytes + step, Ordering::Relaxed);
    }

    /// Whether a cycle that began now, and ran at full speed, would still end in time; and whether so much of the room is
    /// left that this would be true even if mutators allocated far more than during the last cycle: seven eighths, while
    /// `allocated_bytes` were allocated since this one began.
    #[must_use]
    pub fn has_time(&self, room_bytes: u64, allocated_bytes: u64) -> bool {
        let drained_bytes = self.drained_bytes.load(Ordering::Relaxed);
        room_bytes > drained_bytes + drained_bytes / 2 && room_bytes / 8 > allocated_bytes
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

    #[test]
    fn a_cycle_is_due_before_the_room_is_used_up() {
        let mib = 1 << 20;
        let pacing = Pacing::new(&Options::default(), 1000 * mib);
        pacing.after_cycle(0, 800 * mib, 900 * mib, 0);
        assert!(!pacing.is_due(49 * mib) && pacing.is_due(50 * mib));
        pacing.after_cycle(0, 100 * mib, 200 * mib, 0);
        assert!(!pacing.is_due(49 * mib) && pacing.is_due(50 * mib));
    }

    #[test]
    fn there_is_time_while_there_is_more_room_than_a_cycle_needs() {
        let mib = 1 << 20;
        let pacing = Pacing::new(&Options::default(), 1000 * mib);
        pacing.after_cycle(0, 100 * mib, 200 * mib, 100 * mib);
        assert!(pacing.has_time(151 * mib, 0) && !pacing.has_time(150 * mib, 0));
        // Nobody allocated during the last cycle: what it drained says nothing about this one.
        pacing.after_cycle(0, 100 * mib, 200 * mib, 0);
        assert!(pacing.has_time(800 * mib, 99 * mib) && !pacing.has_time(800 * mib, 100 * mib));
    }

    #[test]
    fn a_cycle_that_will_take_long_begins_early() {
        let mib = 1 << 20;
        let pacing = Pacing::new(&Options::default(), 1000 * mib);
        // 600 MiB of room, of which one and a half times 360 must be left.
        pacing.after_cycle(0, 400 * mib, 400 * mib, 360 * mib);
        assert!(!pacing.is_due(59 * mib) && pacing.is_due(60 * mib));
        // More than there is room for: the least step.
        pacing.after_cycle(0, 400 * mib, 400 * mib, 500 * mib);
        assert!(!pacing.is_due(15 * mib) && pacing.is_due(16 * mib));
    }
}
