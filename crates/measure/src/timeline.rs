//! What one thread got done, and when.

use std::time::Instant;

/// Length of a slice of time, in microseconds: fine enough for windows of a millisecond.
pub const SLICE_US: f64 = 100.0;

/// Operations of one thread in slices of time, and how much of each slice was taken from it.
pub struct Timeline {
    began: Instant,
    operations: Vec<u32>,
    taken_us: Vec<f32>,
}

impl Timeline {
    /// A timeline from `began` on that grows as time passes.
    #[must_use]
    pub fn new(began: Instant) -> Self {
        Self { began, operations: Vec::new(), taken_us: Vec::new() }
    }

    /// Counts an operation that ends now, lasted `us`, and would have taken no more than `expected_us` undisturbed.
    #[inline]
    pub fn add(&mut self, us: f64, expected_us: f64) {
        let now_us = self.began.elapsed().as_secs_f64() * 1e6;
        let slice = (now_us / SLICE_US) as usize;
        if slice >= self.operations.len() {
            self.operations.resize(slice + 1, 0);
            self.taken_us.resize(slice + 1, 0.0);
        }
        self.operations[slice] += 1;
        if us > expected_us {
            self.take(now_us - (us - expected_us), now_us);
        }
    }

    /// Takes the time between two moments away, from every slice its part.
    fn take(&mut self, from_us: f64, to_us: f64) {
        let mut at = from_us.max(0.0);
        while at < to_us {
            let slice = (at / SLICE_US) as usize;
            let end = ((slice + 1) as f64 * SLICE_US).min(to_us);
            if let Some(taken) = self.taken_us.get_mut(slice) {
                *taken += (end - at) as f32;
            }
            at = end.max(at + 1e-3);
        }
    }

    /// Operations that ended between two moments, in seconds since it began.
    #[must_use]
    pub fn operations(&self, from_s: f64, to_s: f64) -> u64 {
        let slice = |s: f64| ((s * 1e6 / SLICE_US).max(0.0) as usize).min(self.operations.len());
        self.operations[slice(from_s)..slice(to_s).max(slice(from_s))].iter().map(|count| u64::from(*count)).sum()
    }

    /// The least share of any `window_us` that was left to the thread, between two moments.
    #[must_use]
    pub fn utilisation(&self, window_us: f64, from_s: f64, to_s: f64) -> f64 {
        let slice = |s: f64| ((s * 1e6 / SLICE_US).max(0.0) as usize).min(self.taken_us.len());
        let window = (window_us / SLICE_US).max(1.0) as usize;
        let taken = &self.taken_us[slice(from_s)..slice(to_s).max(slice(from_s))];
        let worst = taken.windows(window).map(|slices| slices.iter().map(|us| f64::from(*us)).sum::<f64>());
        (1.0 - worst.fold(0.0, f64::max) / (window as f64 * SLICE_US)).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_was_taken_counts_where_it_was_taken() {
        let mut timeline = Timeline::new(Instant::now());
        timeline.operations.resize(100, 1);
        timeline.taken_us.resize(100, 0.0);
        timeline.take(1_000.0, 1_950.0);
        timeline.take(1_950.0, 2_000.0);
        assert!((timeline.utilisation(1_000.0, 0.0, 0.01) - 0.0).abs() < 1e-3);
        assert!((timeline.utilisation(10_000.0, 0.0, 0.01) - 0.9).abs() < 1e-3);
        assert!((timeline.utilisation(1_000.0, 0.005, 0.01) - 1.0).abs() < 1e-9);
        assert_eq!(timeline.operations(0.001, 0.002), 10);
    }
}
