//! Every allocation of more than 4 KiB refused, the n-th time there is one: the process lives, the caller gets an error or its
//! result, and the heap goes on when there is memory again. One test: the allocator is that of the whole process.
//!
//! With `SUBDUCT_SWEEP` each n is tried, as `make torture` does; otherwise some.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use subduct_heap::object::{Key, Outgoing, Scalar, dict, list, outgoing};
use subduct_heap::{Delivery, Error, Handle, Heap, Options};

/// Longest allocation that is never refused, in bytes.
const SMALL: usize = 4096;

/// Refuses allocations when it is told to.
struct Refusing;

/// Large allocations so far, and those that are refused: from the first to before the last.
static LARGE: AtomicU64 = AtomicU64::new(0);
static REFUSED: [AtomicU64; 2] = [const { AtomicU64::new(u64::MAX) }; 2];

fn is_refused(bytes: usize) -> bool {
    if bytes <= SMALL {
        return false;
    }
    let number = LARGE.fetch_add(1, Ordering::SeqCst);
    (REFUSED[0].load(Ordering::SeqCst)..REFUSED[1].load(Ordering::SeqCst)).contains(&number)
}

// SAFETY: every call is handed to the system's allocator unchanged, or answered with null, which is always allowed.
unsafe impl GlobalAlloc for Refusing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_refused(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's obligations are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_refused(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's obligations are the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        if is_refused(bytes) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's obligations are the same.
        unsafe { System.realloc(pointer, layout, bytes) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's obligations are the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Refusing = Refusing;

/// Refuses `count` large allocations after `spared` more.
fn refuse(spared: u64, count: u64) {
    let first = LARGE.load(Ordering::SeqCst).saturating_add(spared);
    REFUSED[1].store(first.saturating_add(count), Ordering::SeqCst);
    REFUSED[0].store(first, Ordering::SeqCst);
}

fn allow() {
    REFUSED[0].store(u64::MAX, Ordering::SeqCst);
    REFUSED[1].store(u64::MAX, Ordering::SeqCst);
}

const RECORDS: i64 = 2_000;
const LONG: usize = 40_000;

/// What does not allocate by itself while allocations are refused.
struct Given {
    long: Vec<u8>,
    many: Vec<Scalar<'static>>,
}

fn said<T>(result: Result<T, Error>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(Error::Memory { .. } | Error::Kernel(_) | Error::Full { .. } | Error::Closed { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

/// A life with everything whose size a user decides.
fn live(heap: &Heap, given: &Given) -> Option<Handle> {
    let new = || heap.run(|op| dict::new(op, 0).and_then(|records| op.handle_new(records)));
    let records = said(new())?;
    for number in 0..RECORDS {
        said(heap.run(|op| {
            let value = list::new(op, 2)?;
            let value = op.handle_new(value)?;
            let inserted =
                dict::insert(op, op.handle_get(records), &Key::Int(number), &Scalar::Object(value)).map(drop);
            op.handle_pass(value);
            inserted
        }));
    }
    for number in (0..RECORDS).filter(|number| number % 3 != 0) {
        said(heap.run(|op| dict::remove(op, op.handle_get(records), &Key::Int(number)).map(drop)));
    }
    said(heap.run(|op| dict::copy(op, op.handle_get(records)).map(drop)));
    let kept = said(heap.run(|op| list::new(op, 0).and_then(|kept| op.handle_new(kept))))?;
    said(heap.run(|op| list::splice(op, op.handle_get(kept), 0, 0, &given.many)));
    said(heap.run(|op| list::push(op, op.handle_get(kept), &Scalar::Bytes(&given.long))));
    let last = said(heap.run(|op| {
        let kept = op.handle_get(kept);
        let last = list::len(op, kept)?.saturating_sub(1);
        list::get(op, kept, last)?.map(|value| outgoing(op, value)).transpose()
    }));
    if let Some(Some(Outgoing::Bytes(bytes))) = last {
        assert_eq!(bytes.as_slice(), given.long);
    }
    // Handles enough to make their table grow.
    let mut handles = [None; 600];
    for handle in &mut handles {
        *handle = said(heap.run(|op| {
            let object = op.handle_get(records);
            op.handle_new(object)
        }));
    }
    handles.into_iter().flatten().for_each(|handle| heap.drop_handle(handle));
    for _ in 0..2 {
        said(heap.collect());
    }
    said(heap.verify());
    said(heap.stats());
    heap.drop_handle(kept);
    Some(records)
}

fn one_life(delivery: Delivery, given: &Given, spared: u64, count: u64) {
    let options = Options { budget_bytes: 16 << 20, delivery: Some(delivery), verify: true, ..Options::default() };
    refuse(spared, count);
    let heap = said(Heap::new(options.clone()));
    let records = heap.as_ref().and_then(|heap| live(heap, given));
    allow();
    let Some(heap) = heap else { return };
    heap.verify().unwrap();
    let again = live(&heap, given).expect("there is memory again");
    let len = |records| heap.run(|op| dict::len(op, op.handle_get(records))).unwrap();
    assert_eq!(len(again), RECORDS as usize / 3 + 1);
    assert!(records.is_none_or(|records| len(records) <= RECORDS as usize));
    heap.verify().unwrap();
}

#[test]
fn no_refused_allocation_ends_the_process_or_damages_the_heap() {
    let given = Given { long: vec![7; LONG], many: (0..3_000).map(Scalar::Int).collect() };
    let all = std::env::var_os("SUBDUCT_SWEEP").is_some();
    for delivery in [Delivery::Sigbus, Delivery::Thread, Delivery::Software, Delivery::Pause] {
        let before = LARGE.load(Ordering::SeqCst);
        one_life(delivery, &given, u64::MAX, 0);
        // One life goes twice through everything.
        let allocations = (LARGE.load(Ordering::SeqCst) - before) / 2;
        assert!(allocations > 10, "{allocations} allocations are too few to prove anything");
        let step = if all { 1 } else { (allocations / 12).max(1) };
        for spared in (0..=allocations).step_by(step as usize) {
            for count in [1, u64::MAX] {
                one_life(delivery, &given, spared, count);
            }
        }
    }
}
