//! The budget: what happens at it, and that it is kept in resident bytes of the file.

use subduct_heap::object::{Key, Outgoing, Scalar, dict, list, outgoing};
use subduct_heap::{Delivery, Error, Handle, Heap, Options, Recycle};

fn heap(budget_bytes: u64) -> Heap {
    Heap::new(Options { budget_bytes, verify: true, ..Options::default() }).unwrap()
}

fn new_list(heap: &Heap) -> Handle {
    heap.run(|op| list::new(op, 0).and_then(|list| op.handle_new(list))).unwrap()
}

fn push(heap: &Heap, list: Handle, bytes: &[u8]) -> Result<(), Error> {
    heap.run(|op| list::push(op, op.handle_get(list), &Scalar::Bytes(bytes)))
}

#[test]
fn an_operation_may_need_several_large_objects_at_once() {
    let heap = heap(512 << 20);
    let entries = 200_000;
    let original = heap.run(|op| dict::new(op, 0).and_then(|dict| op.handle_new(dict))).unwrap();
    for number in 0..entries {
        heap.run(|op| dict::insert(op, op.handle_get(original), &Key::Int(number), &Scalar::Int(-number)).map(drop))
            .unwrap();
    }
    let copy = heap.run(|op| dict::copy(op, op.handle_get(original)).and_then(|copy| op.handle_new(copy))).unwrap();
    let last = heap.run(|op| {
        let value = dict::get(op, op.handle_get(copy), &Key::Int(entries - 1))?;
        outgoing(op, value.expect("copied"))
    });
    assert!(matches!(last, Ok(Outgoing::Int(value)) if value == 1 - entries));
    heap.collect().unwrap();
    let stats = heap.stats().unwrap();
    assert!(stats.resident_bytes < stats.live_bytes + (8 << 20), "reservations came back: {stats:?}");
}

/// Each attempt that fails leaves garbage: it must get further than the one before, or none would be the last.
#[test]
fn an_operation_that_needs_much_at_once_ends() {
    for (budget, bytes, count, fits) in [
        // Large objects of one size.
        (64 << 20, 300_000, 10, true),
        (8 << 20, 300_000, 40, false),
        // Small ones, which fail one after the other.
        (64 << 20, 200_000, 30, true),
        (8 << 20, 200_000, 60, false),
        // Both.
        (8 << 20, 262_100, 5, true),
    ] {
        let heap = heap(budget);
        let kept = new_list(&heap);
        push(&heap, kept, b"kept").unwrap();
        let text = vec![b'x'; bytes];
        let items = vec![Scalar::Bytes(&text); count];
        for _ in 0..3 {
            let spliced = heap.run(|op| list::splice(op, op.handle_get(kept), 1, count, &items));
            let len = heap.run(|op| list::len(op, op.handle_get(kept))).unwrap();
            match spliced {
                Ok(()) => assert!(fits && len == 1 + count, "{bytes} x {count}: {len}"),
                Err(Error::Full { .. }) => assert!(!fits && len == 1, "{bytes} x {count}: {len}"),
                Err(error) => panic!("{error}"),
            }
        }
        heap.collect().unwrap();
        let stats = heap.stats().unwrap();
        assert!(stats.resident_bytes <= budget, "{stats:?}");
    }
}

#[test]
fn a_full_heap_has_no_handles_either() {
    let heap = heap(8 << 20);
    let mut made = 0;
    let full = loop {
        match heap.run(|op| op.handle_new(op.handle_get(heap.root()))) {
            Ok(_) => made += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, Error::Full { .. }), "{full}");
    assert!(made > 400_000, "{made}");
    heap.verify().unwrap();
}

/// Operations that let the collector in, and a heap that is closed meanwhile: they end before it does, or are told.
#[test]
fn a_heap_is_closed_while_a_long_operation_polls() {
    for _ in 0..20 {
        let heap = heap(64 << 20);
        let long = new_list(&heap);
        let zeroes = vec![Scalar::Int(0); 100_000];
        heap.run(|op| list::splice(op, op.handle_get(long), 0, 0, &zeroes)).unwrap();
        let begun = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            let copying = scope.spawn(|| {
                begun.wait();
                loop {
                    if let Err(error) = heap.run(|op| list::reverse(op, op.handle_get(long))) {
                        return error;
                    }
                }
            });
            begun.wait();
            heap.close();
            assert!(matches!(copying.join().unwrap(), Error::Closed { .. }));
        });
    }
}

#[test]
fn a_full_heap_says_so_loses_nothing_and_goes_on() {
    let budget = 24 << 20;
    let heap = heap(budget);
    let items = new_list(&heap);
    let mut pushed: u32 = 0;
    let full = loop {
        match push(&heap, items, format!("item {pushed:>1000}").as_bytes()) {
            Ok(()) => pushed += 1,
            Err(error) => break error,
        }
        assert!(heap.stats().unwrap().resident_bytes <= budget);
    };
    let Error::Full { live, resident, budget: limit, .. } = full else { panic!("{full}") };
    assert!(limit == budget && resident <= budget && live <= resident, "{full:?}");
    assert!(live > budget / 2, "most of the budget was usable: {full:?}");
    assert_eq!(heap.run(|op| list::len(op, op.handle_get(items))).unwrap(), pushed as usize);
    for number in 0..pushed as usize {
        let item = heap.run(|op| {
            let value = list::get(op, op.handle_get(items), number)?;
            outgoing(op, value.expect("still there"))
        });
        let Ok(Outgoing::Bytes(bytes)) = item else { panic!("item {number}: {item:?}") };
        assert_eq!(bytes.as_slice(), format!("item {number:>1000}").as_bytes());
    }
    heap.run(|op| list::truncate(op, op.handle_get(items), 10)).unwrap();
    push(&heap, items, &[7; 100_000]).unwrap();
    assert_eq!(heap.run(|op| list::len(op, op.handle_get(items))).unwrap(), 11);
}

#[test]
fn who_waits_for_a_cycle_stalls_and_who_only_takes_what_is_free_does_not() {
    let heap = heap(32 << 20);
    let kept = new_list(&heap);
    let large = vec![b'x'; 1 << 20];
    (0..8).for_each(|_| push(&heap, kept, &large).unwrap());
    let stats = heap.stats().unwrap();
    assert_eq!((stats.stalls, stats.longest_stall_us), (0, 0.0));
    while push(&heap, kept, &large).is_ok() {}
    let stats = heap.stats().unwrap();
    assert!(stats.stalls > 0 && stats.longest_stall_us > 0.0, "{stats:?}");
}

/// They take whole regions of addresses, of which there are more than the budget could fill.
#[test]
fn large_objects_fill_the_budget_whatever_their_size() {
    let budget = 600 << 20;
    let heap = Heap::new(Options { budget_bytes: budget, ..Options::default() }).unwrap();
    let (items, bytes) = (new_list(&heap), vec![b'x'; 300_000]);
    let full = loop {
        if let Err(error) = push(&heap, items, &bytes) {
            break error;
        }
    };
    let Error::Full { live, .. } = full else { panic!("{full}") };
    assert!(live > budget / 10 * 9 - (64 << 20), "{full:?}");
}

#[test]
fn memory_is_given_back_after_most_of_it_died() {
    for (delivery, recycle) in [(Delivery::Sigbus, Recycle::Pool), (Delivery::Pause, Recycle::Release)] {
        let options = Options { budget_bytes: 256 << 20, delivery: Some(delivery), recycle, ..Options::default() };
        let heap = Heap::new(options).unwrap();
        let items = new_list(&heap);
        for number in 0..300_000 {
            push(&heap, items, format!("a value that takes some room {number}").as_bytes()).unwrap();
        }
        for number in (0..300_000).filter(|number| number % 10 != 0) {
            heap.run(|op| list::set(op, op.handle_get(items), number, &Scalar::None)).unwrap();
        }
        let report = heap.collect().unwrap();
        assert!(report.resident_bytes <= report.live_bytes * 11 / 10 + (4 << 20), "{report:?}");
        assert!(report.bytes_evacuated > 0 && report.delivery == delivery, "{report:?}");
    }
}

/// When the heap is full, a cycle can only move as much as the reserve holds; several in a row do the rest.
#[test]
fn a_full_heap_can_compact() {
    for budget in [16 << 20, 24 << 20, 48 << 20] {
        let heap = heap(budget);
        let items = new_list(&heap);
        let mut pushed = 0;
        while push(&heap, items, format!("{pushed:>500}").as_bytes()).is_ok() {
            pushed += 1;
        }
        for number in (0..pushed).filter(|number| number % 3 != 0) {
            heap.run(|op| list::set(op, op.handle_get(items), number, &Scalar::None)).unwrap();
        }
        let report = heap.collect().unwrap();
        assert!(report.resident_bytes <= report.live_bytes * 11 / 10 + (4 << 20), "budget {budget}: {report:?}");
        assert!(report.resident_bytes < budget * 2 / 3, "budget {budget}: {report:?}");
        while push(&heap, items, format!("{pushed:>500}").as_bytes()).is_ok() {
            pushed += 1;
        }
        assert_eq!(heap.run(|op| list::len(op, op.handle_get(items))).unwrap(), pushed);
    }
}

#[test]
fn what_is_larger_than_an_object_can_be_is_refused() {
    let heap = heap(64 << 20);
    let huge = heap.run(|op| list::new(op, 1 << 28));
    assert!(matches!(huge, Err(Error::TooLarge)), "{huge:?}");
    let large = heap.run(|op| list::new(op, 1 << 27));
    assert!(matches!(large, Err(Error::Full { .. })), "{large:?}");
}

#[test]
fn a_budget_out_of_range_is_refused() {
    for budget_bytes in [0, 4 << 20, 1 << 60] {
        let refused = Heap::new(Options { budget_bytes, ..Options::default() });
        assert!(matches!(refused, Err(Error::BadOption(_))));
    }
}
