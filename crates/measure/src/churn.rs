//! Threads that read and replace records while the heap collects at its own pace: their operations one by one, what a thread
//! feels that only sleeps, and what remains in memory.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use subduct_heap::{Delivery, Heap, Recycle, Stats};

use crate::error::{Progress, Result, step};
use crate::graph::{self, NODE_BYTES, Nodes, Objects, Reach, Wanted};
use crate::histogram::Histogram;
use crate::random::Random;
use crate::records;
use crate::stalls::Stalls;
use crate::timeline::Timeline;

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Churn {
    /// Records alive at any time.
    pub records: usize,
    /// Threads that use them.
    pub threads: usize,
    /// How long the threads run while cycles follow one another.
    pub seconds: f64,
    /// How faults are caught; chosen by trying if `None`.
    pub delivery: Option<Delivery>,
    /// What becomes of freed memory.
    pub recycle: Recycle,
}

/// Bytes of a record and its place in the table, generously.
const RECORD_BYTES: u64 = 256;
/// Longest time without a cycle, for comparison, in seconds. It ends when the first cycle begins.
const QUIET_S: f64 = 1.5;
/// What the sleeper asks for.
const SLEEP: Duration = Duration::from_millis(1);
/// How often resident bytes are read.
const SAMPLE: Duration = Duration::from_millis(20);
/// Operations after which a thread tells how long they took, in the quiet phase.
const FRESH: u64 = 1024;
/// Longest operations that are told one by one, for each thread.
const LONGEST: usize = 16;
/// Windows that the least utilisation is given for, in microseconds.
const WINDOWS_US: [f64; 3] = [1e3, 1e4, 1e5];

/// Phases of a run.
const QUIET: usize = 0;
const CYCLES: usize = 1;
const OVER: usize = 2;

/// What the threads of a run share.
struct Run<'r> {
    heap: &'r Heap,
    records: Objects,
    began: Instant,
    phase: AtomicUsize,
    /// What an operation takes undisturbed, in nanoseconds: set at the end of the quiet phase.
    expected_ns: AtomicU64,
    quiet: Mutex<Histogram>,
}

/// What one thread did.
struct Done {
    operations: [Histogram; 2],
    timeline: Timeline,
    longest: Vec<(f64, f64)>,
    sound: bool,
}

/// Churns: first until a cycle begins (`quiet`), then for the time wanted (`cycles`). For both: operations, their distribution,
/// the sleeper's lateness and the least utilisation; then memory before and after a full collection, and what the cycles did.
///
/// # Errors
/// Those of the heap and the kernel; [`crate::Error::Stopped`].
pub fn measure(wanted: &Churn, progress: &mut Progress<'_>) -> Result<Value> {
    let stalls = Arc::new(Stalls::watch());
    let (heap, _) = graph::heap(Wanted {
        budget_bytes: wanted.records as u64 * RECORD_BYTES * 2 + (96 << 20),
        delivery: wanted.delivery,
        recycle: wanted.recycle,
        move_all: false,
    })?;
    step(progress, "filling")?;
    let records = records::make(&heap, wanted.records, progress)?;
    heap.collect()?;
    let before = heap.stats()?;
    step(progress, "churning")?;
    let run = Run {
        heap: &heap,
        records,
        began: Instant::now(),
        phase: AtomicUsize::new(QUIET),
        expected_ns: AtomicU64::new(u64::MAX),
        quiet: Mutex::default(),
    };
    let offset_s = stalls.now_s();
    let (found, peak_bytes, done, sleeper, times) = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..wanted.threads)
            .map(|i| {
                scope.spawn({
                    let run = &run;
                    move || churn(run, i as u64)
                })
            })
            .collect();
        let sleeping = scope.spawn(|| sleep(&run));
        let driven = drive(&run, before.cycles, wanted.seconds, progress);
        run.phase.store(OVER, Ordering::Relaxed);
        let done: Vec<_> = threads.into_iter().filter_map(|thread| thread.join().ok()).collect();
        let sleeper = sleeping.join().unwrap_or_default();
        let (found, peak_bytes, times) = match driven {
            Ok((peak_bytes, times)) => (Ok(()), peak_bytes, times),
            Err(error) => (Err(error), 0, [0.0; 3]),
        };
        (found, peak_bytes, done, sleeper, times)
    });
    found?;
    let after = heap.stats()?;
    let report = heap.collect()?;
    let phase = |phase: usize| describe(&done, &sleeper[phase], phase, [times[phase], times[phase + 1]]);
    Ok(json!({
        "delivery": after.delivery.to_string(),
        "recycle": wanted.recycle.to_string(),
        "records": wanted.records,
        "threads": wanted.threads,
        "sound": done.len() == wanted.threads && done.iter().all(|done| done.sound),
        "quiet": phase(QUIET),
        "cycles": phase(CYCLES),
        "longest": longest(&done, &stalls, offset_s),
        "stalls": stalls.report(),
        "collector": collector(&before, &after),
        "memory": {
            "peak_bytes": peak_bytes,
            "resident_bytes": after.resident_bytes,
            "collected_live_bytes": report.live_bytes,
            "collected_resident_bytes": report.resident_bytes,
        },
    }))
}

/// Watches the run: ends the quiet phase when a cycle begins. The most bytes that were resident, and when the phases began
/// and ended.
fn drive(run: &Run<'_>, cycles: u64, seconds: f64, progress: &mut Progress<'_>) -> Result<(u64, [f64; 3])> {
    let (mut peak_bytes, mut quiet_until_s) = (0, 0.0);
    loop {
        step(progress, "")?;
        std::thread::sleep(SAMPLE);
        let (stats, now_s) = (run.heap.stats()?, run.began.elapsed().as_secs_f64());
        peak_bytes = peak_bytes.max(stats.resident_bytes);
        if quiet_until_s == 0.0 && (now_s >= QUIET_S || stats.cycles > cycles) {
            quiet_until_s = now_s;
            let quiet = run.quiet.lock().unwrap_or_else(PoisonError::into_inner);
            run.expected_ns.store((quiet.quantile_us(0.99) * 1e3) as u64, Ordering::Relaxed);
            run.phase.store(CYCLES, Ordering::Relaxed);
        } else if quiet_until_s > 0.0 && now_s >= quiet_until_s + seconds {
            return Ok((peak_bytes, [0.0, quiet_until_s, now_s]));
        }
    }
}

fn churn(run: &Run<'_>, seed: u64) -> Done {
    let mut done =
        Done { operations: Default::default(), timeline: Timeline::new(run.began), longest: Vec::new(), sound: true };
    let mut random = Random::new(seed + 1);
    let mut version = 0;
    let mut fresh = Histogram::default();
    loop {
        let phase = run.phase.load(Ordering::Relaxed);
        if phase == OVER {
            return done;
        }
        version += 1;
        let from = Instant::now();
        let Ok(right) = records::operate(run.heap, &run.records, &mut random, version) else {
            done.sound = false;
            return done;
        };
        let us = from.elapsed().as_secs_f64() * 1e6;
        done.sound &= right;
        done.operations[phase].add(us);
        done.timeline.add(us, run.expected_ns.load(Ordering::Relaxed) as f64 / 1e3);
        if phase == CYCLES {
            keep_longest(&mut done.longest, run.began.elapsed().as_secs_f64(), us);
        } else {
            fresh.add(us);
            if fresh.count() == FRESH {
                run.quiet.lock().unwrap_or_else(PoisonError::into_inner).merge(&std::mem::take(&mut fresh));
            }
        }
    }
}

fn keep_longest(longest: &mut Vec<(f64, f64)>, now_s: f64, us: f64) {
    if longest.len() < LONGEST {
        longest.push((now_s, us));
    } else if let Some(least) = longest.iter_mut().min_by(|a, b| a.1.total_cmp(&b.1)).filter(|least| least.1 < us) {
        *least = (now_s, us);
    }
}

/// Sleeps for a millisecond again and again: how much later than that it ran, in both phases.
fn sleep(run: &Run<'_>) -> [Histogram; 2] {
    let mut late: [Histogram; 2] = Default::default();
    loop {
        let phase = run.phase.load(Ordering::Relaxed);
        if phase == OVER {
            return late;
        }
        let from = Instant::now();
        std::thread::sleep(SLEEP);
        late[phase].add(from.elapsed().saturating_sub(SLEEP).as_secs_f64() * 1e6);
    }
}

fn describe(done: &[Done], sleeper: &Histogram, phase: usize, [from_s, to_s]: [f64; 2]) -> Value {
    let mut operations = Histogram::default();
    done.iter().for_each(|done| operations.merge(&done.operations[phase]));
    let utilisation: serde_json::Map<String, Value> = WINDOWS_US
        .iter()
        .map(|window_us| {
            let least = done.iter().map(|done| done.timeline.utilisation(*window_us, from_s, to_s));
            (format!("{}ms", window_us / 1e3), json!(least.fold(1.0, f64::min)))
        })
        .collect();
    json!({
        "seconds": to_s - from_s,
        "operations_per_s": operations.count() as f64 / (to_s - from_s).max(1e-6),
        "operation": operations.report(),
        "sleeper": sleeper.report(),
        "utilisation": utilisation,
    })
}

/// The longest operations while cycles ran, and whether a control thread saw a stall then.
fn longest(done: &[Done], stalls: &Stalls, offset_s: f64) -> Vec<Value> {
    let mut all: Vec<_> = done.iter().flat_map(|done| done.longest.iter().copied()).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    all.truncate(LONGEST);
    all.into_iter()
        .map(|(at_s, us)| {
            let to_s = at_s + offset_s;
            json!({ "us": us, "at_s": at_s, "stalled": stalls.any_between(to_s - us / 1e6, to_s) })
        })
        .collect()
}

fn collector(before: &Stats, after: &Stats) -> Value {
    json!({
        "cycles": after.cycles - before.cycles,
        "moves": after.moves - before.moves,
        "stalls": after.stalls - before.stalls,
        "held_back_ms": after.held_back_ms - before.held_back_ms,
        "rest_ms": after.rest_ms - before.rest_ms,
        "faults": after.faults - before.faults,
        "bytes_evacuated": after.bytes_evacuated - before.bytes_evacuated,
        "allocated_bytes": after.allocated_bytes - before.allocated_bytes,
        "pause_p50_us": after.pauses.p50_us,
        "pause_p99_us": after.pauses.p99_us,
        "pause_max_us": after.pauses.max_us,
        "pauses": after.pauses.count,
    })
}

/// What a heap of `size_bytes` of nodes takes beside its file after a cycle, where everything moved or nothing: private memory
/// of this process, before and after, and what the heap holds. Nothing else of this process may allocate meanwhile.
///
/// # Errors
/// Those of the heap and the kernel; [`crate::Error::Stopped`].
pub fn side_tables(size_bytes: u64, move_all: bool, progress: &mut Progress<'_>) -> Result<Value> {
    step(progress, "filling")?;
    let before_bytes = private_bytes();
    let (heap, _) = graph::heap(Wanted {
        budget_bytes: size_bytes * 4 + (128 << 20),
        delivery: None,
        recycle: Recycle::Pool,
        move_all,
    })?;
    let nodes = Nodes { is_chained: true, ..Nodes::alike(Reach::Local) };
    nodes.make(&heap, size_bytes as usize / NODE_BYTES, progress)?.keep_last(&heap)?;
    let report = heap.collect()?;
    Ok(json!({
        "private_bytes": private_bytes().saturating_sub(before_bytes),
        "live_bytes": report.live_bytes,
        "resident_bytes": report.resident_bytes,
        "regions_evacuated": report.regions_evacuated,
    }))
}

/// Private memory of this process, asked from the kernel; 0 where it does not say.
fn private_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
}
