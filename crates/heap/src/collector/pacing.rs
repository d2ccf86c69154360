//! When the next cycle begins, and how much memory stays for reuse.
//!
//! A cycle begins when as much was allocated since the last as half of what was alive then, but at least 16 MiB, and
//! never more than half of the room that the budget leaves: then the cycle ends before the memory does, as long as
//! marking is faster than allocation. In a heap that is nearly full every 64th of the budget starts one.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::options::{Options, Recycle};

const LEAST_BYTES: u64 = 16 << 20;

/// When to collect.
pub struct Pacing {
    /// Allocated bytes, counted since the heap was made, at which the next cycle begins.
    next_at_bytes: AtomicU64,
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
            mutator_bytes,
            stress_bytes: options.stress_bytes,
            recycle: options.recycle,
        };
        pacing.after_cycle(0, 0, 0);
        pacing
    }

    /// Whether a cycle should begin.
    #[inline]
    #[must_use]
    pub fn is_due(&self, allocated_bytes: u64) -> bool {
        // Relaxed: a figure; a request too many or too late does no harm.
        allocated_bytes >= self.next_at_bytes.load(Ordering::Relaxed)
    }

    /// Sets when the next cycle begins, from what this one found.
    pub fn after_cycle(&self, allocated_bytes: u64, live_bytes: u64, resident_bytes: u64) {
        let room = self.mutator_bytes.saturating_sub(resident_bytes);
        let paced = (live_bytes / 2).max(LEAST_BYTES).min((room / 2).max(self.mutator_bytes / 64));
        let step = self.stress_bytes.unwrap_or(paced);
        self.next_at_bytes.store(allocated_bytes + step, Ordering::Relaxed);
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
        pacing.after_cycle(0, 800 * mib, 900 * mib);
        assert!(!pacing.is_due(49 * mib) && pacing.is_due(50 * mib));
        pacing.after_cycle(0, 100 * mib, 200 * mib);
        assert!(!pacing.is_due(49 * mib) && pacing.is_due(50 * mib));
    }
}
