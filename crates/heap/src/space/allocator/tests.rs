use std::sync::atomic::AtomicBool;
use std::thread;

use super::*;

/// Ends the other thread, also when this one panics.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The collector gives the pool back while mutators take regions from it: what was taken stays its owner's.
#[test]
fn a_pool_is_trimmed_beside_those_who_take_from_it() {
    let geometry = Geometry::new(subduct_kernel::page_size(), 1 << 30, 1 << 30);
    let windows = Windows::new("subduct-test-trim", geometry).unwrap();
    let space = Space::new(windows, 64 << 20).unwrap();
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                space.trim_pool(0);
            }
        });
        let _done = Done(&is_done);
        for round in 1..=20_000 {
            let chunk = space.reserve_large(Window::Slots, POPULATE_BYTES, Limit::Mutator).unwrap();
            let (region, word) = (space.regions.of(chunk.start), space.windows.word(space.windows.view(), chunk.start));
            assert_eq!(word.swap(round, Ordering::Relaxed), 0, "{round}: zeroed, whoever had it before");
            thread::yield_now();
            assert_eq!((word.load(Ordering::Relaxed), region.role()), (round, Role::Reserved));
            space.free_large(RegionId::of(chunk.start));
        }
    });
    space.trim_pool(0);
    assert_eq!((space.charged_bytes(), space.used_bytes()), (0, 0));
    assert_eq!(space.windows.resident_bytes().unwrap(), 0);
}

/// A pool that a compaction with the reserve has left behind, all of it resident: no more of it is used than mutators may use.
#[test]
fn a_pool_larger_than_what_mutators_may_use_gives_them_no_more() {
    let geometry = Geometry::new(subduct_kernel::page_size(), 1 << 30, 1 << 30);
    let windows = Windows::new("subduct-test-pool", geometry).unwrap();
    let space = Space::new(windows, 16 << 20).unwrap();
    let regions: Vec<_> =
        (0..8).map(|_| space.take_destination(Window::Leaves, REGION_BYTES).expect("a part of the budget")).collect();
    regions.into_iter().for_each(|id| space.free(id));
    assert_eq!((space.charged_bytes(), space.used_bytes()), (16 << 20, 0));
    let mut carved_bytes = 0;
    while let Ok(chunk) = space.carve(Window::Leaves, 100_000, 100_000, Limit::Mutator) {
        carved_bytes += chunk.bytes();
        assert!(space.used_bytes() <= space.limit_bytes(Limit::Mutator), "[inv.budget.pool]");
    }
    assert!(carved_bytes > space.mutator_bytes() - REGION_BYTES, "{carved_bytes}");
    assert!(space.charged_bytes() <= space.budget_bytes());
}
