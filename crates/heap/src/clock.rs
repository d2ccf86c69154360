//! Time at the price of one instruction, for measuring every operation.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Instant;

/// A point in time, in ticks of unknown length.
#[inline]
#[must_use]
pub fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: RDTSC exists on every x86-64 and reads a register.
    unsafe {
        std::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        origin().1.elapsed().as_nanos() as u64
    }
}

/// A pair of readings of both clocks, taken once. No `OnceLock`, which another thread may be inside of when this process forks: the
/// child would wait for that thread for ever.
fn origin() -> &'static (u64, Instant) {
    static ORIGIN: AtomicPtr<(u64, Instant)> = AtomicPtr::new(ptr::null_mut());
    // Acquire, and Release below: who finds the pair sees what is in it.
    let found = ORIGIN.load(Ordering::Acquire);
    if !found.is_null() {
        // SAFETY: a pair that is published is never changed or freed.
        return unsafe { &*found };
    }
    let now = Instant::now();
    #[cfg(target_arch = "x86_64")]
    let first_ticks = ticks();
    #[cfg(not(target_arch = "x86_64"))]
    let first_ticks = 0;
    let mine = Box::into_raw(Box::new((first_ticks, now)));
    match ORIGIN.compare_exchange(ptr::null_mut(), mine, Ordering::Release, Ordering::Acquire) {
        // SAFETY: as above.
        Ok(_) => unsafe { &*mine },
        Err(first) => {
            // SAFETY: made by `Box` right here, and nobody has seen it. The other is as above.
            unsafe {
                drop(Box::from_raw(mine));
                &*first
            }
        }
    }
}

/// Takes the first reading of the calibration. Called when a heap is made, so that later readings are far enough away.
pub fn calibrate() {
    origin();
}

/// How long a number of ticks is, in microseconds; as exact as the time since [`calibrate`] is long.
#[must_use]
pub fn to_us(ticks_count: u64) -> f64 {
    if cfg!(not(target_arch = "x86_64")) {
        return ticks_count as f64 / 1e3;
    }
    let (first_ticks, first) = origin();
    let us = first.elapsed().as_secs_f64() * 1e6;
    let passed = ticks().wrapping_sub(*first_ticks).max(1);
    ticks_count as f64 * us / passed as f64
}
