//! Clocks, and sleeping.

use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use crate::futex;

/// Sleeps. In place of `std::thread::sleep`, which panics where a filter on system calls forbids `clock_nanosleep`: on a futex,
/// which no program with threads can do without. If that is forbidden too, it gives the processor away until the time is over.
pub fn sleep(time: Duration) {
    let began = Instant::now();
    let nobody_wakes = AtomicU32::new(0);
    while let Some(left) = time.checked_sub(began.elapsed()).filter(|left| !left.is_zero()) {
        futex::wait(&nobody_wakes, 0, Some(left));
        if began.elapsed() < time {
            std::thread::yield_now();
        }
    }
}

/// How long the calling thread has had a processor: `clock_gettime(CLOCK_THREAD_CPUTIME_ID)`. Zero where a filter on system
/// calls forbids that.
#[must_use]
pub fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec, ours.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_is_as_long_as_asked_for_or_longer() {
        for time in [Duration::ZERO, Duration::from_micros(16), Duration::from_millis(3)] {
            let began = Instant::now();
            sleep(time);
            assert!(began.elapsed() >= time);
        }
    }

    #[test]
    fn who_waits_has_less_of_the_processors_than_whom_it_waits_for() {
        let before = processor_time();
        let working = std::thread::spawn(|| {
            let (before, mut sum) = (processor_time(), 0_u64);
            while processor_time() - before < Duration::from_millis(20) {
                sum = std::hint::black_box(sum + 1);
            }
            processor_time() - before
        });
        let worked = working.join().unwrap();
        assert!(processor_time() - before < worked);
    }
}
