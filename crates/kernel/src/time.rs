//! Clocks.

use std::time::Duration;

/// How long the calling thread has had a processor: `clock_gettime(CLOCK_THREAD_CPUTIME_ID)`.
#[must_use]
pub fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec, ours.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert!(failed == 0, "the clock exists since Linux 2.6.12");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

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
