//! The primitives that everything concurrent here is written on: the real ones, or loom's, so that the model checker runs
//! the same source, or those of the simulator (feature `simulate`), which decides by a seed who runs when. The asymmetric
//! fence is modelled by a full fence on both sides: loom cannot see into membarrier.

#[cfg(loom)]
pub use loom::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering, fence};
#[cfg(not(loom))]
pub use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering, fence};

/// The frequent side of the asymmetric fence: only keeps the compiler from reordering.
#[inline]
pub fn light_fence() {
    #[cfg(loom)]
    loom::sync::atomic::fence(Ordering::SeqCst);
    #[cfg(not(loom))]
    std::sync::atomic::compiler_fence(Ordering::SeqCst);
}

/// The rare side of the asymmetric fence: every other thread of the process fences. False where the kernel refuses to.
#[must_use]
pub fn heavy_fence() -> bool {
    #[cfg(loom)]
    loom::sync::atomic::fence(Ordering::SeqCst);
    #[cfg(not(loom))]
    let fenced = subduct_kernel::membarrier::fence_all_threads().is_ok();
    #[cfg(loom)]
    let fenced = true;
    fenced
}

/// A word that threads sleep on: a futex, or for loom the lock and the queue that the kernel keeps for one, so that a
/// lost wake-up shows as a deadlock.
#[cfg_attr(not(loom), repr(transparent))]
pub struct Word {
    atomic: AtomicU32,
    #[cfg(loom)]
    queue: (loom::sync::Mutex<()>, loom::sync::Condvar),
}

impl Word {
    /// A word with a value.
    #[must_use]
    pub fn new(value: u32) -> Self {
        Self {
            atomic: AtomicU32::new(value),
            #[cfg(loom)]
            queue: (loom::sync::Mutex::new(()), loom::sync::Condvar::new()),
        }
    }

    /// Sleeps while the word is `expected`; may return early.
    pub fn wait(&self, expected: u32) {
        #[cfg(loom)]
        {
            let guard = self.queue.0.lock().unwrap();
            if self.atomic.load(Ordering::SeqCst) == expected {
                drop(self.queue.1.wait(guard).unwrap());
            }
        }
        #[cfg(not(loom))]
        if !simulated::wait(&self.atomic, expected) {
            subduct_kernel::futex::wait(&self.atomic, expected, None);
        }
    }

    /// Wakes everybody who sleeps on the word.
    pub fn wake_all(&self) {
        #[cfg(loom)]
        {
            let _guard = self.queue.0.lock().unwrap();
            self.queue.1.notify_all();
        }
        #[cfg(not(loom))]
        if !simulated::wake_all(&self.atomic) {
            subduct_kernel::futex::wake_all(&self.atomic);
        }
    }
}

impl std::ops::Deref for Word {
    type Target = AtomicU32;
    fn deref(&self) -> &AtomicU32 {
        &self.atomic
    }
}

/// Lets others run, as attempt number `attempt` of a short wait: spins first, then gives the processor away.
pub fn relax(attempt: u32) {
    #[cfg(loom)]
    {
        let _ = attempt;
        loom::thread::yield_now();
    }
    #[cfg(not(loom))]
    if attempt < 64 && !simulated::is_running() {
        std::hint::spin_loop();
    } else {
        yield_now();
    }
}

/// Gives the processor away.
#[cfg(not(loom))]
pub fn yield_now() {
    if !simulated::give_way() {
        std::thread::yield_now();
    }
}

/// Gives the processor away, as attempt number `attempt` of a wait for another thread that may take long, or may run only
/// when this one sleeps.
#[cfg(not(loom))]
pub fn rest(attempt: u32) {
    const YIELDS: u32 = 8;
    // From 16 microseconds to 2 milliseconds.
    match attempt.checked_sub(YIELDS) {
        Some(sleeps) if !simulated::is_running() => {
            sleep(std::time::Duration::from_micros(16 << sleeps.min(7)));
        }
        _ => yield_now(),
    }
}

/// Sleeps, or in a simulation, whose threads have no time, gives the processor away.
#[cfg(not(loom))]
pub fn sleep(time: std::time::Duration) {
    if !simulated::give_way() {
        subduct_kernel::time::sleep(time);
    }
}

/// Whether a simulation decides what this thread does when.
#[cfg(not(loom))]
#[must_use]
pub fn is_simulated() -> bool {
    simulated::is_running()
}

/// A place where another thread may come in between: nothing, but for the simulator.
#[inline]
pub fn point() {
    #[cfg(not(loom))]
    simulated::point();
}

#[cfg(not(loom))]
pub use blocking::*;

/// Locks, waiting and threads: what the collector and the allocator use outside the fault path.
#[cfg(not(loom))]
mod blocking {
    use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

    use super::simulated;

    /// Locks, whatever a thread that panicked left: all data behind the locks of this crate is valid between any two
    /// statements.
    pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        simulated::point();
        if simulated::is_running() {
            loop {
                match mutex.try_lock() {
                    Ok(guard) => return guard,
                    Err(std::sync::TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
                    Err(std::sync::TryLockError::WouldBlock) => drop(simulated::give_way()),
                }
            }
        }
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a change; may return early.
    pub fn wait_changed<'m, T>(mutex: &'m Mutex<T>, changed: &Condvar, guard: MutexGuard<'m, T>) -> MutexGuard<'m, T> {
        if simulated::is_running() {
            drop(guard);
            simulated::give_way();
            return lock(mutex);
        }
        changed.wait(guard).unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread of a heap.
    pub struct Thread(std::thread::JoinHandle<()>, simulated::Ticket);

    /// Starts a thread, and waits until it runs: the C library allocates the thread-local memory of this module then, and ends the
    /// process where it cannot, as when the caller goes on to lower its limits.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<Thread> {
        let ticket = simulated::Ticket::new();
        let thread = std::thread::Builder::new().name(name.to_owned());
        let (begun, begins) = std::sync::mpsc::channel::<()>();
        let handle = thread.spawn({
            let ticket = ticket.clone();
            move || {
                drop(begun);
                ticket.run(run);
            }
        })?;
        // An error: the other end is gone, which is what it waits for.
        let _ = begins.recv();
        Ok(Thread(handle, ticket))
    }

    impl Thread {
        /// Waits for its end.
        pub fn join(self) {
            self.1.wait_ended();
            let joined = self.0.join();
            debug_assert!(joined.is_ok(), "a heap's thread aborts the process instead of panicking");
        }
    }

    /// A random word: from the kernel, or from the simulator's seed.
    #[must_use]
    pub fn random() -> u64 {
        use std::hash::{BuildHasher, Hasher};
        simulated::random().unwrap_or_else(|| std::hash::RandomState::new().build_hasher().finish())
    }
}

#[cfg(all(not(loom), feature = "simulate"))]
pub use crate::simulator::scheduler as simulated;

/// Without the simulator: never in the way.
#[cfg(all(not(loom), not(feature = "simulate")))]
mod simulated {
    use std::sync::atomic::AtomicU32;

    pub fn is_running() -> bool {
        false
    }
    pub fn point() {}
    pub fn give_way() -> bool {
        false
    }
    pub fn wait(_word: &AtomicU32, _expected: u32) -> bool {
        false
    }
    pub fn wake_all(_word: &AtomicU32) -> bool {
        false
    }
    pub fn random() -> Option<u64> {
        None
    }

    #[derive(Clone)]
    pub struct Ticket;

    impl Ticket {
        pub fn new() -> Self {
            Self
        }
        pub fn run(self, run: impl FnOnce()) {
            run();
        }
        pub fn wait_ended(&self) {}
    }
}
