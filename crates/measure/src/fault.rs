//! One access to a page that is not ready: through the heap, and beside it with a handler that only continues.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use subduct_heap::compact::mover::WORKER_CLEAN_PAGES;
use subduct_heap::{Delivery, Heap, Recycle, Stats, clock};
use subduct_kernel::{GIB, page_size};

use crate::error::{Progress, Result, step};
use crate::graph::{self, Objects, Wanted};
use crate::handler::BareHandler;
use crate::random::Random;
use crate::twin::Twin;

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Live bytes of the heap.
    pub size_bytes: u64,
    /// Flips; each gives as many samples as there is time for until the worker is through.
    pub flips: usize,
    /// How faults are caught.
    pub delivery: Delivery,
}

/// Pages that a worker installs with one call.
const INSTALLED_PAGES: usize = WORKER_CLEAN_PAGES as usize;
/// Accesses without a worker beside them, after each flip.
const QUIET_TOUCHES: usize = 2_000;
/// Samples kept of each kind: more would only be more bytes.
const SAMPLES_MAX: usize = 200_000;

/// Touches pages at random after each flip. Returns raw samples in microseconds: `heap_us` (a heap operation with one fault),
/// `heap_ready_us` (the same operation without), `bare_us` (a fault of the twin, as many pages at a time, a worker
/// beside it as in the heap), `bare_quiet_us` and `bare_one_us` (no worker; as many pages, and one), `first_touch_us` (no
/// userfaultfd at all); and `pages_per_fault`. Where the machine is busy, a worker may be through before a page is touched:
/// `heap_us` may then be empty.
///
/// # Errors
/// Those of the heap and the kernel; [`crate::Error::Stopped`].
pub fn measure(wanted: &Fault, progress: &mut Progress<'_>) -> Result<Value> {
    let (heap, name) = graph::heap(Wanted {
        budget_bytes: wanted.size_bytes / 4 * 5 + (96 << 20),
        delivery: Some(wanted.delivery),
        recycle: Recycle::Pool,
        move_all: false,
    })?;
    step(progress, "filling")?;
    let blocks = graph::blocks(&heap, wanted.size_bytes, progress)?;
    heap.collect()?;
    let before = heap.stats()?;
    let twin = Twin::new(&name, (2 * before.budget_bytes as usize).next_multiple_of(GIB))?;
    let mut random = Random::new(1);

    step(progress, "faulting")?;
    let (mut heap_us, mut heap_ready_us) = (Vec::new(), Vec::new());
    for _ in 0..wanted.flips {
        step(progress, "")?;
        touch_heap(&heap, &blocks, &mut random, &mut heap_us, &mut heap_ready_us)?;
    }
    let pages_per_fault = pages_per_fault(&before, &heap.stats()?);
    let pages = (pages_per_fault.round() as usize).max(1);

    let (mut bare_us, mut bare_quiet_us, mut bare_one_us) = (Vec::new(), Vec::new(), Vec::new());
    let mut first_touch_us = Vec::new();
    for _ in 0..wanted.flips {
        step(progress, "")?;
        touch_beside_worker(&twin, pages, &mut random, &mut bare_us)?;
        touch_quietly(&twin, pages, &mut random, &mut bare_quiet_us)?;
        touch_quietly(&twin, 1, &mut random, &mut bare_one_us)?;
        twin.drop_entries()?;
        for _ in 0..QUIET_TOUCHES {
            let offset = anywhere(&twin, &mut random);
            first_touch_us.push(time_us(|| twin.touch(offset)));
        }
        twin.populate()?;
    }
    Ok(json!({
        "pages_per_fault": pages_per_fault,
        "bytes_per_fault": pages_per_fault * page_size() as f64,
        "heap_us": heap_us,
        "heap_ready_us": heap_ready_us,
        "bare_us": bare_us,
        "bare_quiet_us": bare_quiet_us,
        "bare_one_us": bare_one_us,
        "first_touch_us": first_touch_us,
        "faults": heap.stats()?.faults - before.faults,
    }))
}

fn time_us<T>(f: impl FnOnce() -> T) -> f64 {
    let began = clock::ticks();
    std::hint::black_box(f());
    clock::to_us(clock::ticks().wrapping_sub(began))
}

/// Pages that threads made ready for each fault they served.
fn pages_per_fault(before: &Stats, after: &Stats) -> f64 {
    let ready = |stats: &Stats| stats.pages_fixed + stats.pages_built + stats.pages_installed;
    let by_threads = (ready(after) - ready(before)) - (after.worker_pages - before.worker_pages);
    by_threads as f64 / (after.faults - before.faults).max(1) as f64
}

/// Reads blocks at random while another thread flips, which it does once this one has begun; one fault more or none tells which
/// sample it is.
fn touch_heap(
    heap: &Heap,
    blocks: &Objects,
    random: &mut Random,
    faulted_us: &mut Vec<f64>,
    ready_us: &mut Vec<f64>,
) -> Result<()> {
    let (begun, done) = (AtomicBool::new(false), AtomicBool::new(false));
    let mut faults = heap.stats()?.faults;
    std::thread::scope(|scope| {
        // Set also where this thread gives up early: the scope waits for the other.
        let _begun = Set(&begun);
        let flipping = scope.spawn(|| {
            wait_for(&begun);
            let report = heap.flip();
            done.store(true, Ordering::Release);
            report
        });
        while !done.load(Ordering::Acquire) {
            let (i, slot) = (random.below(blocks.count), random.below(graph::BLOCK_SLOTS));
            let mut result = Ok(None);
            let us = time_us(|| {
                result = heap.attempt(|op| Ok(blocks.get(op, i).map(|block| op.load(block, slot)))).map_err(drop)
            });
            let now = heap.stats()?.faults;
            let before = std::mem::replace(&mut faults, now);
            let samples = match now - before {
                0 => &mut *ready_us,
                1 => &mut *faulted_us,
                _ => continue,
            };
            if result.is_ok() && samples.len() < SAMPLES_MAX {
                samples.push(us);
            }
            begun.store(true, Ordering::Release);
        }
        flipping.join().map_or(Err(crate::Error::Stopped), |report| Ok(report.map(drop)?))
    })
}

/// Sets a flag when it is dropped.
struct Set<'f>(&'f AtomicBool);

impl Drop for Set<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn wait_for(flag: &AtomicBool) {
    while !flag.load(Ordering::Acquire) {
        std::thread::yield_now();
    }
}

/// An offset in a page that the twin's file holds.
fn anywhere(twin: &Twin, random: &mut Random) -> usize {
    let mut at = random.below(twin.resident_bytes());
    for (start, end) in twin.extents() {
        if at < end - start {
            return start + at;
        }
        at -= end - start;
    }
    0
}

/// Touches pages at random while another thread installs them, which it does once this one has begun.
fn touch_beside_worker(twin: &Twin, pages: usize, random: &mut Random, samples: &mut Vec<f64>) -> Result<()> {
    twin.flip()?;
    let handler = BareHandler::install(twin, pages)?;
    let (begun, done) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            wait_for(&begun);
            twin.install(INSTALLED_PAGES);
            done.store(true, Ordering::Release);
        });
        while !done.load(Ordering::Acquire) {
            sample_bare(&handler, twin, random, samples);
            begun.store(true, Ordering::Release);
        }
    });
    drop(handler);
    twin.unregister()?;
    twin.clear_behind()?;
    twin.populate()
}

fn touch_quietly(twin: &Twin, pages: usize, random: &mut Random, samples: &mut Vec<f64>) -> Result<()> {
    twin.flip()?;
    let handler = BareHandler::install(twin, pages)?;
    for _ in 0..QUIET_TOUCHES {
        sample_bare(&handler, twin, random, samples);
    }
    drop(handler);
    twin.unregister()?;
    twin.clear_behind()?;
    twin.populate()
}

fn sample_bare(handler: &BareHandler, twin: &Twin, random: &mut Random, samples: &mut Vec<f64>) {
    let before = handler.faults();
    let offset = anywhere(twin, random);
    let us = time_us(|| twin.touch(offset));
    if handler.faults() == before + 1 && samples.len() < SAMPLES_MAX {
        samples.push(us);
    }
}
