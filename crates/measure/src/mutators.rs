//! Threads that use a heap while something else is measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use subduct_heap::{Heap, Op, Retry};

use crate::random::Random;
use crate::stalls::Stalls;

/// Operations after which threads are at it: some tens of microseconds.
const RUNNING: u64 = 500;

#[derive(Default)]
struct State {
    stop: AtomicBool,
    operations: AtomicU64,
    /// When a thread first saw that objects may have moved, in nanoseconds since the control began; the latest flip.
    flipped_ns: AtomicU64,
}

/// Threads under way; they end when it is dropped.
pub struct Mutators {
    state: Arc<State>,
    threads: Vec<JoinHandle<()>>,
}

impl Mutators {
    /// Starts `count` threads that repeat an operation as fast as they can.
    pub fn start(
        heap: &Heap,
        count: usize,
        stalls: &Arc<Stalls>,
        operation: impl Fn(&mut Op<'_>, &mut Random) -> Result<(), Retry> + Clone + Send + 'static,
    ) -> Self {
        let state = Arc::new(State::default());
        let threads = (0..count)
            .map(|number| {
                let (heap, state, stalls, operation) =
                    (heap.clone(), Arc::clone(&state), Arc::clone(stalls), operation.clone());
                std::thread::spawn(move || run(&heap, &state, &stalls, &operation, number as u64))
            })
            .collect();
        let started = Self { state, threads };
        started.let_run();
        started
    }

    /// Waits until the threads are at it, so that whoever parks them finds them running.
    pub fn let_run(&self) {
        let before = self.operations();
        while !self.threads.iter().all(JoinHandle::is_finished) && self.operations() < before + RUNNING {
            std::thread::yield_now();
        }
    }

    /// Operations done so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state.operations.load(Ordering::Relaxed)
    }

    /// When the latest flip was first noticed, in seconds since the control began; 0 if none was.
    #[must_use]
    pub fn flipped_s(&self) -> f64 {
        self.state.flipped_ns.load(Ordering::Relaxed) as f64 / 1e9
    }
}

impl Drop for Mutators {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn run(
    heap: &Heap,
    state: &State,
    stalls: &Stalls,
    operation: &impl Fn(&mut Op<'_>, &mut Random) -> Result<(), Retry>,
    seed: u64,
) {
    let mut random = Random::new(seed + 1);
    let mut epoch = heap.move_epoch();
    while !state.stop.load(Ordering::Relaxed) {
        let seen = heap.run(|op| {
            operation(op, &mut random)?;
            Ok(op.move_epoch())
        });
        // The heap was closed: there is nothing left to do.
        let Ok(seen) = seen else { return };
        if seen != epoch {
            epoch = seen;
            let _ = state.flipped_ns.fetch_max((stalls.now_s() * 1e9) as u64, Ordering::Relaxed);
        }
        state.operations.fetch_add(1, Ordering::Relaxed);
    }
}
