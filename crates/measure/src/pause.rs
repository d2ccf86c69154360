//! The flip: how long the threads of a heap are kept out, beside what the two system calls take on a twin of its window with the
//! same threads parked.

use std::sync::{Arc, mpsc};

use serde_json::{Value, json};
use subduct_heap::{Delivery, Heap, Recycle};
use subduct_kernel::GIB;

use crate::alternatives;
use crate::error::{Progress, Result, step};
use crate::graph::{self, Wanted};
use crate::mutators::Mutators;
use crate::stalls::Stalls;
use crate::twin::Twin;

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Pause {
    /// Live bytes.
    pub size_bytes: u64,
    /// Flips.
    pub flips: usize,
    /// Threads that use the heap meanwhile.
    pub threads: usize,
    /// Full cycles, for the rendezvous where marking begins and ends.
    pub marks: usize,
    /// How often each alternative is done; 0 to leave them out.
    pub repetitions: usize,
}

/// A stall this long before or after a pause is taken to have touched it: how exactly the pause's time is known, in seconds.
const NEAR_S: f64 = 100e-6;

/// What a pause is compared with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Floor {
    /// The two calls, with the threads parked.
    Bare,
    /// Parking them, and nothing else.
    Parking,
}

/// Samples in microseconds, one for each flip.
#[derive(Default)]
struct Samples {
    pause_us: Vec<f64>,
    stalled: Vec<bool>,
    bare_us: Vec<f64>,
    bare_parked_us: Vec<f64>,
    parking_us: Vec<f64>,
}

impl Samples {
    fn add_flip(&mut self, heap: &Heap, mutators: &Mutators, stalls: &Stalls) -> Result<()> {
        mutators.let_run();
        let called_s = stalls.now_s();
        let report = heap.flip()?;
        let returned_s = stalls.now_s();
        // Without a thread that notices the flip, it is somewhere in the call.
        let noticed_s = mutators.flipped_s();
        let (from_s, to_s) = if noticed_s > called_s {
            (noticed_s - report.pause_us / 1e6 - NEAR_S, noticed_s + NEAR_S)
        } else {
            (called_s, returned_s)
        };
        self.pause_us.push(report.pause_us);
        self.stalled.push(stalls.any_between(from_s, to_s));
        Ok(())
    }

    fn add_floor(&mut self, floor: Floor, us: f64, parked_us: f64) {
        match floor {
            Floor::Bare => {
                self.bare_us.push(us);
                self.bare_parked_us.push(parked_us);
            }
            Floor::Parking => self.parking_us.push(parked_us),
        }
    }
}

/// Parks the threads for the bare calls, or for nothing: how long those took, and how long the threads were kept out.
fn measure_floor(heap: &Heap, twin: &Twin, floor: Floor) -> Result<(f64, f64)> {
    let (result, parked_us) = heap.parked(|| match floor {
        Floor::Bare => twin.flip(),
        Floor::Parking => Ok(0.0),
    })?;
    Ok((result?, parked_us))
}

/// Fills a heap, and flips it. Returns raw samples in microseconds: `pause_us`, and, for each flip, whether the control
/// thread saw a stall then (`stalled`); `bare_us` (the two calls alone) and `bare_parked_us` (with parking); `parking_us`;
/// `mark_start_us`, `mark_end_us`; the `alternatives`.
///
/// # Errors
/// Those of the heap and the kernel; [`crate::Error::Stopped`].
pub fn measure(wanted: &Pause, progress: &mut Progress<'_>) -> Result<Value> {
    let stalls = Arc::new(Stalls::watch());
    let (heap, name) = graph::heap(Wanted {
        budget_bytes: wanted.size_bytes / 4 * 5 + (96 << 20),
        delivery: Some(Delivery::Sigbus),
        recycle: Recycle::Pool,
        move_all: false,
    })?;
    step(progress, "filling")?;
    let blocks = graph::blocks(&heap, wanted.size_bytes, progress)?;
    let mutators = Mutators::start(&heap, wanted.threads, &stalls, move |op, random| {
        if let Some(block) = blocks.get(op, random.below(blocks.count)) {
            std::hint::black_box(op.load(block, random.below(graph::BLOCK_SLOTS)));
        }
        Ok(())
    });

    step(progress, "marking")?;
    let (mut mark_start_us, mut mark_end_us, mut live_bytes) = (Vec::new(), Vec::new(), 0);
    for _ in 0..wanted.marks.max(1) {
        step(progress, "")?;
        mutators.let_run();
        let report = heap.collect()?;
        mark_start_us.push(report.mark_start_us);
        mark_end_us.push(report.mark_end_us);
        live_bytes = report.live_bytes;
    }

    step(progress, "flipping")?;
    let window_bytes = window_bytes(heap.stats()?.budget_bytes);
    let twin = Twin::new(&name, window_bytes)?;
    let samples = flips(wanted.flips, &heap, &twin, &mutators, &stalls, progress)?;

    step(progress, "alternatives")?;
    let alternatives = match wanted.repetitions {
        0 => json!({}),
        repetitions => alternatives::measure(&heap, &twin, repetitions, progress)?,
    };
    Ok(json!({
        "live_bytes": live_bytes,
        "resident_bytes": heap.stats()?.resident_bytes,
        "window_bytes": window_bytes,
        "threads": wanted.threads,
        "operations": mutators.operations(),
        "pause_us": samples.pause_us,
        "stalled": samples.stalled,
        "bare_us": samples.bare_us,
        "bare_parked_us": samples.bare_parked_us,
        "parking_us": samples.parking_us,
        "mark_start_us": mark_start_us,
        "mark_end_us": mark_end_us,
        "alternatives": alternatives,
        "stalls": stalls.report(),
    }))
}

/// Flips the heap, and after each flip measures the floors.
fn flips(
    count: usize,
    heap: &Heap,
    twin: &Twin,
    mutators: &Mutators,
    stalls: &Stalls,
    progress: &mut Progress<'_>,
) -> Result<Samples> {
    let mut samples = Samples::default();
    std::thread::scope(|scope| {
        let (ask, asked) = mpsc::channel();
        let (answer, answered) = mpsc::channel();
        // The bare calls are made as the collector makes its own: by a thread that was asleep until it was asked.
        scope.spawn(move || asked.iter().all(|floor| answer.send(measure_floor(heap, twin, floor)).is_ok()));
        for _ in 0..count {
            step(progress, "")?;
            samples.add_flip(heap, mutators, stalls)?;
            for floor in [Floor::Bare, Floor::Parking] {
                mutators.let_run();
                let answer = ask.send(floor).ok().and_then(|()| answered.recv().ok());
                let (us, parked_us) = answer.unwrap_or(Err(crate::Error::Stopped))?;
                samples.add_floor(floor, us, parked_us);
            }
            twin.unflip()?;
        }
        Ok(samples)
    })
}

/// Bytes of a heap's slots window: twice the budget, in whole GiB.
fn window_bytes(budget_bytes: u64) -> usize {
    (2 * budget_bytes as usize).next_multiple_of(GIB)
}
