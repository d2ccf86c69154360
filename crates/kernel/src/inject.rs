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
    /// `UFFDIO_UNREGISTER` of pages that cannot be installed.
    Expose,
    /// `UFFDIO_CONTINUE`.
    Continue,
    /// `mremap(MREMAP_DONTUNMAP)`.
    Move,
    /// `fallocate` of a memfd.
    Populate,
    /// `fallocate(FALLOC_FL_PUNCH_HOLE)` of a memfd.
    Punch,
    /// `mmap` that reserves addresses.
    Reserve,
    /// `mmap` of a memfd, or of private memory, into a reservation.
    Map,
    /// `mmap` that turns a range back into a reservation.
    Retire,
    /// `madvise(MADV_DONTNEED)`.
    Drop,
    /// `madvise(MADV_POPULATE_WRITE)`.
    Fill,
    /// `madvise(MADV_REMOVE)`.
    Remove,
    /// `membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED)`, and its registration.
    Fence,
    /// `sigaction`.
    Handle,
    /// `fstat` of a memfd.
    Stat,
    /// `memfd_create`.
    Create,
    /// `userfaultfd`.
    Open,
}

impl Call {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::Register,
        Self::Unregister,
        Self::Expose,
        Self::Continue,
        Self::Move,
        Self::Populate,
        Self::Punch,
        Self::Reserve,
        Self::Map,
        Self::Retire,
        Self::Drop,
        Self::Fill,
        Self::Remove,
        Self::Fence,
        Self::Handle,
        Self::Stat,
        Self::Create,
        Self::Open,
    ];

    /// What the manual pages say the kernel can answer for arguments that are right, and what a filter on system calls does.
    #[must_use]
    pub fn errnos(self) -> &'static [i32] {
        use libc::{
            EACCES, EAGAIN, EBUSY, EEXIST, EFAULT, EINTR, EINVAL, EIO, EMFILE, ENFILE, ENOENT, ENOMEM, ENOSPC, ENOSYS,
            EOPNOTSUPP, EPERM, ESRCH,
        };
        match self {
            Self::Register => &[ENOMEM, EBUSY, EINVAL, EPERM, ENOSYS],
            Self::Unregister | Self::Expose => &[ENOMEM, EINVAL, EPERM, ENOSYS],
            Self::Continue => &[EAGAIN, ENOMEM, EEXIST, EFAULT, ENOENT, ESRCH, EINVAL, EPERM, ENOSYS],
            Self::Move => &[ENOMEM, EAGAIN, EFAULT, EINVAL, EPERM, ENOSYS],
            Self::Populate => &[ENOSPC, ENOMEM, EIO, EPERM, ENOSYS, EOPNOTSUPP],
            Self::Punch => &[ENOMEM, EIO, EPERM, ENOSYS, EOPNOTSUPP],
            Self::Reserve | Self::Map | Self::Retire => &[ENOMEM, EAGAIN, EPERM, ENFILE, EACCES],
            Self::Drop | Self::Fill => &[EAGAIN, ENOMEM, EINVAL, EPERM, ENOSYS],
            Self::Remove => &[EAGAIN, ENOMEM, EINVAL, EACCES, EPERM, ENOSYS],
            Self::Fence => &[EPERM, ENOSYS, EINVAL],
            Self::Handle => &[EPERM, EINTR],
            Self::Stat => &[ENOMEM, EPERM],
            Self::Create => &[EMFILE, ENFILE, ENOMEM, EPERM, ENOSYS],
            Self::Open => &[EMFILE, ENFILE, ENOMEM, EPERM, ENOSYS, EINVAL],
        }
    }
}

/// The errno that a call is refused with, if it is to be.
#[cfg(not(feature = "inject"))]
#[inline]
#[must_use]
pub fn refusal(_call: Call) -> Option<i32> {
    None
}

#[cfg(feature = "inject")]
pub use enabled::{calls, refusal, refuse, refuse_after, refuse_at_random};

#[cfg(feature = "inject")]
mod enabled {
    use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

    use super::Call;

    struct Setting {
        errno: AtomicI32,
        /// Calls that go through first.
        spared: AtomicU64,
        /// Calls that are refused then, before all go through again.
        times: AtomicU64,
        /// Of 2^32 calls, how many are refused at random.
        share: AtomicU64,
        state: AtomicU64,
        /// Calls so far.
        calls: AtomicU64,
    }

    static SETTINGS: [Setting; Call::ALL.len()] = [const {
        Setting {
            errno: AtomicI32::new(0),
            spared: AtomicU64::new(0),
            times: AtomicU64::new(0),
            share: AtomicU64::new(0),
            state: AtomicU64::new(0),
            calls: AtomicU64::new(0),
        }
    }; Call::ALL.len()];

    /// Refuses the next `times` calls with `errno`.
    pub fn refuse(call: Call, errno: i32, times: u64) {
        refuse_after(call, errno, 0, times);
    }

    /// Lets `spared` calls through and refuses the next `times` with `errno`.
    pub fn refuse_after(call: Call, errno: i32, spared: u64, times: u64) {
        let setting = &SETTINGS[call as usize];
        setting.share.store(0, Ordering::SeqCst);
        setting.times.store(0, Ordering::SeqCst);
        setting.errno.store(errno, Ordering::SeqCst);
        setting.spared.store(spared, Ordering::SeqCst);
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

    /// How often a call was made.
    #[must_use]
    pub fn calls(call: Call) -> u64 {
        SETTINGS[call as usize].calls.load(Ordering::SeqCst)
    }

    /// The errno that a call is refused with, if it is to be. Async-signal-safe.
    #[must_use]
    pub fn refusal(call: Call) -> Option<i32> {
        let setting = &SETTINGS[call as usize];
        setting.calls.fetch_add(1, Ordering::SeqCst);
        let take = |times: u64| times.checked_sub(1);
        let counted = setting.times.load(Ordering::SeqCst) > 0
            && setting.spared.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_err()
            && setting.times.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok();
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
            refuse_after(Call::Populate, libc::EIO, 2, 1);
            let answers: Vec<_> = (0..4).map(|_| refusal(Call::Populate)).collect();
            assert_eq!(answers, [None, None, Some(libc::EIO), None]);
            refuse_at_random(Call::Populate, libc::ENOMEM, 0.5, 7);
            let refused = (0..1000).filter(|_| refusal(Call::Populate).is_some()).count();
            assert!((400..600).contains(&refused), "{refused} of 1000");
            refuse_at_random(Call::Populate, 0, 0.0, 0);
            assert_eq!(refusal(Call::Populate), None);
        }

        #[test]
        fn every_call_has_a_setting_of_its_own() {
            assert!(Call::ALL.iter().enumerate().all(|(number, call)| *call as usize == number));
        }
    }
}
