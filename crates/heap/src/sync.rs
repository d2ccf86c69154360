//! The primitives that the protocols are written on: the real ones, or loom's, so that the model checker runs the
//! same source. The asymmetric fence is modelled by a full fence on both sides: loom cannot see into membarrier.

#[cfg(loom)]
pub use loom::sync::atomic::{AtomicU32, Ordering};
#[cfg(not(loom))]
pub use std::sync::atomic::{AtomicU32, Ordering};

/// The frequent side of the asymmetric fence: only keeps the compiler from reordering.
#[inline]
pub fn light_fence() {
    #[cfg(loom)]
    loom::sync::atomic::fence(Ordering::SeqCst);
    #[cfg(not(loom))]
    std::sync::atomic::compiler_fence(Ordering::SeqCst);
}

/// The rare side of the asymmetric fence: every other thread of the process fences.
pub fn heavy_fence() {
    #[cfg(loom)]
    loom::sync::atomic::fence(Ordering::SeqCst);
    #[cfg(not(loom))]
    subduct_kernel::membarrier::fence_all_threads();
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
        subduct_kernel::futex::wait(&self.atomic, expected, None);
    }

    /// Wakes everybody who sleeps on the word.
    pub fn wake_all(&self) {
        #[cfg(loom)]
        {
            let _guard = self.queue.0.lock().unwrap();
            self.queue.1.notify_all();
        }
        #[cfg(not(loom))]
        subduct_kernel::futex::wake_all(&self.atomic);
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
    if attempt < 64 {
        std::hint::spin_loop();
    } else {
        std::thread::yield_now();
    }
}
