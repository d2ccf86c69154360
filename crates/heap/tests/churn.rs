//! Threads change a heap while it is collected all the time; what they read is compared with plain copies.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use subduct_heap::object::{Key, Kind, Outgoing, Scalar, Value, View, dict, list, outgoing, tuple};
use subduct_heap::{Delivery, Handle, Heap, Op, Options, Recycle, Retry};

/// Ends the threads of a test, also when the test itself fails.
struct Stop<'s>(&'s AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A record as a thread remembers it: a number, a string, and the numbers of the records it links to.
#[derive(Clone, Debug, PartialEq)]
struct Record {
    number: i64,
    text: String,
    links: Vec<i64>,
}

fn options(delivery: Delivery) -> Options {
    Options { budget_bytes: 96 << 20, delivery: Some(delivery), verify: true, ..Options::default() }
}

/// Stores a record under its number in the dict `records`, linked to others that are there.
fn store(heap: &Heap, records: Handle, record: &Record) {
    heap.run(|op| {
        let node = dict::new(op, 3)?;
        let node = op.handle_new(node)?;
        let result = fill(op, records, node, record);
        op.handle_drop(node);
        result
    })
    .unwrap();
}

fn fill(op: &mut Op<'_>, records: Handle, node: Handle, record: &Record) -> Result<(), Retry> {
    let links = list::new(op, record.links.len())?;
    let links = op.handle_new(links)?;
    let mut result = Ok(());
    for link in &record.links {
        let to = dict::get(op, op.handle_get(records), &Key::Int(*link))?.and_then(|value| value.as_ref());
        let to = op.handle_new(to.expect("a link leads to a record"))?;
        result = list::push(op, op.handle_get(links), &Scalar::Object(to));
        op.handle_drop(to);
        if result.is_err() {
            break;
        }
    }
    let mut set =
        |key: &[u8], value: &Scalar<'_>| dict::insert(op, op.handle_get(node), &Key::Str(key), value).map(drop);
    let result = result
        .and_then(|()| set(b"number", &Scalar::Int(record.number)))
        .and_then(|()| set(b"some text", &Scalar::Str(record.text.as_bytes())))
        .and_then(|()| set(b"links", &Scalar::Object(links)));
    op.handle_drop(links);
    result?;
    dict::insert(op, op.handle_get(records), &Key::Int(record.number), &Scalar::Object(node)).map(drop)
}

/// Reads a record back through the heap, links by following them.
fn read(heap: &Heap, records: Handle, number: i64) -> Option<Record> {
    heap.run(|op| {
        let Some(node) = dict::get(op, op.handle_get(records), &Key::Int(number))? else { return Ok(None) };
        let node = node.as_ref().unwrap();
        let links = dict::get(op, node, &Key::Str(b"links"))?.unwrap().as_ref().unwrap();
        let mut numbers = Vec::new();
        for i in 0..list::len(op, links)? {
            let target = list::get(op, links, i)?.unwrap().as_ref().unwrap();
            let number = dict::get(op, target, &Key::Str(b"number"))?.unwrap();
            match outgoing(op, number)? {
                Outgoing::Int(number) => numbers.push(number),
                _ => panic!("a number is an int"),
            }
        }
        let text = dict::get(op, node, &Key::Str(b"some text"))?.unwrap();
        let Outgoing::Str(text) = outgoing(op, text)? else { panic!("a text is a string") };
        Ok(Some(Record { number, text: String::from_utf8(text.to_vec()).unwrap(), links: numbers }))
    })
    .unwrap()
}

/// One thread's life: random stores, deletions and reads in a dict of its own.
fn live(heap: &Heap, seed: u64, stop: &AtomicBool) -> u64 {
    let mut random = StdRng::seed_from_u64(seed);
    let records = heap.run(|op| dict::new(op, 0).and_then(|records| op.handle_new(records))).unwrap();
    let mut twin: BTreeMap<i64, Record> = BTreeMap::new();
    let mut operations = 0;
    while !stop.load(Ordering::Relaxed) {
        let number = random.random_range(0..4000);
        match random.random_range(0..10) {
            0..4 => {
                // Even records link to odd ones, odd ones to none: old versions must not keep older ones alive.
                let others: Vec<i64> = if number % 2 == 0 {
                    twin.range(random.random_range(0..4000)..)
                        .map(|(key, _)| *key)
                        .filter(|key| key % 2 == 1)
                        .take(3)
                        .collect()
                } else {
                    Vec::new()
                };
                let text = "x".repeat(random.random_range(0..120));
                let record = Record { number, text: format!("{number}:{text}"), links: others };
                store(heap, records, &record);
                twin.insert(number, record);
            }
            4..6 => {
                let removed = heap.run(|op| dict::remove(op, op.handle_get(records), &Key::Int(number))).unwrap();
                assert_eq!(removed.is_some(), twin.remove(&number).is_some(), "seed {seed}");
            }
            _ => assert_eq!(read(heap, records, number), twin.get(&number).cloned(), "seed {seed}, record {number}"),
        }
        operations += 1;
    }
    for number in 0..4000 {
        assert_eq!(read(heap, records, number), twin.get(&number).cloned(), "seed {seed}, record {number} at the end");
    }
    heap.drop_handle(records);
    operations
}

/// Whether a heap has done all that a churn is about.
fn has_done_all(heap: &Heap) -> bool {
    let stats = heap.stats().unwrap();
    let by_pages = stats.delivery == Delivery::Pause || (stats.faults > 0 && stats.worker_pages > 0);
    stats.moves > 0 && stats.pages_fixed > 0 && stats.pages_built > 0 && by_pages
}

/// At least so many cycles, and until all was done that this is about: on a busy machine threads may get little of it.
fn churn(options: Options, cycles: u64) {
    let verify = options.verify;
    let heap = Heap::new(options).unwrap();
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stopping = Stop(&stop);
        let threads: Vec<_> = (0..3)
            .map(|i| {
                scope.spawn({
                    let (heap, stop) = (&heap, &stop);
                    move || live(heap, seed ^ i, stop)
                })
            })
            .collect();
        for cycle in 0.. {
            if cycle >= cycles && has_done_all(&heap) {
                break;
            }
            assert!(cycle < 100 * cycles, "seed {seed}: {:?}", heap.stats());
            let report = heap.collect().unwrap();
            assert!(report.verified == verify && report.fallback.is_none(), "{report:?}");
            assert!(!threads.iter().any(std::thread::ScopedJoinHandle::is_finished), "seed {seed}: a thread failed");
        }
        drop(stopping);
        assert!(threads.into_iter().map(|thread| thread.join().unwrap()).sum::<u64>() > 0);
    });
    let stats = heap.stats().unwrap();
    let fallbacks = stats.fallbacks;
    assert_eq!(fallbacks.flips_in_pause + fallbacks.runs_unregistered + fallbacks.descriptors_lost, 0, "{stats:?}");
    println!("{stats:?}");
    let after = heap.collect().unwrap();
    let empty = heap.verify().unwrap();
    assert_eq!(after.live_objects, empty.objects, "marker and second tracer agree on a quiet heap");
    assert_eq!(after.live_bytes, empty.bytes);
}

#[test]
fn threads_and_cycles_with_sigbus() {
    churn(options(Delivery::Sigbus), 60);
}

/// Freed regions stay mapped, so destinations are regions whose pages the view can still reach.
#[test]
fn threads_and_cycles_with_recycled_destinations() {
    churn(Options { recycle: Recycle::Keep, ..options(Delivery::Sigbus) }, 60);
    churn(Options { recycle: Recycle::Keep, verify: false, ..options(Delivery::Sigbus) }, 120);
}

#[test]
fn threads_and_cycles_with_thread() {
    churn(options(Delivery::Thread), 60);
    churn(Options { recycle: Recycle::Keep, verify: false, ..options(Delivery::Thread) }, 60);
}

#[test]
fn threads_and_cycles_with_software() {
    churn(options(Delivery::Software), 60);
    churn(Options { recycle: Recycle::Keep, verify: false, ..options(Delivery::Software) }, 120);
}

#[test]
fn threads_and_cycles_with_pause() {
    churn(options(Delivery::Pause), 60);
}

#[test]
fn threads_and_cycles_under_stress() {
    for delivery in Delivery::ALL {
        churn(Options { stress_bytes: Some(1 << 20), ..options(delivery) }, 30);
    }
}

/// Lists that grow past the size of a large object again and again: regions are reserved at any moment of a cycle.
#[test]
fn large_objects_are_made_at_any_moment() {
    for delivery in Delivery::ALL {
        make_large_objects(delivery);
    }
}

fn make_large_objects(delivery: Delivery) {
    let heap = Heap::new(options(delivery)).unwrap();
    let (stop, grown) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let stopping = Stop(&stop);
        let (heap, stop, grown) = (&heap, &stop, &grown);
        let growing = move |number: i64| {
            while !stop.load(Ordering::Relaxed) {
                let items = heap.run(|op| list::new(op, 0).and_then(|list| op.handle_new(list))).unwrap();
                for i in 0..60_000 {
                    heap.run(|op| list::push(op, op.handle_get(items), &Scalar::Int(number + i))).unwrap();
                }
                for i in (0..60_000).step_by(997) {
                    let value = heap.run(|op| list::get(op, op.handle_get(items), i as usize)).unwrap();
                    assert_eq!(value.map(|value| value.view()), Some(View::Int(number + i)));
                }
                heap.drop_handle(items);
                grown.fetch_add(1, Ordering::Relaxed);
            }
        };
        let threads = [scope.spawn(move || growing(0)), scope.spawn(move || growing(1 << 40))];
        let mut cycles = 0;
        // On a machine that is busy otherwise, the threads get little of it.
        while cycles < 50 || grown.load(Ordering::Relaxed) < 10 {
            heap.collect().unwrap();
            cycles += 1;
            assert!(!threads.iter().any(std::thread::ScopedJoinHandle::is_finished), "{delivery:?}: a thread failed");
        }
        drop(stopping);
    });
    heap.verify().unwrap();
}

#[test]
fn a_heap_can_be_verified_at_any_time() {
    for delivery in Delivery::ALL {
        verify_all_the_time(delivery);
    }
}

fn verify_all_the_time(delivery: Delivery) {
    let heap = Heap::new(options(delivery)).unwrap();
    let stop = AtomicBool::new(false);
    let cycles = std::thread::scope(|scope| {
        let stopping = Stop(&stop);
        let living = scope.spawn(|| live(&heap, 1, &stop));
        let collecting = scope.spawn(|| {
            let mut moved = 0;
            while !stop.load(Ordering::Relaxed) {
                moved += u64::from(heap.collect().unwrap().bytes_evacuated > 0);
            }
            moved
        });
        for _ in 0..60 {
            let report = heap.verify().unwrap();
            assert!(report.objects >= 3, "root and caches: {report:?}");
        }
        while heap.stats().unwrap().moves == 0 {
            heap.verify().unwrap();
        }
        drop(stopping);
        assert!(living.join().unwrap() > 0);
        collecting.join().unwrap()
    });
    assert!(cycles > 0);
}

#[test]
fn a_large_list_stays_where_it_is_and_its_items_are_fixed() {
    for delivery in Delivery::ALL {
        fix_a_large_list(delivery);
    }
}

fn fix_a_large_list(delivery: Delivery) {
    let heap = Heap::new(options(delivery)).unwrap();
    let items = heap.run(|op| list::new(op, 0).and_then(|list| op.handle_new(list))).unwrap();
    for number in 0..100_000 {
        // Most of the strings die, so that those which live are moved.
        let text = format!("string number {number}");
        heap.run(|op| list::push(op, op.handle_get(items), &Scalar::Str(text.as_bytes()))).unwrap();
        if number % 10 != 0 {
            heap.run(|op| list::set(op, op.handle_get(items), number, &Scalar::Int(number as i64)).map(drop)).unwrap();
        }
    }
    let report = heap.collect().unwrap();
    assert!(report.bytes_evacuated > 0 && report.verified, "{report:?}");
    for number in (0..100_000).step_by(10) {
        let text = heap.run(|op| {
            let value = list::get(op, op.handle_get(items), number)?;
            outgoing(op, value.unwrap())
        });
        let text = text.unwrap();
        let Outgoing::Str(text) = text else { panic!("item {number} is no string") };
        assert_eq!(text.as_slice(), format!("string number {number}").as_bytes());
    }
}

#[test]
fn handles_keep_objects_alive_and_nothing_else_does() {
    let heap = Heap::new(options(Delivery::Sigbus)).unwrap();
    let before = heap.collect().unwrap().live_objects;
    let kept = heap.run(|op| list::new(op, 10).and_then(|list| op.handle_new(list))).unwrap();
    let with = heap.collect().unwrap().live_objects;
    assert_eq!(with, before + 2, "a list and its items");
    assert_eq!(heap.run(|op| Ok(op.header(op.handle_get(kept)).kind())).unwrap(), Kind::List);
    heap.drop_handle(kept);
    assert_eq!(heap.collect().unwrap().live_objects, before);
}

/// Pages that hold nothing but numbers, and a few objects that wander over them from slot to slot, all the time and faster
/// than the collector plans: none of them is where it was when the marker looked.
#[test]
fn references_are_fixed_in_pages_that_had_none_when_they_were_marked() {
    for delivery in Delivery::ALL {
        wander(delivery);
    }
}

const PAGES: usize = 300;
const WANDERERS: usize = 8;

fn wander(delivery: Delivery) {
    // Everything that can move does, in every cycle.
    let heap = Heap::new(Options { stress_bytes: Some(1 << 40), ..options(delivery) }).unwrap();
    let page_slots = subduct_kernel::page_size() / 8;
    let new_tuple = |slots| heap.run(|op| tuple::new(op, slots).and_then(|tuple| op.handle_new(tuple))).unwrap();
    let pages: Vec<Handle> = (0..PAGES).map(|_| new_tuple(page_slots)).collect();
    for number in 0..WANDERERS {
        heap.run(|op| {
            let object = tuple::new(op, 1)?;
            op.store(object, 0, Value::small_int(number as i64).unwrap());
            op.store(op.handle_get(pages[0]), number, Value::reference(object));
            Ok(())
        })
        .unwrap();
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stopping = Stop(&stop);
        let wandering = scope.spawn(|| wander_over(&heap, &pages, &stop));
        for _ in 0..20 {
            let report = heap.collect().unwrap();
            assert!(report.verified && report.bytes_evacuated > 0, "{report:?}");
        }
        drop(stopping);
        wandering.join().unwrap();
    });
    heap.verify().unwrap();
}

/// Has the wanderers, which are in the first page, walk over all of them until it is time to stop; returns where they are.
fn wander_over(heap: &Heap, pages: &[Handle], stop: &AtomicBool) -> usize {
    let mut at = 0;
    while !stop.load(Ordering::Relaxed) {
        let next = (at + 1) % pages.len();
        heap.run(|op| {
            let (from, to) = (op.handle_get(pages[at]), op.handle_get(pages[next]));
            for number in 0..WANDERERS {
                let value = op.load(from, number);
                let found = op.load(value.as_ref().expect("a wanderer"), 0);
                assert!(found == Value::small_int(number as i64).unwrap(), "wanderer {number}");
                op.store(to, number, value);
                op.store(from, number, Value::NONE);
            }
            Ok(())
        })
        .unwrap();
        at = next;
    }
    at
}

/// The same where only the wanderers move: the pages stay, and what a marker noted of them says that they need no look.
#[test]
fn references_are_fixed_in_pages_that_stay_and_had_none_when_they_were_marked() {
    let heap = with_records(128 << 20);
    let new_tuple = |slots| heap.run(|op| tuple::new(op, slots).and_then(|tuple| op.handle_new(tuple))).unwrap();
    let pages: Vec<Handle> = (0..PAGES).map(|_| new_tuple(subduct_kernel::page_size() / 8)).collect();
    // Their regions are full of what lives.
    let _kept: Vec<Handle> = (0..2 * PAGES).map(|_| new_tuple(subduct_kernel::page_size() / 8)).collect();
    let mut at = 0;
    for _ in 0..10 {
        for number in 0..WANDERERS {
            // Among what is garbage.
            (0..500).for_each(|_| heap.drop_handle(new_tuple(60)));
            heap.run(|op| {
                let object = tuple::new(op, 1)?;
                op.store(object, 0, Value::small_int(number as i64).unwrap());
                op.store(op.handle_get(pages[at]), number, Value::NONE);
                op.store(op.handle_get(pages[0]), number, Value::reference(object));
                Ok(())
            })
            .unwrap();
        }
        let stop = AtomicBool::new(false);
        at = std::thread::scope(|scope| {
            let stopping = Stop(&stop);
            let wandering = scope.spawn(|| wander_over(&heap, &pages, &stop));
            assert!(heap.collect().unwrap().bytes_evacuated > 0);
            drop(stopping);
            wandering.join().unwrap()
        });
        heap.verify().unwrap();
    }
}

/// A heap with 300,000 tuples in a list.
fn with_records(budget_bytes: u64) -> Heap {
    let heap = Heap::new(Options { budget_bytes, ..Options::default() }).unwrap();
    let records = heap.run(|op| list::new(op, 0).and_then(|list| op.handle_new(list))).unwrap();
    for _ in 0..300_000 {
        let record = heap.run(new_tuple).unwrap();
        heap.run(|op| list::push(op, op.handle_get(records), &Scalar::Object(record))).unwrap();
        heap.drop_handle(record);
    }
    heap
}

fn new_tuple(op: &mut Op<'_>) -> Result<Handle, Retry> {
    tuple::new(op, 7).and_then(|tuple| op.handle_new(tuple))
}

/// So that nobody waits for a cycle to end, where memory is scarce.
#[test]
fn mutators_that_allocate_faster_than_the_collector_marks_are_held_back() {
    let heap = with_records(64 << 20);
    let held_back = || heap.stats().unwrap().held_back_ms > 0.0;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stopping = Stop(&stop);
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let garbage = heap.run(new_tuple).unwrap();
                    heap.drop_handle(garbage);
                }
            });
        }
        let allocated_before = heap.stats().unwrap().allocated_bytes;
        while !held_back() {
            std::thread::sleep(std::time::Duration::from_millis(1));
            assert!(heap.stats().unwrap().allocated_bytes < allocated_before + (64 << 30), "{:?}", heap.stats());
        }
    });
    heap.verify().unwrap();
}

/// In cycles that nobody asked for; who waits for a collection is not kept waiting.
#[test]
fn marking_rests_where_processors_are_short() {
    let heap = with_records(512 << 20);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stopping = Stop(&stop);
        for _ in 0..2 * std::thread::available_parallelism().unwrap().get() {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        assert_eq!(heap.collect().unwrap().rest_ms, 0.0);
        while heap.stats().unwrap().rest_ms == 0.0 {
            let garbage = heap.run(new_tuple).unwrap();
            heap.drop_handle(garbage);
            assert!(heap.stats().unwrap().cycles < 50, "{:?}", heap.stats());
        }
    });
}
