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

/// Sleeps while `word` is `expected`; may return early.
pub fn wait(word: &AtomicU32, expected: u32) {
    #[cfg(loom)]
    {
        let _ = (word, expected);
        loom::thread::yield_now();
    }
    #[cfg(not(loom))]
    subduct_kernel::futex::wait(word, expected, None);
}

/// Wakes everybody who sleeps on `word`.
pub fn wake_all(word: &AtomicU32) {
    #[cfg(loom)]
    let _ = word;
    #[cfg(not(loom))]
    subduct_kernel::futex::wake_all(word);
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
