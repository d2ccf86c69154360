//! A distribution of times in little memory: sixteen steps for each doubling.

use serde_json::{Value, json};

const STEPS: usize = 16;
const OCTAVES: usize = 44;

/// Counts of times, from nanoseconds to hours; a time is known to within a sixteenth.
pub struct Histogram {
    counts: Vec<u64>,
    count: u64,
    max_us: f64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; STEPS * OCTAVES], count: 0, max_us: 0.0 }
    }
}

impl Histogram {
    /// Counts one time.
    #[inline]
    pub fn add(&mut self, us: f64) {
        let ns = (us * 1e3).max(1.0) as u64;
        let octave = ns.ilog2() as usize;
        let step = if octave < 4 { ns << (4 - octave) } else { ns >> (octave - 4) } as usize - STEPS;
        self.count += 1;
        self.counts[(octave * STEPS + step).min(STEPS * OCTAVES - 1)] += 1;
        self.max_us = self.max_us.max(us);
    }

    /// Adds what another counted.
    pub fn merge(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(mine, theirs)| *mine += theirs);
        self.count += other.count;
        self.max_us = self.max_us.max(other.max_us);
    }

    /// How many times were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The time that a share of all are no longer than: the upper end of the step it lies in, at most the longest.
    #[must_use]
    pub fn quantile_us(&self, share: f64) -> f64 {
        let rank = (share * self.count as f64).ceil() as u64;
        let mut seen = 0;
        for (i, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank.max(1) {
                let (octave, step) = (i / STEPS, i % STEPS);
                let upper_ns = (STEPS + step + 1) as f64 * 2_f64.powi(octave as i32 - 4);
                return (upper_ns / 1e3).min(self.max_us);
            }
        }
        0.0
    }

    /// `count`, `median_us`, `p99_us`, `p99_9_us`, `max_us`.
    #[must_use]
    pub fn report(&self) -> Value {
        json!({
            "count": self.count(),
            "median_us": self.quantile_us(0.5),
            "p99_us": self.quantile_us(0.99),
            "p99_9_us": self.quantile_us(0.999),
            "max_us": self.max_us,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_within_a_sixteenth() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile_us(0.5), 0.0);
        (1..=1000).for_each(|us| histogram.add(f64::from(us)));
        for (share, us) in [(0.001, 1.0), (0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = histogram.quantile_us(share);
            assert!((us..=us * 1.0625 + 0.001).contains(&found), "{share}: {found}");
        }
        let mut other = Histogram::default();
        other.add(5e6);
        histogram.merge(&other);
        assert_eq!((histogram.count(), histogram.quantile_us(1.0)), (1001, 5e6));
    }
}
