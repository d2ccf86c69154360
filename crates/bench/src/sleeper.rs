//! A thread that sleeps a millisecond at a time and measures how much longer it took to be back at work.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::latency::Histogram;

/// Sleeps until `stop` is set; after each sleep `work` is done once, inside the measure.
pub fn sleep_until(stop: &AtomicBool, mut work: impl FnMut()) -> Histogram {
    let sleep = Duration::from_millis(1);
    let mut late = Histogram::new();
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        std::thread::sleep(sleep);
        work();
        late.add(began.elapsed().saturating_sub(sleep).as_nanos() as u64);
    }
    late
}
