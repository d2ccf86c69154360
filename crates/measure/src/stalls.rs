//! The control: threads that only sleep, one bound to each processor. When one of them wakes up late, that processor did not run
//! this machine's code, or not ours: a hypervisor took it, or the kernel. What happened to others at that time
//! is not their doing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long a control thread sleeps at a time.
const SLEEP: Duration = Duration::from_micros(500);
/// Waking up later than this is a stall: ten times what a timer and a switch take.
const STALL_US: f64 = 100.0;

/// A time in which a processor did not run, in seconds since the control began.
#[derive(Clone, Copy)]
struct Stall {
    from_s: f64,
    to_s: f64,
}

#[derive(Default)]
struct Seen {
    stalls: Mutex<Vec<Stall>>,
    stop: AtomicBool,
}

/// Control threads under way; they end when it is dropped.
pub struct Stalls {
    began: Instant,
    seen: Arc<Seen>,
    threads: Vec<JoinHandle<()>>,
    is_realtime: bool,
}

impl Stalls {
    /// Starts a control thread on each processor that this process may use. Before everything else that is allowed to be
    /// slow, if this process may ask for that (`SCHED_FIFO`); otherwise a busy machine shows as stalls too.
    #[must_use]
    pub fn watch() -> Self {
        let (began, seen) = (Instant::now(), Arc::new(Seen::default()));
        let is_realtime = Arc::new(AtomicBool::new(true));
        let threads = processors()
            .into_iter()
            .map(|processor| {
                let (seen, is_realtime) = (Arc::clone(&seen), Arc::clone(&is_realtime));
                std::thread::spawn(move || {
                    if !settle(processor) {
                        is_realtime.store(false, Ordering::Relaxed);
                    }
                    run(began, &seen);
                })
            })
            .collect();
        // Their first sleep is over when the figure is read.
        std::thread::sleep(4 * SLEEP);
        Self { began, seen, threads, is_realtime: is_realtime.load(Ordering::Relaxed) }
    }

    /// Now, in seconds since the control began.
    #[must_use]
    pub fn now_s(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// Whether a stall touches the time between two moments, in seconds since the control began.
    #[must_use]
    pub fn any_between(&self, from_s: f64, to_s: f64) -> bool {
        self.all().iter().any(|stall| stall.from_s < to_s && stall.to_s > from_s)
    }

    fn all(&self) -> Vec<Stall> {
        self.seen.stalls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was seen: `count`, `max_us` and `total_us` of stalls, `watched_s`, and whether the threads ran before others.
    #[must_use]
    pub fn report(&self) -> Value {
        let lengths: Vec<f64> = self.all().iter().map(|stall| (stall.to_s - stall.from_s) * 1e6).collect();
        json!({
            "count": lengths.len(),
            "max_us": lengths.iter().copied().fold(0.0, f64::max),
            "total_us": lengths.iter().sum::<f64>(),
            "watched_s": self.now_s(),
            "processors": self.threads.len(),
            "realtime": self.is_realtime,
        })
    }
}

impl Drop for Stalls {
    fn drop(&mut self) {
        self.seen.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn run(began: Instant, seen: &Seen) {
    while !seen.stop.load(Ordering::Relaxed) {
        let due = began.elapsed() + SLEEP;
        std::thread::sleep(SLEEP);
        let late = began.elapsed().saturating_sub(due);
        if late.as_secs_f64() * 1e6 > STALL_US {
            let stall = Stall { from_s: due.as_secs_f64(), to_s: (due + late).as_secs_f64() };
            seen.stalls.lock().unwrap_or_else(PoisonError::into_inner).push(stall);
        }
    }
}

/// Numbers of the processors that this process may use.
fn processors() -> Vec<usize> {
    // SAFETY: an all-zero set is valid, outlives the call, and its size is passed along.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) != 0 {
            return Vec::new();
        }
        (0..libc::CPU_SETSIZE as usize).filter(|processor| libc::CPU_ISSET(*processor, &set)).collect()
    }
}

/// Binds this thread to a processor and puts it before all ordinary threads; whether the latter was allowed.
fn settle(processor: usize) -> bool {
    // SAFETY: plain calls about this thread, on structures that outlive them.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(processor, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
        let first = libc::sched_param { sched_priority: 1 };
        libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const first) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_control_runs_on_every_processor_and_ends() {
        let stalls = Stalls::watch();
        let report = stalls.report();
        assert_eq!(report["processors"], json!(processors().len()));
        assert!(!processors().is_empty() && report["watched_s"].as_f64().unwrap() > 0.0);
        assert!(!stalls.any_between(-2.0, -1.0), "no stall before it began");
    }
}
