//! Holding mutators back, a little at a time, while a cycle is late.
//!
//! A cycle *allows* mutators so many bytes, more with each bit of its work that is done. A mutator that took a chunk beyond what is
//! allowed sleeps a moment after its operation: outside, so that no flip waits for it, and with nothing locked. That slows
//! it to some tens of megabytes a second, gives the collector its processor, and spares everybody a wait for memory that lasts
//! until the cycle ends.
//!
//! ```text
//!   allowed |                        ..../     while marking: up to the crest (see pacing)
//!           |              ....----''          while moving: what mutators have left of the budget
//!           |    ....----''
//!           |--''  an eighth at once
//!           +------------------------------ work done
//! ```

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Shortest and longest sleep for one chunk. The longest is for a mutator that is ahead by a whole eighth.
const SLEEP: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(4)];
/// Of what is allowed, the part that is allowed at once.
const AT_ONCE: f64 = 0.125;

/// What mutators are allowed to allocate.
pub struct Throttle {
    /// Up to which allocated bytes, counted since the heap was made.
    limit_bytes: AtomicU64,
    /// Where the count stood when this part of the cycle began, and what it allows in all.
    from_bytes: AtomicU64,
    allowed_bytes: AtomicU64,
    held_back_us: AtomicU64,
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            limit_bytes: AtomicU64::new(u64::MAX),
            from_bytes: AtomicU64::new(0),
            allowed_bytes: AtomicU64::new(0),
            held_back_us: AtomicU64::new(0),
        }
    }
}

// All accesses are relaxed: figures, of which an old one costs a sleep too many or too few.
impl Throttle {
    /// From now on `allowed_bytes` are to last until this part of the cycle is done.
    pub fn begin(&self, allocated_bytes: u64, allowed_bytes: u64) {
        self.from_bytes.store(allocated_bytes, Ordering::Relaxed);
        self.allowed_bytes.store(allowed_bytes, Ordering::Relaxed);
        self.progress(0.0);
    }

    /// The share of this part's work that is done.
    pub fn progress(&self, done: f64) {
        let allowed = self.allowed_bytes.load(Ordering::Relaxed) as f64 * (AT_ONCE + (1.0 - AT_ONCE) * done.min(1.0));
        self.limit_bytes.store(self.from_bytes.load(Ordering::Relaxed) + allowed as u64, Ordering::Relaxed);
    }

    /// Lets everybody go on.
    pub fn lift(&self) {
        self.limit_bytes.store(u64::MAX, Ordering::Relaxed);
    }

    /// How long a mutator should sleep that has just taken a chunk.
    #[inline]
    #[must_use]
    pub fn sleep_for(&self, allocated_bytes: u64) -> Duration {
        let ahead = allocated_bytes.saturating_sub(self.limit_bytes.load(Ordering::Relaxed));
        if ahead == 0 {
            return Duration::ZERO;
        }
        let eighth = self.allowed_bytes.load(Ordering::Relaxed) as f64 * AT_ONCE;
        SLEEP[0] + (SLEEP[1] - SLEEP[0]).mul_f64((ahead as f64 / eighth.max(1.0)).min(1.0))
    }

    /// Counts a sleep.
    pub fn note(&self, slept: Duration) {
        self.held_back_us.fetch_add(slept.as_micros() as u64, Ordering::Relaxed);
    }

    /// How long mutators slept in all.
    #[must_use]
    pub fn held_back_ms(&self) -> f64 {
        self.held_back_us.load(Ordering::Relaxed) as f64 / 1e3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn who_is_ahead_of_the_collector_sleeps_longer_the_further() {
        let throttle = Throttle::default();
        assert_eq!(throttle.sleep_for(1 << 50), Duration::ZERO);
        throttle.begin(1000 * MIB, 80 * MIB);
        assert_eq!(throttle.sleep_for(1010 * MIB), Duration::ZERO);
        assert_eq!(throttle.sleep_for(1015 * MIB), (SLEEP[0] + SLEEP[1]) / 2);
        assert_eq!(throttle.sleep_for(1070 * MIB), SLEEP[1]);
        throttle.progress(0.5);
        assert_eq!(throttle.sleep_for(1045 * MIB), Duration::ZERO);
        assert!(throttle.sleep_for(1046 * MIB) > SLEEP[0]);
        throttle.progress(2.0);
        assert_eq!(throttle.sleep_for(1080 * MIB), Duration::ZERO);
        throttle.lift();
        assert_eq!(throttle.sleep_for(1 << 50), Duration::ZERO);
    }

    #[test]
    fn nothing_allowed_is_the_longest_sleep() {
        let throttle = Throttle::default();
        throttle.begin(0, 0);
        assert_eq!(throttle.sleep_for(1), SLEEP[1]);
    }
}
