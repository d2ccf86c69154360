//! Figures about a heap, as values.

use crate::options::Delivery;

/// Distribution of the flips' pauses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pauses {
    /// Half are at most this long.
    pub p50_us: f64,
    /// 99 of 100 are at most this long.
    pub p99_us: f64,
    /// The longest.
    pub max_us: f64,
    /// How many.
    pub count: u64,
}

/// The latest pauses; enough for percentiles, bounded in memory.
pub struct PauseLog {
    recent_us: [f64; RECENT_MAX],
    max_us: f64,
    count: u64,
}

/// Pauses that percentiles are taken over.
const RECENT_MAX: usize = 256;

impl Default for PauseLog {
    fn default() -> Self {
        Self { recent_us: [0.0; RECENT_MAX], max_us: 0.0, count: 0 }
    }
}

impl PauseLog {
    /// Adds one.
    pub fn add(&mut self, pause_us: f64) {
        self.recent_us[self.count as usize % RECENT_MAX] = pause_us;
        self.max_us = self.max_us.max(pause_us);
        self.count += 1;
    }

    /// The distribution: percentiles by nearest rank. O(1).
    #[must_use]
    pub fn summary(&self) -> Pauses {
        let mut sorted = self.recent_us;
        let sorted = &mut sorted[..RECENT_MAX.min(self.count as usize)];
        sorted.sort_unstable_by(f64::total_cmp);
        let rank = |share: f64| {
            let rank = (share * sorted.len() as f64).ceil() as usize;
            sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
        };
        Pauses { p50_us: rank(0.5), p99_us: rank(0.99), max_us: self.max_us, count: self.count }
    }
}

/// How often a cycle had to go another way than planned. Counts are since the heap was made; nothing is lost by any of
/// them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fallbacks {
    /// Flips that moved everything in the pause, because the kernel refused a call.
    pub flips_in_pause: u64,
    /// Installs that the kernel put off, and that were tried again.
    pub installs_again: u64,
    /// Runs of pages that could not be installed, and whose registration was ended instead.
    pub runs_unregistered: u64,
    /// Descriptors that somebody else closed.
    pub descriptors_lost: u64,
    /// Times SIGBUS was taken back from somebody who took it during a move.
    pub handlers_restored: u64,
    /// Shadows that could not be taken down after a move, so that the next begins with another try.
    pub shadows_left: u64,
}

/// Figures about a heap at one moment. Counts are since the heap was made.
#[derive(Clone, Copy, Debug)]
pub struct Stats {
    /// Hard limit on resident bytes.
    pub budget_bytes: u64,
    /// What the windows of memory are multiples of: 1 GiB, which a flip moves by one pointer, or 2 MiB, for which it takes as many
    /// pointers more, where addresses or the size of files are limited.
    pub window_unit_bytes: u64,
    /// Bytes of memory the heap's file holds, asked from the kernel.
    pub resident_bytes: u64,
    /// Bytes the last mark found alive.
    pub live_bytes: u64,
    /// Objects the last mark found alive.
    pub live_objects: u64,
    /// Bytes that are likely alive now: those found alive, and of those allocated since the share that survived the last time.
    pub live_estimate_bytes: u64,
    /// Bytes that can be alive now at most: those found alive, and all that were allocated since.
    pub live_bytes_max: u64,
    /// Bytes handed to mutators.
    pub allocated_bytes: u64,
    /// Handles in use.
    pub handles: u64,
    /// Cycles completed.
    pub cycles: u64,
    /// Those of them that moved objects.
    pub moves: u64,
    /// Faults served on mutator threads.
    pub faults: u64,
    /// Pages made ready by the worker.
    pub worker_pages: u64,
    /// Pages fixed in place.
    pub pages_fixed: u64,
    /// Pages built.
    pub pages_built: u64,
    /// Pages installed as they were.
    pub pages_installed: u64,
    /// Bytes of objects that were moved.
    pub bytes_evacuated: u64,
    /// Longest operation, inside the heap.
    pub longest_operation_us: f64,
    /// Longest of these waits: see `stalls`.
    pub longest_stall_us: f64,
    /// How often an operation waited for a cycle to give memory back.
    pub stalls: u64,
    /// What marking rested, to leave processors to mutators.
    pub rest_ms: f64,
    /// What mutators slept, all of them together, because they allocated faster than the collector could keep up with.
    pub held_back_ms: f64,
    /// The flips' pauses.
    pub pauses: Pauses,
    /// How faults are caught.
    pub delivery: Delivery,
    /// What went another way than planned.
    pub fallbacks: Fallbacks,
}

/// What one cycle did.
#[derive(Clone, Debug)]
pub struct CycleReport {
    /// Number of the cycle, from 1.
    pub cycle: u64,
    /// How faults were caught.
    pub delivery: Delivery,
    /// Whether everything worth it was to be compacted.
    pub full: bool,
    /// From asking the mutators to park until they went on again, for the flip; 0 where nothing moved.
    pub pause_us: f64,
    /// The same, where marking began.
    pub mark_start_us: f64,
    /// The same, where marking ended; the longest where that took more than one.
    pub mark_end_us: f64,
    /// Duration of marking.
    pub mark_ms: f64,
    /// Of that, what marking rested, to leave processors to mutators.
    pub rest_ms: f64,
    /// Duration of choosing and laying out.
    pub plan_ms: f64,
    /// Duration of the move.
    pub move_ms: f64,
    /// Duration of giving back what was needed for it.
    pub finish_ms: f64,
    /// Bytes found alive.
    pub live_bytes: u64,
    /// Objects found alive.
    pub live_objects: u64,
    /// Bytes resident at the end.
    pub resident_bytes: u64,
    /// Regions evacuated.
    pub regions_evacuated: u64,
    /// Bytes of objects that moved.
    pub bytes_evacuated: u64,
    /// Pages fixed in place.
    pub pages_fixed: u64,
    /// Pages built.
    pub pages_built: u64,
    /// Pages installed as they were.
    pub pages_installed: u64,
    /// Faults served on mutator threads.
    pub faults: u64,
    /// Whether memory was too short to evacuate everything that was worth it: another cycle can do more.
    pub truncated: bool,
    /// Why the move was finished in the pause although it should have been concurrent.
    pub fallback: Option<String>,
    /// Whether the second tracer looked and agreed.
    pub verified: bool,
}

impl CycleReport {
    /// A report of a cycle that has done nothing yet.
    #[must_use]
    pub fn begin(cycle: u64, delivery: Delivery, full: bool) -> Self {
        Self {
            cycle,
            delivery,
            full,
            pause_us: 0.0,
            mark_start_us: 0.0,
            mark_end_us: 0.0,
            mark_ms: 0.0,
            rest_ms: 0.0,
            plan_ms: 0.0,
            move_ms: 0.0,
            finish_ms: 0.0,
            live_bytes: 0,
            live_objects: 0,
            resident_bytes: 0,
            regions_evacuated: 0,
            bytes_evacuated: 0,
            pages_fixed: 0,
            pages_built: 0,
            pages_installed: 0,
            faults: 0,
            truncated: false,
            fallback: None,
            verified: false,
        }
    }

    /// Adds what an earlier cycle of the same collection moved. Figures of the heap stay those of the later one.
    #[must_use]
    pub fn after(mut self, earlier: &Self) -> Self {
        self.pause_us = self.pause_us.max(earlier.pause_us);
        self.mark_start_us = self.mark_start_us.max(earlier.mark_start_us);
        self.mark_end_us = self.mark_end_us.max(earlier.mark_end_us);
        self.mark_ms += earlier.mark_ms;
        self.rest_ms += earlier.rest_ms;
        self.plan_ms += earlier.plan_ms;
        self.move_ms += earlier.move_ms;
        self.finish_ms += earlier.finish_ms;
        self.regions_evacuated += earlier.regions_evacuated;
        self.bytes_evacuated += earlier.bytes_evacuated;
        self.pages_fixed += earlier.pages_fixed;
        self.pages_built += earlier.pages_built;
        self.pages_installed += earlier.pages_installed;
        self.faults += earlier.faults;
        self.fallback = self.fallback.or_else(|| earlier.fallback.clone());
        self
    }
}

/// What the second tracer found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifyReport {
    /// Reachable objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// References between them, and from handles.
    pub edges: u64,
    /// Digest of the object graph, independent of addresses.
    pub digest: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let mut log = PauseLog::default();
        assert_eq!(log.summary(), Pauses::default());
        (1..=100).for_each(|us| log.add(f64::from(us)));
        assert_eq!(log.summary(), Pauses { p50_us: 50.0, p99_us: 99.0, max_us: 100.0, count: 100 });
    }

    #[test]
    fn the_maximum_outlives_the_window() {
        let mut log = PauseLog::default();
        log.add(1e6);
        (0..RECENT_MAX).for_each(|_| log.add(1.0));
        assert_eq!(log.summary().max_us, 1e6);
        assert_eq!(log.summary().p99_us, 1.0);
    }
}
