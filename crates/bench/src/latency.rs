//! How long operations took: a histogram of all of them, and a list of the long ones.

use std::io::{self, Write};
use std::time::Instant;

/// Operations from this many nanoseconds on are kept one by one.
pub const STALL_NS: u64 = 20_000;
/// At most so many of a thread.
const STALLS_MAX: usize = 1 << 20;

/// Counts of durations in nanoseconds. 32 buckets for each power of two: a bucket is at most 3 % wide.
#[derive(Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    max_ns: u64,
}

impl Histogram {
    /// An empty one.
    pub fn new() -> Self {
        Self { counts: vec![0; 60 * 32], max_ns: 0 }
    }

    /// The bucket of a duration.
    fn bucket(ns: u64) -> usize {
        let Some(shift) = (ns >> 5).checked_ilog2() else { return ns as usize };
        (((shift + 1) << 5) as u64 + (ns >> shift) - 32) as usize
    }

    /// Adds a duration.
    pub fn add(&mut self, ns: u64) {
        self.counts[Self::bucket(ns)] += 1;
        self.max_ns = self.max_ns.max(ns);
    }

    /// Adds all that another one has.
    pub fn merge(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count += more);
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    /// The longest, in nanoseconds.
    pub fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// Buckets that are not empty: number and count.
    pub fn buckets(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.counts.iter().copied().enumerate().filter(|(_, count)| *count > 0)
    }
}

/// Times the operations of one thread, each from the end of the one before: no stop can hide between two.
pub struct Recorder {
    began: Instant,
    last_ns: u64,
    /// All operations.
    pub histogram: Histogram,
    /// Begin and duration of the long ones, in nanoseconds.
    stalls: Vec<(u64, u64)>,
    /// Long ones that there was no room for.
    pub dropped: u64,
}

impl Recorder {
    /// A recorder whose first operation begins now. Times are counted from `began`.
    pub fn start(began: Instant) -> Self {
        let last_ns = began.elapsed().as_nanos() as u64;
        Self { began, last_ns, histogram: Histogram::new(), stalls: Vec::with_capacity(STALLS_MAX), dropped: 0 }
    }

    /// An operation has ended.
    pub fn note(&mut self) {
        let now_ns = self.began.elapsed().as_nanos() as u64;
        let took_ns = now_ns - self.last_ns;
        self.histogram.add(took_ns);
        if took_ns >= STALL_NS {
            if self.stalls.len() < STALLS_MAX {
                self.stalls.push((self.last_ns, took_ns));
            } else {
                self.dropped += 1;
            }
        }
        self.last_ns = now_ns;
    }

    /// When the last operation ended, in nanoseconds.
    pub fn last_ns(&self) -> u64 {
        self.last_ns
    }

    /// Writes the long operations: thread, begin and duration, as little-endian words.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_stalls(&self, thread: u64, to: &mut impl Write) -> io::Result<()> {
        for (begin_ns, took_ns) in &self.stalls {
            for word in [thread, *begin_ns, *took_ns] {
                to.write_all(&word.to_le_bytes())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Histogram;

    #[test]
    fn buckets_follow_each_other_and_are_narrow() {
        let mut last = 0;
        for ns in 0..1_000_000_u64 {
            let bucket = Histogram::bucket(ns);
            assert!(bucket == last || bucket == last + 1, "{ns}");
            last = bucket;
        }
        assert_eq!([31, 32, 63, 64, 65, 66, 127, 128].map(Histogram::bucket), [31, 32, 63, 64, 64, 65, 95, 96]);
    }

    #[test]
    fn merging_adds_counts_and_keeps_the_longest() {
        let (mut a, mut b) = (Histogram::new(), Histogram::new());
        [5, 5, 1_000].into_iter().for_each(|ns| a.add(ns));
        b.add(2_000);
        a.merge(&b);
        assert_eq!(a.max_ns(), 2_000);
        assert_eq!(a.buckets().map(|(_, count)| count).collect::<Vec<_>>(), [2, 1, 1]);
    }
}
