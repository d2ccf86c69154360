//! The fault path allocates nothing, seen by the allocator itself: reads that fault while a move is under way.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};

use subduct_heap::object::{Key, Scalar, View, dict, list};
use subduct_heap::{Delivery, Handle, Heap, Options};

/// Counts the allocations of threads that ask for it.
struct Counting;

thread_local! {
    static COUNTED: Cell<Option<u64>> = const { Cell::new(None) };
}

// SAFETY: every call is handed to the system's allocator unchanged; counting touches a thread-local without destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNTED.set(COUNTED.get().map(|count| count + 1));
        // SAFETY: the caller's obligations are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's obligations are the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ITEMS: usize = 200_000;

/// A list of small dicts, three of four replaced by an int, so that the regions are sparse.
fn fill(heap: &Heap) -> Handle {
    let items = heap.run(|op| list::new(op, ITEMS).and_then(|list| op.handle_new(list))).unwrap();
    for number in 0..ITEMS {
        heap.run(|op| {
            let node = dict::new(op, 1)?;
            let node = op.handle_new(node)?;
            let filled = dict::insert(op, op.handle_get(node), &Key::Str(b"n"), &Scalar::Int(number as i64))
                .and_then(|_| list::push(op, op.handle_get(items), &Scalar::Object(node)));
            op.handle_drop(node);
            filled
        })
        .unwrap();
        if number % 4 != 0 {
            heap.run(|op| list::set(op, op.handle_get(items), number, &Scalar::None)).unwrap();
        }
    }
    items
}

fn read(heap: &Heap, items: Handle, number: usize) {
    let seen = heap.attempt(|op| {
        let node = list::get(op, op.handle_get(items), number)?.and_then(|value| value.as_ref());
        let value = dict::get(op, node.expect("every fourth item is a dict"), &Key::Str(b"n"))?;
        Ok(value.expect("each has a number").view())
    });
    assert!(matches!(seen, Ok(View::Int(found)) if found == number as i64), "item {number}: {seen:?}");
}

#[test]
fn faults_are_served_without_an_allocation() {
    let heap = Heap::new(Options {
        budget_bytes: 256 << 20,
        delivery: Some(Delivery::Sigbus),
        stress_bytes: Some(1 << 40),
        ..Options::default()
    })
    .unwrap();
    let items = fill(&heap);
    read(&heap, items, 0);
    let stop = AtomicBool::new(false);
    let allocations = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            read(&heap, items, 0);
            COUNTED.set(Some(0));
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                number = (number + 4 * 7919) % ITEMS;
                read(&heap, items, number);
            }
            COUNTED.take()
        });
        // Stress moves everything that can move, so that every cycle has faults to serve, if the reader runs beside it.
        for _ in 0..1000 {
            heap.collect().unwrap();
            let stats = heap.stats().unwrap();
            if (stats.faults > 100 && stats.moves >= 10) || reader.is_finished() {
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
        reader.join().unwrap()
    });
    let stats = heap.stats().unwrap();
    assert!(stats.faults > 100 && stats.moves >= 10, "{stats:?}");
    assert_eq!(allocations, Some(0), "allocations on a thread that only read and served {} faults", stats.faults);
}
