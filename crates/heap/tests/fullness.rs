//! A full heap: it says so without a collection that cannot help, and never without one that can.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use subduct_heap::object::{Scalar, list, outgoing, tuple};
use subduct_heap::{Delivery, Error, Handle, Heap, Options};

const BUDGET: u64 = 16 << 20;

fn heap(delivery: Delivery) -> (Heap, Handle) {
    let options = Options { budget_bytes: BUDGET, delivery: Some(delivery), verify: true, ..Options::default() };
    let heap = Heap::new(options).unwrap();
    let kept = heap.run(|op| list::new(op, 200_000).and_then(|kept| op.handle_new(kept))).unwrap();
    (heap, kept)
}

/// Adds a tuple of some hundred bytes.
fn push(heap: &Heap, kept: Handle) -> Result<(), Error> {
    heap.run(|op| {
        let item = tuple::new(op, 30).and_then(|item| op.handle_new(item))?;
        let pushed = list::push(op, op.handle_get(kept), &Scalar::Object(item));
        op.handle_pass(item);
        pushed
    })
}

/// Fills the heap until it says twice in a row that it is full; how many items fit.
fn fill(heap: &Heap, kept: Handle) -> usize {
    let mut refused = 0;
    while refused < 2 {
        match push(heap, kept) {
            Ok(()) => refused = 0,
            Err(Error::Full { requested, budget, reserve, .. }) => {
                assert!(requested > 0 && budget == BUDGET && reserve > 0);
                refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    heap.run(|op| list::len(op, op.handle_get(kept))).unwrap()
}

fn cycles(heap: &Heap) -> u64 {
    heap.stats().unwrap().cycles
}

#[test]
fn a_full_heap_says_so_again_and_again_without_a_cycle() {
    for delivery in Delivery::ALL {
        let (heap, kept) = heap(delivery);
        fill(&heap, kept);
        let before = cycles(&heap);
        for _ in 0..100 {
            assert!(matches!(push(&heap, kept), Err(Error::Full { .. })));
            // Reading makes handles, and dropping them releases nothing.
            let item = heap.run(|op| {
                let first = list::get(op, op.handle_get(kept), 0)?.expect("a full heap has items");
                outgoing(op, first)
            });
            let Ok(subduct_heap::object::Outgoing::Container(_, item)) = item else { panic!("{item:?}") };
            heap.drop_handle(item);
        }
        assert_eq!(cycles(&heap), before, "{delivery}");
        let large = vec![0; 4 << 20];
        let too_large = heap.run(|op| list::push(op, op.handle_get(kept), &Scalar::Bytes(&large)));
        assert!(matches!(too_large, Err(Error::Full { .. })));
        heap.verify().unwrap();
    }
}

#[test]
fn fullness_ends_with_what_is_overwritten_removed_or_dropped() {
    type Release = fn(&Heap, Handle);
    let releases: [(&str, Release); 3] = [
        ("overwritten", |heap, kept| {
            for number in 0..5_000 {
                heap.run(|op| list::set(op, op.handle_get(kept), number, &Scalar::None).map(drop)).unwrap();
            }
        }),
        ("removed", |heap, kept| {
            heap.run(|op| list::truncate(op, op.handle_get(kept), 1_000)).unwrap();
        }),
        ("dropped", |heap, kept| heap.drop_handle(kept)),
    ];
    for delivery in Delivery::ALL {
        for (name, release) in releases {
            let (heap, kept) = heap(delivery);
            fill(&heap, kept);
            let other = heap.run(|op| list::new(op, 0).and_then(|other| op.handle_new(other)));
            release(&heap, kept);
            let other = match other {
                Ok(other) => other,
                Err(Error::Full { .. }) => {
                    heap.run(|op| list::new(op, 0).and_then(|other| op.handle_new(other))).unwrap()
                }
                Err(error) => panic!("{error}"),
            };
            for _ in 0..1_000 {
                push(&heap, other).unwrap_or_else(|error| panic!("{name}, {delivery}: {error}"));
            }
            heap.verify().unwrap();
        }
    }
}

#[test]
fn garbage_of_failed_attempts_is_found_again() {
    let (heap, kept) = heap(Delivery::Software);
    fill(&heap, kept);
    heap.run(|op| list::truncate(op, op.handle_get(kept), 10_000)).unwrap();
    heap.collect().unwrap();
    // Attempts that use up what is free and fail.
    let fails = |heap: &Heap| {
        heap.run(|op| {
            for _ in 0..100_000 {
                tuple::new(op, 200)?;
            }
            Ok(())
        })
    };
    for _ in 0..3 {
        assert!(matches!(fails(&heap), Err(Error::Full { .. })));
        for _ in 0..500 {
            push(&heap, kept).unwrap();
        }
    }
    heap.verify().unwrap();
}

#[test]
fn the_estimate_of_what_is_alive_lies_between_nothing_and_the_most() {
    let (heap, kept) = heap(Delivery::Software);
    for _ in 0..10_000 {
        push(&heap, kept).unwrap();
    }
    let stats = heap.stats().unwrap();
    assert!(stats.live_estimate_bytes <= stats.live_bytes_max, "{stats:?}");
    assert!(stats.live_bytes_max >= 10_000 * 31 * 8, "{stats:?}");
    heap.collect().unwrap();
    let stats = heap.stats().unwrap();
    assert!(stats.live_bytes_max >= stats.live_bytes && stats.live_estimate_bytes >= stats.live_bytes, "{stats:?}");
}

/// Adds a list of strings of some kilobytes, in one step.
fn push_strings(heap: &Heap, kept: Handle, lengths: &[usize]) -> Result<(), Error> {
    heap.run(|op| {
        let strings = list::new(op, lengths.len()).and_then(|strings| op.handle_new(strings))?;
        let mut pushed = Ok(());
        for length in lengths {
            let text = "y".repeat(*length);
            pushed = pushed.and_then(|()| list::push(op, op.handle_get(strings), &Scalar::Str(text.as_bytes())));
        }
        let pushed = pushed.and_then(|()| list::push(op, op.handle_get(kept), &Scalar::Object(strings)));
        op.handle_pass(strings);
        pushed
    })
}

/// Adds bytes.
fn push_bytes(heap: &Heap, kept: Handle, length: usize) -> Result<(), Error> {
    let bytes = vec![b'y'; length];
    heap.run(|op| list::push(op, op.handle_get(kept), &Scalar::Bytes(&bytes)))
}

/// However little it is that moving objects gives back: it is not refused to those who need no more.
#[test]
fn a_heap_is_packed_for_a_few_pages() {
    for delivery in Delivery::ALL {
        let (heap, kept) = heap(delivery);
        let mut refused = 0;
        while refused < 2 {
            refused = if push_bytes(&heap, kept, 1000).is_ok() { 0 } else { refused + 1 };
        }
        for round in 0..3 {
            heap.run(|op| {
                let first = 1000 + 500 * round;
                (first..first + 9).try_for_each(|i| list::set(op, op.handle_get(kept), i, &Scalar::None).map(drop))
            })
            .unwrap();
            push_bytes(&heap, kept, 5000).unwrap_or_else(|error| panic!("{delivery}, {round}: {error}"));
            assert!(matches!(push_bytes(&heap, kept, 60_000), Err(Error::Full { .. })));
        }
        heap.verify().unwrap();
    }
}

/// A mark that found regions too dense to be evacuated leaves nothing to be found, but something to be moved.
#[test]
fn a_heap_is_packed_although_nothing_was_released_since_the_last_mark() {
    for delivery in Delivery::ALL {
        let (heap, kept) = heap(delivery);
        let mut stored = 0;
        while push_bytes(&heap, kept, 1000).is_ok() {
            stored += 1;
        }
        for number in (0..stored).step_by(30) {
            heap.run(|op| list::set(op, op.handle_get(kept), number, &Scalar::None).map(drop)).unwrap();
        }
        heap.collect().unwrap();
        for number in 0..200 {
            push_bytes(&heap, kept, 1000).unwrap_or_else(|error| panic!("{delivery}, {number}: {error}"));
        }
        heap.verify().unwrap();
    }
}

/// Makes a list of so many items in one step, or bytes.
fn push_any(heap: &Heap, kept: Handle, is_list: bool, bytes: usize) -> Result<(), Error> {
    if !is_list {
        return push_bytes(heap, kept, bytes);
    }
    heap.run(|op| {
        let item = list::new(op, bytes / 8).and_then(|item| op.handle_new(item))?;
        let pushed = list::push(op, op.handle_get(kept), &Scalar::Object(item));
        op.handle_pass(item);
        pushed
    })
}

/// `[inv.full.again]`
#[test]
fn what_a_full_heap_refused_it_refuses_after_a_collection() {
    const SIZES: [usize; 5] = [8, 1000, 9000, 70_000, 300_000];
    for (seed, delivery) in (0..4).zip(Delivery::ALL) {
        let mut rng = StdRng::seed_from_u64(seed);
        let (heap, kept) = heap(delivery);
        let mut refused = 0;
        while refused < 4 {
            let (is_list, bytes) = (rng.random(), SIZES[rng.random_range(0..SIZES.len())]);
            if push_any(&heap, kept, is_list, bytes).is_ok() {
                continue;
            }
            refused += 1;
            heap.collect().unwrap();
            let again = push_any(&heap, kept, is_list, bytes);
            assert!(
                matches!(again, Err(Error::Full { .. })),
                "{seed}, {delivery}, {refused}: {is_list} {bytes} {again:?}"
            );
            let number = rng.random_range(0..heap.run(|op| list::len(op, op.handle_get(kept))).unwrap());
            heap.run(|op| list::set(op, op.handle_get(kept), number, &Scalar::None).map(drop)).unwrap();
        }
        heap.verify().unwrap();
    }
}

/// `[inv.full.again]` Under stress evacuations come again and again, and hold twice what they move meanwhile.
#[test]
fn what_a_full_heap_refused_it_refuses_after_a_collection_however_many_there_were() {
    for (number, stress_bytes) in
        [None, Some(65_536)].into_iter().flat_map(|stress| (0..48).map(move |seed| (seed, stress)))
    {
        let (mut rng, delivery) = (StdRng::seed_from_u64(number), Delivery::ALL[number as usize % Delivery::ALL.len()]);
        let options = Options { budget_bytes: 8 << 20, delivery: Some(delivery), stress_bytes, ..Options::default() };
        let heap = Heap::new(options).unwrap();
        let kept = heap.run(|op| list::new(op, 0).and_then(|kept| op.handle_new(kept))).unwrap();
        let mut lengths = [0; 20];
        let mut pushed = Ok(());
        while pushed.is_ok() {
            lengths.fill_with(|| rng.random_range(0..3000));
            pushed = push_strings(&heap, kept, &lengths);
        }
        assert!(matches!(pushed, Err(Error::Full { .. })), "{pushed:?}");
        heap.collect().unwrap();
        let again = push_strings(&heap, kept, &lengths);
        assert!(
            matches!(again, Err(Error::Full { .. })),
            "seed {number}, {delivery}, stress {stress_bytes:?}: {again:?}"
        );
        heap.verify().unwrap();
    }
}
