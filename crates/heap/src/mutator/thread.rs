//! What one thread owns in one heap, and how a thread finds it.

use std::cell::{Cell, RefCell, UnsafeCell};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::memory::{self, Refused};
use crate::mutator::handles::Handle;
use crate::mutator::safepoint::{Gate, Presence};
use crate::object::Value;
use crate::space::{Chunk, Limit, RegionId, Window};
use subduct_kernel::thread::thread_number;

/// References that an operation can hold over a poll.
pub const POLL_ROOTS: usize = 8;

/// What the owning thread uses inside operations, and the collector inside a rendezvous.
#[derive(Default)]
pub struct Local {
    /// Memory to allocate from, for each window; `start` moves up.
    pub chunks: [Chunk; 2],
    /// References that were overwritten while marking, for the marker.
    pub log: Vec<Value>,
    /// Free handles.
    pub handles: Vec<Handle>,
    /// Hold references over a poll.
    pub roots: Vec<Handle>,
    /// Operations begun, or gone on with after a poll.
    pub operations: u64,
    /// Objects born marked since the mark began.
    pub born: u64,
    /// Bytes of objects that the thread has allocated, and how many they were when this attempt at an operation began.
    pub allocated_bytes: u64,
    /// See `allocated_bytes`.
    pub began_at_bytes: u64,
    /// What this attempt at an operation was given.
    pub given: Given,
    /// What its memory is charged to.
    pub limit: Limit,
}

/// What is left of a thread's chunk, for others to know. Written by the owner inside operations, and by the collector in a
/// rendezvous. Others may see the start of one chunk and the end of another: it is a figure.
#[derive(Default)]
pub struct Left {
    start: AtomicU64,
    end: AtomicU64,
}

impl Left {
    /// An operation ends, and the chunk starts here now.
    #[inline]
    pub fn note_start(&self, start: u64) {
        self.start.store(start, Ordering::Relaxed);
    }

    /// The chunk is another, which ends here.
    pub fn note_end(&self, end: u64) {
        self.end.store(end, Ordering::Relaxed);
    }

    /// What is left: in which region, and bytes.
    #[must_use]
    pub fn get(&self) -> Option<(RegionId, u64)> {
        let (start, end) = (self.start.load(Ordering::Relaxed), self.end.load(Ordering::Relaxed));
        (start > 0 && start < end && RegionId::of(start) == RegionId::of(end - 1))
            .then(|| (RegionId::of(start), end - start))
    }
}

/// Memory that an attempt at an operation was given. When it fails, its objects are garbage, and the next attempt needs as
/// much again.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Of chunks, in bytes.
    pub carved_bytes: u64,
    /// Large objects: where, and bytes.
    pub large: Vec<(Window, u64)>,
}

impl Given {
    /// Whether it is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.carved_bytes == 0 && self.large.is_empty()
    }
}

/// One thread in one heap.
#[derive(Default)]
pub struct Mutator {
    /// The kernel's number of the thread.
    pub thread: i32,
    /// Whether the thread is inside an operation.
    pub presence: Presence,
    local: UnsafeCell<Local>,
    /// Regions reserved for the large objects that an operation failed to allocate and will ask for again.
    pub prepared: Mutex<Vec<(Window, Chunk)>>,
    /// What the last attempt at its operation was given, if it failed.
    pub failed: Mutex<Given>,
    /// How often in a row its operation found no memory. Read and written by the owner only.
    pub shortages: AtomicU32,
    /// How often in a row its operation found an object in use by another thread. Read and written by the owner only.
    pub refusals: AtomicU32,
    /// Whether its operation is to end with [`Retry::Long`](crate::Retry::Long) where it would take long. Read and written by the owner
    /// only.
    pub is_brief: AtomicBool,
    /// Its operation took a chunk: memory for the next one can be made resident while no collector waits for this thread.
    pub has_refilled: AtomicBool,
    /// How long it is to sleep, outside, before its next operation, in microseconds. Read and written by the owner only.
    pub sleep_us: AtomicU32,
    /// What its operation wished for last was not to be had. Read and written by the owner only.
    pub wish_declined: AtomicBool,
    /// Whether it is outside only because its operation polls. Written by the owner while it is inside.
    pub is_polling: AtomicBool,
    /// The thread has ended; what it owned can be taken back.
    pub ended: AtomicBool,
    /// Bytes of objects that the thread has allocated. Read and written by the owner only, outside operations, too.
    pub allocated_bytes: AtomicU64,
    /// What is left of its chunks, in each window.
    pub left: [Left; 2],
    /// The operation found no memory after a full collection, and is tried once more all the same. Read and written by the owner
    /// only.
    pub is_last_try: AtomicBool,
    /// Longest operation, in clock ticks. Written by the owner only.
    pub longest_ticks: AtomicU64,
    /// Longest wait for a cycle to give memory back, in clock ticks. Written by the owner only.
    pub longest_stall_ticks: AtomicU64,
}

// SAFETY: `local` is reached only through `Mutator::local`, whose contract makes access exclusive.
unsafe impl Sync for Mutator {}

impl Mutator {
    /// That of the calling thread.
    #[must_use]
    pub fn of_this_thread() -> Self {
        Self { thread: thread_number(), ..Self::default() }
    }

    /// The thread's own part.
    ///
    /// # Safety
    /// The caller is the owning thread inside an operation and has no other such reference, or the collector inside a
    /// rendezvous (`[inv.gate.exclusive]`), or holds the only reference to a mutator that no thread owns yet.
    #[expect(clippy::mut_from_ref, reason = "exclusive by the contract above")]
    pub unsafe fn local(&self) -> &mut Local {
        // SAFETY: exclusive by this function's contract.
        unsafe { &mut *self.local.get() }
    }

    /// Raises a maximum that only this thread writes.
    pub fn raise(maximum: &AtomicU64, ticks: u64) {
        if ticks > maximum.load(Ordering::Relaxed) {
            maximum.store(ticks, Ordering::Relaxed);
        }
    }
}

/// The mutators of one thread, by heap; tells the heaps when the thread ends.
struct OfThread(Vec<(u64, Arc<Mutator>)>);

impl OfThread {
    fn end(&mut self) {
        LAST.set((0, std::ptr::null()));
        for (_, mutator) in self.0.drain(..) {
            // Release: the collector that sees it takes over everything the thread wrote.
            mutator.ended.store(true, Ordering::Release);
        }
    }
}

impl Drop for OfThread {
    fn drop(&mut self) {
        self.end();
    }
}

/// Does now what happens when the thread ends, for simulations, in which ends have their place in the order of things.
#[cfg(feature = "simulate")]
pub fn end_now() {
    OF_THREAD.with(|of_thread| of_thread.borrow_mut().end());
}

thread_local! {
    static OF_THREAD: RefCell<OfThread> = const { RefCell::new(OfThread(Vec::new())) };
    /// The heap this thread used last: nearly always the one it uses next.
    static LAST: Cell<(u64, *const Mutator)> = const { Cell::new((0, std::ptr::null())) };
}

/// Has this thread notice that the gate of heap `id` is fenced, if it uses the heap and is outside.
pub fn notice_fences(id: u64, gate: &Gate) {
    let known = OF_THREAD.try_with(|of_thread| {
        let of_thread = of_thread.borrow();
        of_thread.0.iter().find(|(heap, _)| *heap == id).map(|(_, mutator)| Arc::clone(mutator))
    });
    if let Ok(Some(mutator)) = known
        && !mutator.presence.is_inside()
    {
        mutator.presence.exit(gate);
    }
}

/// Whether this thread is inside an operation on the heap it used last. Async-signal-safe in a thread that ever was in one.
#[must_use]
pub fn is_this_thread_inside() -> bool {
    let (_, last) = LAST.get();
    // SAFETY: null, or kept alive by this thread's own list, which sets it to null before it goes.
    unsafe { last.as_ref() }.is_some_and(|mutator| mutator.presence.is_inside())
}

/// This thread's mutator in heap `id`, made with `make` at first use. `None` while the thread is ending.
///
/// # Errors
/// Those of `make`, and that there is no memory.
pub fn current<E: From<Refused>>(
    id: u64,
    make: impl FnOnce() -> Result<Arc<Mutator>, E>,
) -> Option<Result<*const Mutator, E>> {
    let (last_id, last) = LAST.get();
    if last_id == id {
        return Some(Ok(last));
    }
    OF_THREAD
        .try_with(|of_thread| {
            let known =
                of_thread.borrow().0.iter().find(|(heap, _)| *heap == id).map(|(_, mutator)| Arc::as_ptr(mutator));
            let mutator = match known {
                Some(mutator) => mutator,
                None => {
                    {
                        let list = &mut of_thread.borrow_mut().0;
                        // Heaps that are gone hold no reference any more.
                        list.retain(|(_, mutator)| Arc::strong_count(mutator) > 1);
                        memory::reserve(list, 1)?;
                    }
                    let mutator = make()?;
                    let pointer = Arc::as_ptr(&mutator);
                    of_thread.borrow_mut().0.push((id, mutator));
                    pointer
                }
            };
            LAST.set((id, mutator));
            Ok(mutator)
        })
        .ok()
}
