//! Whole heaps on a simulated scheduler and kernel, seed by seed; what threads read is compared with plain copies.
//!
//! `SUBDUCT_SIM_SEED=N` repeats one seed, `SUBDUCT_SIM_SEEDS=N` says how many random ones to try.

use std::collections::BTreeMap;
use std::env;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use subduct_heap::object::{Key, Outgoing, Scalar, dict, outgoing};
use subduct_heap::simulator::scheduler::{random, simulate};
use subduct_heap::sync::spawn;
use subduct_heap::{Delivery, Error, Fallbacks, Handle, Heap, Options, Recycle};

/// Seeds that every run tries.
const FIXED: std::ops::Range<u64> = 0..40;
/// Random seeds that a run tries unless told otherwise.
const RANDOM: u64 = 20;

/// What one simulation did.
#[derive(Debug, Default)]
struct Done {
    cycles: u64,
    moves: u64,
    faults: u64,
    operations: u64,
    fallbacks: Fallbacks,
    /// Digest of everything that threads read, in order: equal for equal seeds.
    trace: u64,
}

/// One thread: random changes to a dict of its own, each compared with a plain map.
fn live(heap: &Heap, seed: u64, operations: u64, done: &AtomicU64, trace: &AtomicU64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut twin: BTreeMap<i64, String> = BTreeMap::new();
    let records = heap.run(|op| dict::new(op, 0).and_then(|records| op.handle_new(records))).unwrap();
    for _ in 0..operations {
        step(heap, records, &mut random, &mut twin);
        done.fetch_add(1, Ordering::Relaxed);
    }
    for (key, text) in &twin {
        assert_eq!(read(heap, records, *key).as_ref(), Some(text), "key {key} at the end");
    }
    let digest = twin
        .iter()
        .fold(seed, |digest, (key, text)| digest.rotate_left(7) ^ (*key as u64).wrapping_mul(31) ^ text.len() as u64);
    // Mixed in the order in which threads end, which the seed decides, too.
    let _ = trace.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| Some(old.rotate_left(13) ^ digest));
    heap.drop_handle(records);
}

fn step(heap: &Heap, records: Handle, random: &mut StdRng, twin: &mut BTreeMap<i64, String>) {
    let key = random.random_range(0..400);
    match random.random_range(0..20) {
        0..9 => {
            let text = format!("{key}:{}", "x".repeat(random.random_range(0..200)));
            let stored = heap.run(|op| {
                let value = Scalar::Str(text.as_bytes());
                dict::insert(op, op.handle_get(records), &Key::Int(key), &value).map(drop)
            });
            match stored {
                Ok(()) => drop(twin.insert(key, text)),
                // The simulated kernel is out of memory: nothing was changed.
                Err(Error::Kernel(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        9..13 => {
            let removed = heap.run(|op| dict::remove(op, op.handle_get(records), &Key::Int(key)));
            match removed {
                Ok(removed) => assert_eq!(removed.is_some(), twin.remove(&key).is_some(), "key {key}"),
                Err(Error::Kernel(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        13 => heap.forget_one_entry(),
        _ => assert_eq!(read(heap, records, key), twin.get(&key).cloned(), "key {key}"),
    }
}

fn read(heap: &Heap, records: Handle, key: i64) -> Option<String> {
    let read = heap.run(|op| {
        let Some(value) = dict::get(op, op.handle_get(records), &Key::Int(key))? else { return Ok(None) };
        match outgoing(op, value)? {
            Outgoing::Str(text) => Ok(Some(String::from_utf8(text.to_vec()).unwrap())),
            _ => panic!("a text is a string"),
        }
    });
    read.unwrap()
}

fn options(seed: u64) -> Options {
    let deliveries = [Delivery::Sigbus, Delivery::Sigbus, Delivery::Software, Delivery::Pause];
    let recycles = [Recycle::Pool, Recycle::Keep, Recycle::Release];
    Options {
        budget_bytes: 12 << 20,
        delivery: Some(deliveries[(seed % 4) as usize]),
        recycle: recycles[(seed / 4 % 3) as usize],
        verify: (seed / 12).is_multiple_of(2),
        stress_bytes: (seed / 24).is_multiple_of(2).then_some(64 << 10),
        ..Options::default()
    }
}

/// A heap, three threads and some collections.
fn run(seed: u64) -> Done {
    simulate(seed, || {
        let heap = loop {
            // Its first pages may be refused.
            match Heap::new(options(seed)) {
                Ok(heap) => break heap,
                Err(Error::Kernel(_)) => {}
                Err(error) => panic!("{error}"),
            }
        };
        let (done, trace) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let seeds = Mutex::new(Vec::new());
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let seed = random().unwrap();
                seeds.lock().unwrap().push(seed);
                let (heap, done, trace) = (heap.clone(), Arc::clone(&done), Arc::clone(&trace));
                spawn("mutator", move || live(&heap, seed, 250, &done, &trace)).unwrap()
            })
            .collect();
        for _ in 0..10 {
            heap.collect().unwrap();
        }
        threads.into_iter().for_each(subduct_heap::sync::Thread::join);
        let report = heap.verify().unwrap();
        assert!(report.objects >= 3, "{report:?}");
        let stats = heap.stats().unwrap();
        heap.close();
        Done {
            cycles: stats.cycles,
            moves: stats.moves,
            faults: stats.faults,
            operations: done.load(Ordering::Relaxed),
            fallbacks: stats.fallbacks,
            trace: trace.load(Ordering::Relaxed) ^ stats.faults << 40 ^ stats.pages_fixed << 20,
        }
    })
}

#[test]
fn heaps_survive_every_seed() {
    let began = Instant::now();
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seeds: Vec<u64> = match number("SUBDUCT_SIM_SEED") {
        Some(seed) => vec![seed],
        None => {
            let random = rand::random::<u32>();
            FIXED.chain((0..number("SUBDUCT_SIM_SEEDS").unwrap_or(RANDOM)).map(|i| u64::from(random) + i)).collect()
        }
    };
    println!("seeds {} to {}", seeds[0], seeds[seeds.len() - 1]);
    let mut all = Done::default();
    for seed in &seeds {
        let done = run(*seed);
        all.cycles += done.cycles;
        all.moves += done.moves;
        all.faults += done.faults;
        all.operations += done.operations;
        all.fallbacks.flips_in_pause += done.fallbacks.flips_in_pause;
        all.fallbacks.installs_again += done.fallbacks.installs_again;
        all.fallbacks.runs_unregistered += done.fallbacks.runs_unregistered;
        all.fallbacks.descriptors_lost += done.fallbacks.descriptors_lost;
    }
    println!(
        "{} heaps, {:.0} cycles a minute: {all:?}",
        seeds.len(),
        all.cycles as f64 * 60.0 / began.elapsed().as_secs_f64()
    );
    if seeds.len() as u64 > FIXED.end {
        assert!(all.moves > 0 && all.faults > 0, "{all:?}");
        assert!(all.fallbacks.flips_in_pause > 0 && all.fallbacks.installs_again > 0, "{all:?}");
        assert!(all.fallbacks.descriptors_lost > 0, "{all:?}");
    }
}

#[test]
fn a_seed_does_the_same_again() {
    for seed in [0, 2, 24] {
        let (first, second) = (run(seed), run(seed));
        assert_eq!(first.trace, second.trace, "seed {seed}");
        assert_eq!(first.cycles, second.cycles, "seed {seed}");
        assert_eq!(first.operations, second.operations, "seed {seed}");
    }
}
