//! One heap's state: what its mutators, its collector and its handler share.

use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use subduct_kernel::thread::Sleep;
use subduct_kernel::uffd::Userfaultfd;

use crate::collector::control::{Control, Kind};
use crate::collector::fullness::Fullness;
use crate::collector::keeper::Keeper;
use crate::collector::monitor::Monitor;
use crate::collector::pacing::Pacing;
use crate::collector::throttle::Throttle;
use crate::compact::Mover;
use crate::error::Error;
use crate::fork;
use crate::memory;
use crate::mutator::log::Logs;
use crate::mutator::safepoint::Gate;
use crate::mutator::thread::{Left, notice_fences};
use crate::mutator::{Handle, HandleTable, Mutator};
use crate::object::Value;
use crate::options::{Delivery, Options};
use crate::space::RegionId;
use crate::space::layout::{CHUNK_BYTES, SHORT_CHUNK_BYTES};
use crate::stats::{CycleReport, PauseLog};
use crate::sync::{self, is_simulated, lock, sleep, yield_now};

/// Mutators hand over references that they overwrite, and new objects are born marked.
pub const BARRIER_LOG: u32 = 1;
/// Mutators note in the page signatures what they store; new objects are born marked.
pub const BARRIER_TRACK: u32 = 2;
/// Mutators look at a page's state before they touch it: a move with `software` delivery.
pub const BARRIER_PAGES: u32 = 4;
/// Mutators note that they release something: see [`Fullness`].
pub const BARRIER_RELEASE: u32 = 8;
/// Mutators see to it that SIGBUS reaches them: a move with `sigbus` delivery.
pub const BARRIER_SIGNAL: u32 = 16;

/// Threads that are looked at together, when it matters whether they sleep.
const LOOKED_AT_MAX: usize = 64;

/// The caches of strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interned {
    /// Strings that are keys of dicts.
    Keys,
    /// Strings that are values.
    Values,
}

/// Handles that every heap has.
#[derive(Clone, Copy, Debug)]
pub struct Roots {
    /// The root dict.
    pub root: Handle,
    /// The caches of strings, keys and values.
    pub interners: [Handle; 2],
}

/// Figures that the collector keeps for reports.
#[derive(Default)]
pub struct Figures {
    /// Cycles completed.
    pub cycles: u64,
    /// Those of them that moved objects.
    pub moves: u64,
    /// Bytes found alive by the last mark.
    pub live_bytes: u64,
    /// Objects found alive by the last mark.
    pub live_objects: u64,
    /// Bytes of objects that were moved.
    pub bytes_evacuated: u64,
    /// The flips' pauses.
    pub pauses: PauseLog,
    /// Longest operation and stall of threads that have ended, in clock ticks.
    pub longest_ticks: [u64; 2],
    /// How often a thread had to make room.
    pub stalls: u64,
    /// What marking rested.
    pub rest_ms: f64,
}

/// One heap's state.
pub struct Shared {
    /// Unique in the process.
    pub id: u64,
    /// As given.
    pub options: Options,
    /// As chosen.
    pub delivery: Delivery,
    /// Memory, marks, forwarding, pages. Not dropped in a forked child, which has none of it.
    pub mover: ManuallyDrop<Mover>,
    /// The descriptor through which pages are installed; `None` with deliveries that need none. As `mover` in a child.
    pub userfaultfd: ManuallyDrop<Mutex<Option<Arc<Userfaultfd>>>>,
    /// Keeps the descriptor open, from the first move on.
    pub keeper: Mutex<Option<Keeper>>,
    /// Serves faults with `thread` delivery.
    pub monitor: Mutex<Option<Monitor>>,
    /// The roots.
    pub handles: HandleTable,
    /// Keeps mutators out.
    pub gate: Gate,
    /// Whether the shadow could not be taken down after the last move. Used by the collector only.
    pub is_shadow_left: AtomicBool,
    /// When to collect.
    pub pacing: Pacing,
    /// What mutators may allocate while a cycle runs.
    pub throttle: Throttle,
    /// Whether a collection can help where memory is short.
    pub fullness: Fullness,
    /// Requests to the collector.
    pub control: Control,
    /// Figures for reports.
    pub figures: Mutex<Figures>,
    /// The heap's random key for hashing.
    pub hash_key: [u64; 2],
    /// Set once, right after the heap was made.
    pub roots: std::sync::OnceLock<Roots>,
    barrier: AtomicU32,
    mutators: Mutex<Vec<Arc<Mutator>>>,
    /// References that mutators overwrote while marking.
    pub logs: Logs<Value>,
    /// Whether a mutator marked an object that the marker has to scan, because there was no room to log it.
    pub marked_unscanned: AtomicBool,
    /// Objects born marked since the mark began, by threads that have ended since.
    pub born_before_end: AtomicU64,
    /// Operations that were begun by threads that have ended since.
    pub operations_before_end: AtomicU64,
    /// Handles that were dropped while their thread was ending.
    orphans: Mutex<Vec<Handle>>,
    move_epoch: AtomicU64,
    closed: AtomicBool,
    generation: u64,
}

/// Ends the process when a rendezvous panics: the mutators would sleep for ever.
struct AbortOnPanic {
    /// The thread was unwinding before: a heap that is dropped by a panic elsewhere is closed like any other.
    was_panicking: bool,
}

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.was_panicking {
            std::process::abort();
        }
    }
}

impl Shared {
    /// State of a fresh heap.
    ///
    /// # Errors
    /// As [`Fullness::new`].
    pub fn new(
        options: Options,
        delivery: Delivery,
        mover: Mover,
        userfaultfd: Option<Arc<Userfaultfd>>,
    ) -> subduct_kernel::Result<Self> {
        let fullness = Fullness::new(HandleTable::most(options.budget_bytes))?;
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        let mut hash_key = [0_u64; 2];
        for word in &mut hash_key {
            *word = sync::random();
        }
        Ok(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            delivery,
            pacing: Pacing::new(&options, mover.space.mutator_bytes()),
            mover: ManuallyDrop::new(mover),
            userfaultfd: ManuallyDrop::new(Mutex::new(userfaultfd)),
            keeper: Mutex::default(),
            monitor: Mutex::default(),
            handles: HandleTable::default(),
            gate: Gate::default(),
            is_shadow_left: AtomicBool::new(false),
            throttle: Throttle::default(),
            fullness,
            control: Control::default(),
            figures: Mutex::default(),
            hash_key,
            roots: std::sync::OnceLock::new(),
            barrier: AtomicU32::new(0),
            mutators: Mutex::default(),
            logs: Logs::default(),
            marked_unscanned: AtomicBool::new(false),
            born_before_end: AtomicU64::new(0),
            operations_before_end: AtomicU64::new(0),
            orphans: Mutex::default(),
            move_epoch: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            generation: fork::generation(),
            options,
        })
    }

    /// What mutators must tell the collector.
    #[inline]
    #[must_use]
    pub fn barrier(&self) -> u32 {
        // Relaxed: changes only in a rendezvous, which orders it.
        self.barrier.load(Ordering::Relaxed)
    }

    /// Changes what mutators must tell the collector. In a rendezvous, but for ending `BARRIER_PAGES` and
    /// `BARRIER_SIGNAL`: a mutator that still looks at page states then finds all of them ready.
    pub fn set_barrier(&self, barrier: u32) {
        let release = if self.fullness.is_watching() { BARRIER_RELEASE } else { 0 };
        self.barrier.store(barrier | release, Ordering::Relaxed);
    }

    /// Whether this process is a fork of the one that made the heap.
    #[inline]
    #[must_use]
    pub fn is_forked(&self) -> bool {
        self.generation != fork::generation()
    }

    /// Whether the heap is closed.
    #[inline]
    #[must_use]
    pub fn is_closed(&self) -> bool {
        // Relaxed: set in a rendezvous.
        self.closed.load(Ordering::Relaxed)
    }

    /// Declares the heap closed. In a rendezvous.
    pub fn set_closed(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// The handle of a cache of strings.
    ///
    /// # Panics
    /// Before the heap's roots were made.
    #[must_use]
    pub fn interner(&self, which: Interned) -> Handle {
        self.roots.get().expect("made with the heap").interners[which as usize]
    }

    /// Changes whenever objects may have moved.
    #[must_use]
    pub fn move_epoch(&self) -> u64 {
        self.move_epoch.load(Ordering::Relaxed)
    }

    /// Declares that objects have moved. In a rendezvous.
    pub fn bump_move_epoch(&self) {
        self.move_epoch.fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes that a mutator takes at a time, and those of the largest object that it takes from them: for a larger one it would
    /// leave too much of a chunk. Fewer under stress, which is counted in them, and where room is short.
    #[must_use]
    pub fn chunk_bytes(&self) -> (u64, u64) {
        if self.mover.space.is_short() {
            return (SHORT_CHUNK_BYTES, SHORT_CHUNK_BYTES / 16);
        }
        let bytes =
            self.options.stress_bytes.map_or(CHUNK_BYTES, |stress| stress.clamp(SHORT_CHUNK_BYTES, CHUNK_BYTES));
        (bytes, CHUNK_BYTES / 4)
    }

    /// Starts a cycle if enough was allocated since the last.
    pub fn note_allocation(&self) {
        if self.pacing.is_due(self.mover.space.allocated_bytes()) {
            self.control.request();
        }
    }

    /// So much became garbage, and nothing else with it.
    pub fn note_garbage(&self, bytes: u64) {
        if bytes > 0 {
            self.mover.space.lend(self.fullness.note_garbage(bytes));
        }
    }

    /// Bytes that a packing collection gives back by moving objects.
    #[must_use]
    pub fn sparse_bytes(&self) -> u64 {
        let mutators = lock(&self.mutators);
        self.mover.space.sparse_bytes(|region| {
            let left = mutators.iter().flat_map(|mutator| &mutator.left).filter_map(Left::get);
            left.filter(|(of, _)| *of == region).map(|(_, bytes)| bytes).sum()
        })
    }

    /// Asks for a cycle that begins now or later, and waits until it is complete. `None` when the heap is closed first.
    pub fn collect(&self, kind: Kind) -> Option<CycleReport> {
        self.control.collect(kind, || self.notice_fences())
    }

    /// Waits until the cycle under way, if there is one, is complete.
    pub fn wait_running(&self) {
        self.control.wait_running(|| self.notice_fences());
    }

    fn notice_fences(&self) {
        if self.gate.is_fenced() {
            notice_fences(self.id, &self.gate);
        }
    }

    /// Remembers a handle whose thread is ending and cannot begin an operation.
    pub fn orphan(&self, handle: Handle) {
        self.fullness.note_release();
        // Without memory for it the handle stays in use until the heap is closed.
        let _ = memory::push(&mut lock(&self.orphans), handle);
    }

    /// Gives up the handles remembered so far. In a rendezvous.
    pub fn drop_orphans(&self) {
        let (windows, orphans) = (&self.mover.space.windows, std::mem::take(&mut *lock(&self.orphans)));
        for handle in &orphans {
            // Relaxed: nobody else is inside.
            windows.word(windows.view(), self.handles.slot(*handle)).store(Value::EMPTY.bits(), Ordering::Relaxed);
            self.handles.count(-1);
        }
        self.handles.give_back(orphans.into_iter());
    }

    /// Adds this thread.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn add_mutator(&self) -> Result<Arc<Mutator>, Error> {
        let mutator = Arc::new(Mutator::of_this_thread());
        if self.gate.is_fenced() {
            mutator.presence.exit(&self.gate);
        }
        // Threads that come and go must not leave their handles to the next cycle: reading starts none.
        self.prune_mutators();
        memory::push(&mut lock(&self.mutators), Arc::clone(&mutator))?;
        Ok(mutator)
    }

    /// Parks all mutators, runs `f`, and lets them go on. Returns what `f` did and how long mutators were kept out, in
    /// microseconds.
    pub fn rendezvous<T>(&self, f: impl FnOnce(&[Arc<Mutator>]) -> T) -> (T, f64) {
        loop {
            // Held throughout: no thread is added meanwhile, and nobody else closes the gate.
            let mutators = lock(&self.mutators);
            let began = Instant::now();
            if self.gate.close(mutators.iter().map(|mutator| &mutator.presence)) {
                let _abort = AbortOnPanic { was_panicking: std::thread::panicking() };
                let result = f(&mutators);
                self.gate.open();
                return (result, began.elapsed().as_secs_f64() * 1e6);
            }
            drop(mutators);
            self.await_fences();
        }
    }

    /// Waits a moment for threads to notice that the gate is fenced: those that use the heap do so by themselves, those that wait
    /// for the collector are woken to do it, and those that sleep elsewhere will have when they wake. Left are threads that
    /// compute outside the heap: their next operation lets a cycle begin.
    fn await_fences(&self) {
        self.notice_fences();
        self.control.wake_waiting();
        let unaware: Vec<_> = lock(&self.mutators)
            .iter()
            .filter(|mutator| !mutator.presence.knows())
            .take(LOOKED_AT_MAX)
            .map(Arc::clone)
            .collect();
        if unaware.is_empty() {
            return;
        }
        if is_simulated() {
            return yield_now();
        }
        // The same sleep seen twice, a while apart: the thread was not about to wake, or to fall asleep.
        let before: Vec<_> = unaware.iter().map(|mutator| Sleep::of(mutator.thread)).collect();
        sleep(Duration::from_millis(1));
        for (mutator, before) in unaware.iter().zip(before) {
            let has_ended = mutator.ended.load(Ordering::Acquire);
            if has_ended || (before.is_some() && before == Sleep::of(mutator.thread)) {
                mutator.presence.note_asleep();
            }
        }
    }

    /// Takes back what threads owned that have ended.
    pub fn prune_mutators(&self) {
        let mut mutators = lock(&self.mutators);
        mutators.retain(|mutator| {
            // Acquire: pairs with the ending thread's release.
            let is_gone = mutator.ended.load(Ordering::Acquire) && self.take_back(mutator);
            !is_gone
        });
    }

    /// Takes back what a thread owned that has ended. Under the lock of the list, so that a rendezvous finds what the thread
    /// had logged with the thread or with the logs. False where that is for later: there is no room for what it had logged.
    fn take_back(&self, mutator: &Mutator) -> bool {
        // SAFETY: its thread has ended (acquired by the caller), and a rendezvous, which might look, needs the lock of the list.
        let local = unsafe { mutator.local() };
        if !local.log.is_empty() && !self.logs.hand_over(&mut local.log) {
            return false;
        }
        self.handles.give_back(local.handles.drain(..).chain(local.roots.drain(..)));
        self.born_before_end.fetch_add(std::mem::take(&mut local.born), Ordering::Relaxed);
        self.operations_before_end.fetch_add(local.operations, Ordering::Relaxed);
        self.release_prepared(mutator);
        let mut figures = lock(&self.figures);
        let longest = [&mutator.longest_ticks, &mutator.longest_stall_ticks];
        for (kept, ticks) in figures.longest_ticks.iter_mut().zip(longest) {
            *kept = (*kept).max(ticks.load(Ordering::Relaxed));
        }
        true
    }

    /// Frees regions that a thread reserved for large objects and did not use.
    pub fn release_prepared(&self, mutator: &Mutator) {
        for (_, chunk) in lock(&mutator.prepared).drain(..) {
            self.mover.space.free_large(RegionId::of(chunk.start));
        }
    }

    /// Gives back the memory, the addresses and the descriptors of a heap that is closed.
    ///
    /// # Panics
    /// When it is not.
    pub fn release(&self) {
        assert!(self.is_closed());
        if let Some(userfaultfd) = lock(&self.userfaultfd).take() {
            userfaultfd.numbers().into_iter().for_each(fork::forget);
        }
        self.mover.space.windows.descriptors().into_iter().for_each(fork::forget);
        // SAFETY: the heap was closed in a rendezvous with nobody inside, and operations look whether it is before they begin;
        // the collector and the monitor have ended, and the handler has let go.
        unsafe {
            self.mover.close();
            self.fullness.release();
        }
    }

    /// Longest operation and longest stall of any thread, in clock ticks.
    #[must_use]
    pub fn longest_ticks(&self) -> [u64; 2] {
        let mut longest = lock(&self.figures).longest_ticks;
        for mutator in lock(&self.mutators).iter() {
            longest[0] = longest[0].max(mutator.longest_ticks.load(Ordering::Relaxed));
            longest[1] = longest[1].max(mutator.longest_stall_ticks.load(Ordering::Relaxed));
        }
        longest
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.is_forked() {
            // Memory and descriptors are not in this process: the addresses and numbers may be somebody else's now.
            return;
        }
        if let Some(userfaultfd) = lock(&self.userfaultfd).as_ref() {
            userfaultfd.numbers().into_iter().for_each(fork::forget);
        }
        self.mover.space.windows.descriptors().into_iter().for_each(fork::forget);
        // SAFETY: neither is used again: this is their owner's drop.
        unsafe {
            ManuallyDrop::drop(&mut self.userfaultfd);
            ManuallyDrop::drop(&mut self.mover);
        }
    }
}
