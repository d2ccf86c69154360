//! Refusing calls on purpose: how tests reach the ways out that real kernels take once in a year.
//!
//! Compiled in with the feature `inject` only, which nothing but tests asks for; without it [`refusal`] is a constant.
//! Settings hold for the whole process.

/// The calls that can be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `UFFDIO_REGISTER`.
    Register,
    /// `UFFDIO_UNREGISTER` of a whole window or run.
    Unregister,
    /// `UFFDIO_CONTINUE`.
    Continue,
    /// `mremap(MREMAP_DONTUNMAP)`.
    Move,
    /// `fallocate` of a memfd.
    Populate,
}

/// The errno that a call is refused with, if it is to be.
#[cfg(not(feature = "inject"))]
#[inline]
#[must_use]
pub fn refusal(_call: Call) -> Option<i32> {
    None
}

#[cfg(feature = "inject")]
pub use enabled::{refusal, refuse, refuse_at_random};

#[cfg(feature = "inject")]
mod enabled {
    use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

    use super::Call;

    struct Setting {
        errno: AtomicI32,
        /// Calls that are refused before all go through again.
        times: AtomicU64,
        /// Of 2^32 calls, how many are refused at random.
        share: AtomicU64,
        state: AtomicU64,
    }

    static SETTINGS: [Setting; 5] = [const {
        Setting {
            errno: AtomicI32::new(0),
            times: AtomicU64::new(0),
            share: AtomicU64::new(0),
            state: AtomicU64::new(0),
        }
    }; 5];

    /// Refuses the next `times` calls with `errno`.
    pub fn refuse(call: Call, errno: i32, times: u64) {
        let setting = &SETTINGS[call as usize];
        setting.share.store(0, Ordering::SeqCst);
        setting.errno.store(errno, Ordering::SeqCst);
        setting.times.store(times, Ordering::SeqCst);
    }

    /// Refuses a share of the calls with `errno`, chosen by `seed`; 0.0 to stop.
    pub fn refuse_at_random(call: Call, errno: i32, share: f64, seed: u64) {
        let setting = &SETTINGS[call as usize];
        setting.times.store(0, Ordering::SeqCst);
        setting.errno.store(errno, Ordering::SeqCst);
        setting.state.store(seed | 1, Ordering::SeqCst);
        setting.share.store((share * f64::from(u32::MAX)) as u64, Ordering::SeqCst);
    }

    /// The errno that a call is refused with, if it is to be. Async-signal-safe.
    #[must_use]
    pub fn refusal(call: Call) -> Option<i32> {
        let setting = &SETTINGS[call as usize];
        let take = |times: u64| times.checked_sub(1);
        let counted = setting.times.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok();
        let share = setting.share.load(Ordering::SeqCst);
        // SplitMix64 (G. Steele, D. Lea, C. Flood 2014), its counter shared by all threads.
        let mut mixed = setting.state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let drawn = (mixed ^ (mixed >> 31)) >> 32 < share;
        (counted || drawn).then(|| setting.errno.load(Ordering::SeqCst))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn as_many_calls_are_refused_as_asked_for() {
            refuse(Call::Populate, libc::ENOSPC, 2);
            let answers: Vec<_> = (0..4).map(|_| refusal(Call::Populate)).collect();
            assert_eq!(answers, [Some(libc::ENOSPC), Some(libc::ENOSPC), None, None]);
            refuse_at_random(Call::Populate, libc::ENOMEM, 0.5, 7);
            let refused = (0..1000).filter(|_| refusal(Call::Populate).is_some()).count();
            assert!((400..600).contains(&refused), "{refused} of 1000");
            refuse_at_random(Call::Populate, 0, 0.0, 0);
            assert_eq!(refusal(Call::Populate), None);
        }
    }
}
