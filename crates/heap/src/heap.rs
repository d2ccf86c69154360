//! A heap, as its users see it. A value: many in a process, no global state but the table of the SIGBUS handler.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use subduct_kernel::{membarrier, page_size};

use crate::clock;
use crate::collector::control::Kind;
use crate::collector::{control, flip};
use crate::compact::Mover;
use crate::delivery::{choose_delivery, no_thread, serve_faults, unsupported};
use crate::error::Error;
use crate::fault::handler;
use crate::fork;
use crate::mutator::op::Leave;
use crate::mutator::thread::Given;
use crate::mutator::{Handle, Mutator, Op, Retry, thread};
use crate::object::{self, dict};
use crate::options::Options;
use crate::shared::{Roots, Shared};
use crate::space::layout::{REGION_BYTES, WINDOW_UNIT_BYTES};
use crate::space::{Geometry, Space, Windows};
use crate::stats::{CycleReport, Fallbacks, Stats, VerifyReport};
use crate::sync::{Thread, is_simulated, lock, sleep, spawn, yield_now};
use crate::verify;

/// Size of the slots window, in budgets: every flip pays for each GiB of it.
const SLOTS_WINDOW: u64 = 2;
/// Size of the leaves window, in budgets. A leaf of just above 256 KiB takes 2 MiB of addresses, and addresses that are never
/// flipped cost nothing.
const LEAVES_WINDOW: u64 = 8;
/// Slots of a cache of strings.
const INTERNER_SLOTS: usize = 4096;
/// Most cycles of one full collection.
pub(crate) const ROUNDS_MAX: u32 = 16;

/// A heap. Clones share it; the last one closes it.
#[derive(Clone)]
pub struct Heap(Arc<Owner>);

/// Owns the collector's thread; the state is shared with it.
struct Owner {
    shared: Arc<Shared>,
    collector: std::sync::Mutex<Option<Thread>>,
}

/// Why an attempt at an operation ended without a result.
#[derive(Debug)]
pub enum Stalled {
    /// Call [`Heap::make_room`] and try again.
    Retry(Retry),
    /// It cannot succeed.
    Error(Error),
}

impl From<Error> for Stalled {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// Windows for a heap of these options. In whole GiBs, which a flip moves by a pointer each, where there are addresses for that, and
/// files may be as long.
fn reserve(options: &Options) -> subduct_kernel::Result<Windows> {
    let windows = |unit| {
        let window = |budgets: u64| (budgets * options.budget_bytes).next_multiple_of(unit);
        let geometry = Geometry::new(page_size(), window(SLOTS_WINDOW), window(LEAVES_WINDOW));
        Windows::new(&options.name, geometry)
    };
    match windows(WINDOW_UNIT_BYTES) {
        Err(refused) if matches!(refused.errno, libc::ENOMEM | libc::EFBIG) => windows(REGION_BYTES),
        made => made,
    }
}

impl Heap {
    /// A fresh, empty heap.
    ///
    /// # Errors
    /// [`Error::BadOption`], [`Error::Unsupported`] when the wanted delivery cannot work here, [`Error::Kernel`].
    pub fn new(options: Options) -> Result<Self, Error> {
        options.check()?;
        clock::calibrate();
        fork::watch()?;
        let is_smallest = options.is_smallest();
        let unsupported = |error| unsupported(error, is_smallest);
        let windows = reserve(&options).map_err(unsupported)?;
        let (delivery, userfaultfd) = choose_delivery(options.delivery, &windows)?;
        let mover = Mover::new(Space::new(windows, options.budget_bytes)?).map_err(unsupported)?;
        mover.space.windows.descriptors().into_iter().for_each(fork::close_in_child);
        let shared = Arc::new(Shared::new(options, delivery, mover, userfaultfd).map_err(unsupported)?);
        if membarrier::register().is_err() {
            shared.gate.set_fenced();
        }
        // From here on, whatever fails, the owner gives back what there is.
        let heap = Self(Arc::new(Owner { shared: Arc::clone(&shared), collector: std::sync::Mutex::new(None) }));
        serve_faults(&shared)?;
        let collector = spawn("subduct", move || control::run(&shared))
            .map_err(|error| no_thread("the collector's thread", &error))?;
        *lock(&heap.0.collector) = Some(collector);
        heap.make_roots()?;
        Ok(heap)
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.0.shared
    }

    /// This thread's part of the heap.
    ///
    /// # Errors
    /// [`Error::Closed`] while the thread is ending, [`Error::Memory`] in its first operation.
    pub(crate) fn mutator(&self) -> Result<&Mutator, Error> {
        let shared = self.shared();
        let Some(found) = thread::current(shared.id, || shared.add_mutator()) else {
            let reason = "this thread is ending and cannot use heaps any more".to_owned();
            return Err(Error::Closed { reason });
        };
        let mutator = found?;
        // SAFETY: the thread's list and the heap's list hold the mutator as long as the thread lives.
        Ok(unsafe { &*mutator })
    }

    fn make_roots(&self) -> Result<(), Error> {
        let roots = self.run(|op| {
            let root = dict::new(op, 0)?;
            let root = op.handle_new(root)?;
            let mut interner = || {
                let cache = op.alloc(object::Kind::Interner, INTERNER_SLOTS, 0)?;
                op.handle_new(cache)
            };
            Ok(Roots { root, interners: [interner()?, interner()?] })
        })?;
        let set = self.shared().roots.set(roots);
        debug_assert!(set.is_ok(), "roots are made once");
        Ok(())
    }

    /// Unique in the process.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.shared().id
    }

    /// The root dict. Never dropped.
    ///
    /// # Panics
    /// Never: made with the heap.
    #[must_use]
    pub fn root(&self) -> Handle {
        self.shared().roots.get().expect("made with the heap").root
    }

    /// Changes whenever objects may have moved; read it inside an operation to rely on addresses read there.
    #[must_use]
    pub fn move_epoch(&self) -> u64 {
        self.shared().move_epoch()
    }

    /// Runs an operation once. The closure may run Python no more than it may block: mutators of the whole heap wait for
    /// it.
    ///
    /// # Errors
    /// [`Stalled::Retry`] when it must be run again after [`Heap::make_room`]; [`Stalled::Error`].
    pub fn attempt<T>(&self, f: impl FnMut(&mut Op<'_>) -> Result<T, Retry>) -> Result<T, Stalled> {
        self.attempt_as(false, f)
    }

    /// As [`Heap::attempt`], for a caller that others wait for: what would take long is not begun.
    ///
    /// # Errors
    /// Those of [`Heap::attempt`]; [`Retry::Long`], then it is to be tried with [`Heap::attempt`] while nobody waits.
    pub fn attempt_briefly<T>(&self, f: impl FnMut(&mut Op<'_>) -> Result<T, Retry>) -> Result<T, Stalled> {
        self.attempt_as(true, f)
    }

    fn attempt_as<T>(&self, brief: bool, mut f: impl FnMut(&mut Op<'_>) -> Result<T, Retry>) -> Result<T, Stalled> {
        let shared = self.shared();
        if shared.is_forked() {
            return Err(self.closed().into());
        }
        let mutator = self.mutator()?;
        assert!(!mutator.presence.is_inside(), "[inv.op.not-nested] a heap operation inside a heap operation");
        // Relaxed: read by this thread.
        mutator.is_brief.store(brief, Ordering::Relaxed);
        let began_ticks = clock::ticks();
        mutator.presence.enter(&shared.gate);
        let leave = Leave { shared, mutator, began_ticks };
        if shared.is_closed() {
            return Err(self.closed().into());
        }
        // SAFETY: this thread's mutator, just entered, not nested (checked above).
        let mut op = unsafe { Op::begin(shared, mutator) };
        let result = op.ensure_roots().and_then(|()| f(&mut op));
        op.end(result.is_ok());
        drop(leave);
        // Relaxed: set by this thread.
        if mutator.has_refilled.load(Ordering::Relaxed) && !shared.is_closed() {
            mutator.has_refilled.store(false, Ordering::Relaxed);
            shared.mover.space.populate_ahead();
            let sleep = shared.throttle.sleep_for(shared.mover.space.allocated_bytes());
            mutator.sleep_us.store(sleep.as_micros() as u32, Ordering::Relaxed);
        }
        result.map_err(|retry| match retry {
            Retry::Refused(refused) => Stalled::Error(refused.into()),
            retry => Stalled::Retry(retry),
        })
    }

    /// Runs an operation to its end, waiting for memory where needed.
    ///
    /// # Errors
    /// As [`Heap::make_room`].
    pub fn run<T>(&self, mut f: impl FnMut(&mut Op<'_>) -> Result<T, Retry>) -> Result<T, Error> {
        loop {
            match self.attempt(&mut f) {
                Ok(value) => {
                    self.hold_back();
                    return Ok(value);
                }
                Err(Stalled::Error(error)) => return Err(error),
                Err(Stalled::Retry(retry)) => self.make_room(&retry)?,
            }
        }
    }

    /// Whether [`Heap::hold_back`] would sleep.
    #[inline]
    #[must_use]
    pub fn is_held_back(&self) -> bool {
        // Relaxed: written by this thread.
        self.mutator().is_ok_and(|mutator| mutator.sleep_us.load(Ordering::Relaxed) > 0)
    }

    /// Sleeps, if the last operation allocated more than the cycle that is running allows; some milliseconds at most. The
    /// caller holds no lock that other users of the heap need.
    pub fn hold_back(&self) {
        let Ok(mutator) = self.mutator() else { return };
        let sleep_us = mutator.sleep_us.load(Ordering::Relaxed);
        if sleep_us == 0 {
            return;
        }
        mutator.sleep_us.store(0, Ordering::Relaxed);
        // Simulated threads have no time.
        if !is_simulated() {
            let began = Instant::now();
            sleep(Duration::from_micros(u64::from(sleep_us)));
            self.shared().throttle.note(began.elapsed());
        }
    }

    /// Gives a handle up. Silently nothing on a heap that is closed or belongs to another process.
    pub fn drop_handle(&self, handle: Handle) {
        self.drop_with(|op| op.handle_drop(handle), handle);
    }

    /// As [`Heap::drop_handle`], for an object that nobody but the caller has known: it is stored elsewhere by now, or is garbage
    /// of `failed_bytes`.
    pub fn drop_private(&self, handle: Handle, failed_bytes: u64) {
        self.shared().note_garbage(failed_bytes);
        self.drop_with(|op| op.handle_pass(handle), handle);
    }

    /// Bytes that this thread has allocated in the heap since its first operation.
    #[must_use]
    pub fn allocated_here_bytes(&self) -> u64 {
        // Relaxed: written by this thread.
        self.mutator().map_or(0, |mutator| mutator.allocated_bytes.load(Ordering::Relaxed))
    }

    fn drop_with(&self, drop: impl Fn(&mut Op<'_>), handle: Handle) {
        let shared = self.shared();
        if shared.is_forked() || shared.is_closed() {
            return;
        }
        let dropped = self.attempt(|op| {
            drop(op);
            Ok(())
        });
        if matches!(dropped, Err(Stalled::Error(_))) && !shared.is_closed() {
            shared.orphan(handle);
        }
    }

    /// Gives up an operation between two attempts at it, as when a signal handler raised: what was reserved for the next one is
    /// free again.
    pub fn abandon(&self) {
        if let Ok(mutator) = self.mutator() {
            // Relaxed: read and written by this thread.
            mutator.shortages.store(0, Ordering::Relaxed);
            mutator.wish_declined.store(false, Ordering::Relaxed);
            *lock(&mutator.failed) = Given::default();
            self.shared().release_prepared(mutator);
        }
    }

    /// A full collection. Waits for it.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn collect(&self) -> Result<CycleReport, Error> {
        let shared = self.shared();
        if shared.is_forked() || shared.is_closed() {
            return Err(self.closed());
        }
        self.collect_fully()
    }

    /// A cycle that only flips: nothing is marked and nothing moves, but every page of the slots window is taken from the
    /// view and installed again. What a flip costs, apart from what it is for.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn flip(&self) -> Result<CycleReport, Error> {
        let shared = self.shared();
        if shared.is_forked() || shared.is_closed() {
            return Err(self.closed());
        }
        shared.collect(Kind::Flip).ok_or_else(|| self.closed())
    }

    /// In a simulation, has the kernel forget where a page is, as it may when memory is short.
    #[cfg(feature = "simulate")]
    pub fn forget_one_entry(&self) {
        self.shared().mover.space.windows.forget_one_entry();
    }

    /// Runs `f` with all mutators parked, as the flip does, and returns how long they were kept out, in microseconds.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn parked<T>(&self, f: impl FnOnce() -> T) -> Result<(T, f64), Error> {
        let shared = self.shared();
        if shared.is_forked() || shared.is_closed() {
            return Err(self.closed());
        }
        Ok(shared.rendezvous(|_| f()))
    }

    /// Full cycles until nothing is left that is worth moving. When memory is short each can only move as much as fits, but
    /// gives back more than that to the next.
    fn collect_fully(&self) -> Result<CycleReport, Error> {
        let space = &self.shared().mover.space;
        let one = || self.shared().collect(Kind::Full).ok_or_else(|| self.closed());
        let mut report = one()?;
        for _ in 1..ROUNDS_MAX {
            if !report.truncated || report.regions_evacuated == 0 {
                break;
            }
            let used = space.used_bytes();
            report = one()?.after(&report);
            if space.used_bytes() >= used {
                break;
            }
        }
        Ok(report)
    }

    /// Figures of this moment.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn stats(&self) -> Result<Stats, Error> {
        let shared = self.shared();
        if shared.is_forked() || shared.is_closed() {
            return Err(self.closed());
        }
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &shared.mover.counters;
        let [longest_operation_us, longest_stall_us] = shared.longest_ticks().map(clock::to_us);
        let space = &shared.mover.space;
        let live = shared.fullness.live_estimate(space.allocated_bytes(), space.charged_bytes());
        let figures = lock(&shared.figures);
        Ok(Stats {
            budget_bytes: shared.options.budget_bytes,
            window_unit_bytes: space.geometry().unit_bytes(),
            resident_bytes: shared.mover.space.resident_bytes()?,
            live_bytes: figures.live_bytes,
            live_objects: figures.live_objects,
            live_estimate_bytes: live.likely_bytes,
            live_bytes_max: live.most_bytes,
            allocated_bytes: shared.mover.space.allocated_bytes(),
            handles: shared.handles.in_use(),
            cycles: figures.cycles,
            moves: figures.moves,
            faults: count(&counters.faults),
            worker_pages: count(&counters.worker_pages),
            pages_fixed: count(&counters.fixed),
            pages_built: count(&counters.built),
            pages_installed: count(&counters.clean),
            bytes_evacuated: figures.bytes_evacuated,
            longest_operation_us,
            longest_stall_us,
            stalls: figures.stalls,
            rest_ms: figures.rest_ms,
            held_back_ms: shared.throttle.held_back_ms(),
            pauses: figures.pauses.summary(),
            delivery: shared.delivery,
            fallbacks: Fallbacks {
                flips_in_pause: count(&counters.flips_in_pause),
                installs_again: count(&counters.installs_again),
                runs_unregistered: count(&counters.runs_unregistered),
                descriptors_lost: count(&counters.descriptors_lost),
                handlers_restored: count(&counters.handlers_restored),
                shadows_left: count(&counters.shadows_left),
            },
        })
    }

    /// Traces the whole heap with every thread parked. O(live data).
    ///
    /// # Errors
    /// [`Error::Broken`] with the reference that is wrong; [`Error::Memory`], [`Error::Kernel`], [`Error::Closed`].
    pub fn verify(&self) -> Result<VerifyReport, Error> {
        let shared = self.shared();
        if shared.is_forked() || shared.is_closed() {
            return Err(self.closed());
        }
        // Asked again inside: it may have been closed while this thread waited to be alone.
        let (report, _) = shared.rendezvous(|_| (!shared.is_closed()).then(|| verify::check(shared)));
        report.ok_or_else(|| self.closed())?.map_err(|failed| match failed {
            verify::Failed::Broken(why) => Error::Broken(why),
            verify::Failed::Memory(refused) => refused.into(),
            verify::Failed::Kernel(error) => error.into(),
        })
    }

    /// Ends the collector and gives all memory back. Operations fail from here on. Idempotent.
    pub fn close(&self) {
        self.0.close();
    }

    /// Whether the heap is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared().is_closed()
    }

    pub(crate) fn closed(&self) -> Error {
        let name = &self.shared().options.name;
        let reason = if self.shared().is_forked() {
            format!("heap {name:?} belongs to the process that forked this one; make a new heap here")
        } else {
            format!("heap {name:?} is closed")
        };
        Error::Closed { reason }
    }
}

impl Owner {
    /// Closes the heap to operations. Those that poll, and so let this in, are brought to their end first. False when it was
    /// closed before.
    fn closes_now(&self) -> bool {
        let shared = &self.shared;
        loop {
            let (closes, _) = shared.rendezvous(|mutators| {
                if shared.is_closed() {
                    return Some(false);
                }
                if mutators.iter().any(|mutator| mutator.is_polling.load(Ordering::Relaxed)) {
                    return None;
                }
                shared.set_closed();
                Some(true)
            });
            match closes {
                Some(closes) => return closes,
                None => yield_now(),
            }
        }
    }

    fn close(&self) {
        let shared = &self.shared;
        if shared.is_forked() || shared.is_closed() {
            return;
        }
        shared.control.stop();
        if let Some(collector) = lock(&self.collector).take() {
            collector.join();
        }
        flip::stop_keeper(shared);
        if self.closes_now() {
            handler::remove(shared.mover.space.windows.view().address(0));
            if let Some(monitor) = lock(&shared.monitor).take() {
                monitor.stop();
            }
            shared.release();
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.close();
    }
}
