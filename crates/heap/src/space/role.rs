//! What a region is used for, and since which era.
//!
//! The lists of free regions change under the space's lock. What a region is used for is read without it: by the marker, the
//! plan, the worker, faults. The collector frees what marking found dead while threads take regions that it has just freed, so it
//! has to tell a region of before from one that was taken since, which it knows by the era.

use crate::sync::{AtomicU8, AtomicU32, Ordering, point};

/// What a region is used for.
///
/// ```text
///  Free -> Small -> Source -> Free          Free -> Destination -> Small
///  Free -> Reserved -> LargeHead, LargeTail -> Free      Free -> Handles      Free -> Reserved -> Free
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// Nothing in it: a hole of the file, or resident and kept for reuse.
    Free,
    /// Objects of ordinary size.
    Small,
    /// Being evacuated: its objects are on their way to destinations.
    Source,
    /// Being built from sources.
    Destination,
    /// Taken for a large object that is about to be made, or while its pages go back to the machine.
    Reserved,
    /// A large object starts here.
    LargeHead,
    /// A large object goes on here.
    LargeTail,
    /// Part of the handle table.
    Handles,
}

impl Role {
    fn from_number(number: u8) -> Self {
        use Role::*;
        [Free, Small, Source, Destination, Reserved, LargeHead, LargeTail, Handles][usize::from(number)]
    }
}

/// The role of one region, and the era in which it was taken: how often the space had set its partial regions aside by then.
pub struct Tenure {
    role: AtomicU8,
    taken_in: AtomicU32,
}

impl Tenure {
    /// That of a free region.
    #[must_use]
    pub fn free() -> Self {
        Self { role: AtomicU8::new(Role::Free as u8), taken_in: AtomicU32::new(0) }
    }

    /// What the region is used for.
    #[inline]
    #[must_use]
    pub fn role(&self) -> Role {
        // Acquire pairs with the release in `set_role`: whoever sees the role sees the figures that go with it.
        Role::from_number(self.role.load(Ordering::Acquire))
    }

    /// Changes what the region is used for.
    pub fn set_role(&self, role: Role) {
        self.role.store(role as u8, Ordering::Release);
    }

    /// Gives the region a new user.
    pub fn take(&self, role: Role, era: u32) {
        // Relaxed: published with the role.
        self.taken_in.store(era, Ordering::Relaxed);
        self.set_role(role);
    }

    /// What the region is used for, if it was taken before `era`.
    #[must_use]
    pub fn role_before(&self, era: u32) -> Option<Role> {
        // [inv.region.era] The role first: who takes a region writes the era and then the role. The other way round, an old
        // era could be seen with a new role, and the region be freed under its new owner.
        let role = self.role();
        point();
        (self.taken_in.load(Ordering::Relaxed) < era).then_some(role)
    }
}

/// Model-checked with loom: a thread takes a region, from the pool that the collector puts dead regions into, while the
/// collector frees what is dead; every interleaving.
#[cfg(all(test, loom))]
mod loom_models {
    use super::*;
    use loom::sync::{Arc, Mutex};
    use loom::thread;

    /// What [`Space`](super::super::Space) keeps of one region.
    struct Pool {
        /// The lock's data: whether the region is free.
        is_free: Mutex<bool>,
        region: Tenure,
        era: AtomicU32,
    }

    impl Pool {
        fn free(&self) {
            let mut is_free = self.is_free.lock().unwrap();
            self.region.set_role(Role::Free);
            *is_free = true;
        }

        /// The era in which the region was taken, if it was free.
        fn take(&self) -> Option<u32> {
            let mut is_free = self.is_free.lock().unwrap();
            let era = self.era.load(Ordering::Relaxed);
            std::mem::take(&mut *is_free).then(|| {
                self.region.take(Role::Small, era);
                era
            })
        }
    }

    #[test]
    fn loom_a_region_taken_after_marking_is_not_freed() {
        loom::model(|| {
            let region = Tenure::free();
            region.take(Role::Small, 0);
            let pool = Arc::new(Pool { is_free: Mutex::new(false), region, era: AtomicU32::new(0) });
            let taking = {
                let pool = Arc::clone(&pool);
                thread::spawn(move || pool.take())
            };
            // The end of marking, and then two looks at a region without a live byte: the first frees it.
            {
                let _guard = pool.is_free.lock().unwrap();
                pool.era.store(1, Ordering::Relaxed);
            }
            for _ in 0..2 {
                if pool.region.role_before(1) == Some(Role::Small) {
                    pool.free();
                }
            }
            if let Some(era) = taking.join().unwrap() {
                assert_eq!((era, pool.region.role()), (1, Role::Small), "[inv.region.era]");
                assert!(!*pool.is_free.lock().unwrap(), "[inv.region.era]");
            }
        });
    }
}
