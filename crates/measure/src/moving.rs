//! The move: what a page costs the worker, what is left to a mutator meanwhile, and what a cycle costs by what is sparse.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use subduct_heap::compact::mover::{WORKER_CLEAN_PAGES, WORKER_PAGES};
use subduct_heap::{CycleReport, Delivery, Heap, Recycle};
use subduct_kernel::GIB;

use crate::error::{Progress, Result, step};
use crate::floor;
use crate::graph::{self, NODE_BYTES, NODE_REFERENCES, Nodes, Objects, Reach, Wanted};
use crate::random::Random;
use crate::timeline::Timeline;
use crate::twin::Twin;

/// What pages are made ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// None that needs anything: nothing moved.
    Install,
    /// Every page is built; references lead to neighbours.
    BuildLocal,
    /// Every page is built; 256 references a page, uniformly random.
    BuildRandom,
    /// Nearly every page is fixed; references lead to neighbours that moved.
    FixLocal,
    /// Nearly every page is fixed; 256 references a page to uniformly random objects that moved.
    FixRandom,
}

impl Work {
    /// The one with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "install" => Self::Install,
            "build_local" => Self::BuildLocal,
            "build_random" => Self::BuildRandom,
            "fix_local" => Self::FixLocal,
            "fix_random" => Self::FixRandom,
            _ => return None,
        })
    }
}

impl Work {
    /// Pages that the worker installs with one call.
    fn installed_pages(self) -> usize {
        let pages = if self == Self::Install { WORKER_CLEAN_PAGES } else { WORKER_PAGES };
        pages as usize
    }
}

/// One node of so many in a sparse region lives.
const SPARSE_STRIDE: usize = 4;
/// Of the regions, one of so many is sparse where pages are to be fixed.
const FIXED_FOR_ONE_SPARSE: usize = 16;
/// How often the floors are measured.
const FLOORS: usize = 3;

fn heap(size_bytes: u64, move_all: bool) -> Result<(Heap, String)> {
    graph::heap(Wanted {
        // Twice the objects and a table of them, and far from the budget, so that no cycle begins by itself.
        budget_bytes: size_bytes * 4 + (128 << 20),
        delivery: Some(Delivery::Sigbus),
        recycle: Recycle::Keep,
        move_all,
    })
}

/// One worker, no mutator. For each cycle: `move_us`, `pages_fixed`, `pages_built`, `pages_installed`; and the floors,
/// in microseconds a page: `memcpy_us`, `continue_us`.
///
/// # Errors
/// Those of the heap and the kernel; [`crate::Error::Stopped`].
pub fn worker(work: Work, size_bytes: u64, cycles: usize, progress: &mut Progress<'_>) -> Result<Value> {
    let mut moves = Vec::new();
    let mut last = None;
    step(progress, "filling and moving")?;
    match work {
        Work::Install => {
            let (heap, name) = heap(size_bytes, false)?;
            graph::blocks(&heap, size_bytes, progress)?;
            heap.collect()?;
            for _ in 0..cycles {
                step(progress, "")?;
                moves.push(heap.flip()?);
            }
            last = Some((heap, name));
        }
        Work::BuildLocal | Work::BuildRandom => {
            let (heap, name) = heap(size_bytes, true)?;
            let reach = if work == Work::BuildLocal { Reach::Local } else { Reach::Random };
            let nodes = Nodes { is_chained: true, ..Nodes::alike(reach) };
            nodes.make(&heap, size_bytes as usize / NODE_BYTES, progress)?.keep_last(&heap)?;
            // The first move fills regions that were never used; from then on they are recycled.
            heap.collect()?;
            for _ in 0..cycles {
                step(progress, "")?;
                moves.push(heap.collect()?);
            }
            last = Some((heap, name));
        }
        Work::FixLocal | Work::FixRandom => {
            let reach = if work == Work::FixLocal { Reach::Local } else { Reach::Random };
            for _ in 0..cycles {
                // What is evacuated is not sparse any more: each cycle needs a heap of its own.
                drop(last.take());
                let (heap, name) = heap(size_bytes, false)?;
                sparse_and_dense(&heap, size_bytes, reach, progress)?;
                moves.push(heap.collect()?);
                last = Some((heap, name));
            }
        }
    }
    let (mut memcpy_us, mut continue_us) = (Vec::new(), Vec::new());
    if let Some((heap, name)) = &last {
        let twin = Twin::new(name, (2 * heap.stats()?.budget_bytes as usize).next_multiple_of(GIB))?;
        for _ in 0..FLOORS {
            step(progress, "")?;
            let (us, pages) = floor::copy_pages(&twin);
            memcpy_us.push(us / pages.max(1) as f64);
            let (us, pages) = floor::continue_pages(&twin, work.installed_pages())?;
            continue_us.push(us / pages.max(1) as f64);
            twin.populate()?;
        }
    }
    Ok(json!({
        "cycles": moves.iter().map(described).collect::<Vec<_>>(),
        "memcpy_us": memcpy_us,
        "continue_us": continue_us,
    }))
}

fn described(report: &CycleReport) -> Value {
    json!({
        "mark_us": report.mark_ms * 1e3,
        "move_us": report.move_ms * 1e3,
        "pause_us": report.pause_us,
        "pages_fixed": report.pages_fixed,
        "pages_built": report.pages_built,
        "pages_installed": report.pages_installed,
        "faults": report.faults,
        "bytes_evacuated": report.bytes_evacuated,
        "regions_evacuated": report.regions_evacuated,
        "live_bytes": report.live_bytes,
        "live_objects": report.live_objects,
        "fallback": report.fallback,
    })
}

/// Some sparse regions, and dense ones whose nodes refer to what lives in them.
fn sparse_and_dense(heap: &Heap, size_bytes: u64, reach: Reach, progress: &mut Progress<'_>) -> Result<()> {
    let count = size_bytes as usize / NODE_BYTES;
    let sparse = Nodes { stride: SPARSE_STRIDE, ..Nodes::alike(Reach::Local) };
    let sparse = sparse.make(heap, count / FIXED_FOR_ONE_SPARSE, progress)?;
    let living = graph::every(heap, &sparse, SPARSE_STRIDE)?;
    let dense = Nodes { others: Some(&living), to_others: NODE_REFERENCES, reach, stride: 1, is_chained: true };
    dense.make(heap, count - sparse.count, progress)?.keep_last(heap)?;
    heap.drop_handle(sparse.table);
    heap.drop_handle(living.table);
    Ok(())
}

/// One mutator that walks a random graph while everything it uses moves: half of the regions are sparse and evacuated, the
/// others are fixed. For each of `cycles` heaps, operations per second before (`quiet_per_s`) and during the move (`moving_per_s`),
/// what the cycle did, the mutator's longest operation in microseconds, and whether every node it met was right (`sound`).
///
/// # Errors
/// Those of the heap and the kernel; [`crate::Error::Stopped`].
pub fn mutator(size_bytes: u64, cycles: usize, progress: &mut Progress<'_>) -> Result<Value> {
    let mut found = Vec::new();
    for _ in 0..cycles {
        step(progress, "filling and moving")?;
        let (heap, _) = heap(size_bytes, false)?;
        // A quarter of the sparse half lives, so that four fifths of what lives is dense.
        let count = size_bytes as usize / NODE_BYTES;
        let sparse = Nodes { stride: SPARSE_STRIDE, ..Nodes::alike(Reach::Random) }.make(&heap, count / 2, progress)?;
        let living = graph::every(&heap, &sparse, SPARSE_STRIDE)?;
        let dense = Nodes { others: Some(&living), to_others: NODE_REFERENCES / 2, ..Nodes::alike(Reach::Random) };
        let dense = dense.make(&heap, count / 2, progress)?;
        heap.drop_handle(sparse.table);
        heap.drop_handle(living.table);
        found.push(walk_through_move(&heap, dense)?);
    }
    Ok(Value::Array(found))
}

/// How long a mutator runs before the move, to know its pace.
const QUIET: Duration = Duration::from_millis(500);
/// References followed in one operation.
const HOPS: usize = 5;

fn walk_through_move(heap: &Heap, nodes: Objects) -> Result<Value> {
    let (began, stop, flipped_ns) = (Instant::now(), AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let walking = scope.spawn(|| {
            let (mut timeline, mut random) = (Timeline::new(began), Random::new(7));
            let (mut sound, mut longest_us, mut epoch) = (true, 0.0_f64, heap.move_epoch());
            while !stop.load(Ordering::Relaxed) {
                let from = Instant::now();
                let Ok((right, seen)) =
                    heap.run(|op| Ok((graph::walk(op, &nodes, HOPS, &mut random), op.move_epoch())))
                else {
                    break;
                };
                let us = from.elapsed().as_secs_f64() * 1e6;
                sound &= right;
                longest_us = longest_us.max(us);
                timeline.add(us, us);
                if seen != epoch {
                    epoch = seen;
                    flipped_ns.store(began.elapsed().as_nanos() as u64, Ordering::Relaxed);
                }
            }
            (timeline, sound, longest_us)
        });
        std::thread::sleep(QUIET);
        let quiet_s = began.elapsed().as_secs_f64();
        let report = heap.collect();
        stop.store(true, Ordering::Relaxed);
        let Ok((timeline, sound, longest_us)) = walking.join() else { return Err(crate::Error::Stopped) };
        let report = report?;
        let flipped_s = flipped_ns.load(Ordering::Relaxed) as f64 / 1e9;
        let moved_s = flipped_s + report.move_ms / 1e3;
        let rate = |from_s: f64, to_s: f64| timeline.operations(from_s, to_s) as f64 / (to_s - from_s).max(1e-6);
        let mut found = described(&report);
        // The first tenth of a second warms caches and page tables up.
        found["quiet_per_s"] = json!(rate(0.1, quiet_s));
        found["marking_per_s"] = json!(rate(quiet_s, quiet_s + report.mark_ms / 1e3));
        found["moving_per_s"] = json!(rate(flipped_s, moved_s));
        found["longest_us"] = json!(longest_us);
        found["sound"] = json!(sound);
        Ok(found)
    })
}

/// Where a dense heap is churned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Churned {
    /// One part of it, of which nine of ten nodes are replaced: it becomes sparse.
    Part,
    /// All over: no place becomes sparse.
    Everywhere,
}

/// A dense heap of whose nodes a share was replaced by new ones elsewhere; `kind` is how they refer to each other. What the next
/// cycle did.
///
/// # Errors
/// Those of the heap and the kernel; [`crate::Error::Stopped`].
pub fn churned(size_bytes: u64, share: f64, churned: Churned, progress: &mut Progress<'_>) -> Result<Value> {
    step(progress, "filling, churning and moving")?;
    let (heap, _) = heap(size_bytes, false)?;
    let kind = Nodes::alike(Reach::Random);
    // Nodes refer to nobody but through the table here: what is replaced dies.
    let kind = Nodes { stride: usize::MAX, ..kind };
    let nodes = kind.make(&heap, size_bytes as usize / NODE_BYTES, progress)?;
    let before = heap.collect()?;
    let mut random = Random::new(1);
    let (end, each, run) = match churned {
        Churned::Part => ((nodes.count as f64 * share) as usize, 10, 9),
        Churned::Everywhere => (nodes.count, (1.0 / share.max(1e-6)) as usize, 1),
    };
    for start in (0..end).step_by(each) {
        kind.replace(&heap, &nodes, start..nodes.count.min(start + run), &mut random)?;
    }
    step(progress, "")?;
    let report = heap.collect()?;
    let mut found = described(&report);
    found["live_before_bytes"] = json!(before.live_bytes);
    found["resident_bytes"] = json!(report.resident_bytes);
    Ok(found)
}
