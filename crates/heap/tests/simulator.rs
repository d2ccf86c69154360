//! Whole heaps on a simulated scheduler and kernel, seed by seed; what threads read is compared with plain copies.
//!
//! `SUBDUCT_SIM_SEED=N` repeats one seed, `SUBDUCT_SIM_SEEDS=N` says how many random ones to try, `SUBDUCT_SIM_FIXED=N` how many of
//! those that are the same in every run.

use std::collections::BTreeMap;
use std::env;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use subduct_heap::object::{Key, Kind, Outgoing, Scalar, Value, dict, list, outgoing};
use subduct_heap::simulator::scheduler::{random, simulate};
use subduct_heap::space::layout::LARGE_BYTES;
use subduct_heap::sync::spawn;
use subduct_heap::{Delivery, Error, Fallbacks, Handle, Heap, Op, Options, Recycle, Retry};

/// Seeds from 0 on that every run tries unless told otherwise.
const FIXED: u64 = 40;
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

/// One thread: random changes to containers of its own, each compared with plain ones.
struct Mutator<'h> {
    heap: &'h Heap,
    /// A dict of texts, some of them in lists of their own.
    records: Handle,
    /// A list with room for what is moved out of the dict: most of its pages refer to nothing, or to one thing.
    shelf: Handle,
    random: StdRng,
    twin: BTreeMap<i64, String>,
    shelved: BTreeMap<usize, String>,
}

/// Keys under which there may be large objects: together a quarter of the budget.
const LARGE_KEYS: i64 = 4;
/// Slots of a shelf: some pages.
const SHELF: usize = 1200;

impl<'h> Mutator<'h> {
    fn new(heap: &'h Heap, seed: u64) -> Self {
        let records = insist(|| heap.run(|op| dict::new(op, 0).and_then(|records| op.handle_new(records))));
        let shelf = insist(|| heap.run(|op| list::new(op, SHELF).and_then(|shelf| op.handle_new(shelf))));
        for _ in 0..SHELF {
            insist(|| heap.run(|op| list::push(op, op.handle_get(shelf), &Scalar::None)));
        }
        Self {
            heap,
            records,
            shelf,
            random: StdRng::seed_from_u64(seed),
            twin: BTreeMap::new(),
            shelved: BTreeMap::new(),
        }
    }

    fn step(&mut self) {
        let key = self.random.random_range(0..400);
        match self.random.random_range(0..24) {
            0..9 => self.store(key),
            9..12 => self.remove(key),
            12..14 => self.shelve(key),
            14..16 => self.take_back(key),
            16 => self.heap.forget_one_entry(),
            _ => assert_eq!(self.read(key), self.twin.get(&key).cloned(), "key {key}"),
        }
    }

    /// Stores a new text, or a new list of one. Under a few keys the texts may be large objects, in regions of their own.
    fn store(&mut self, key: i64) {
        let is_large = self.random.random_bool(0.05);
        let key = if is_large { key % LARGE_KEYS } else { key };
        let length = self.random.random_range(0..200) + if is_large { LARGE_BYTES as usize } else { 0 };
        let text = format!("{key}:{}", "x".repeat(length));
        let nested = self.random.random_bool(0.5);
        let stored = self.heap.run(|op| {
            let value = Scalar::Str(text.as_bytes());
            if !nested {
                return dict::insert(op, op.handle_get(self.records), &Key::Int(key), &value).map(drop);
            }
            let list = list::new(op, 1).and_then(|list| op.handle_new(list))?;
            let filled = list::push(op, op.handle_get(list), &value);
            let stored = filled.and_then(|()| {
                dict::insert(op, op.handle_get(self.records), &Key::Int(key), &Scalar::Object(list)).map(drop)
            });
            op.handle_drop(list);
            stored
        });
        if is_done(stored) {
            self.twin.insert(key, text);
        }
    }

    fn remove(&mut self, key: i64) {
        let mut found = false;
        let removed = self.heap.run(|op| {
            found = dict::remove(op, op.handle_get(self.records), &Key::Int(key))?.is_some();
            Ok(())
        });
        if is_done(removed) {
            assert_eq!(found, self.twin.remove(&key).is_some(), "key {key}");
        }
    }

    /// Moves what is there from the dict to the shelf: a marker that has been at the shelf and not yet at the dict sees it nowhere.
    fn shelve(&mut self, key: i64) {
        let at = self.random.random_range(0..SHELF);
        let Some(held) = self.hold(|op| dict::get(op, op.handle_get(self.records), &Key::Int(key))) else { return };
        let put = self.heap.run(|op| list::set(op, op.handle_get(self.shelf), at, &Scalar::Object(held)).map(drop));
        if is_done(put) {
            self.shelved.insert(at, self.twin[&key].clone());
            self.remove(key);
        }
        self.heap.drop_handle(held);
    }

    /// Moves what is on the shelf, at the first used place from a random one on, back to the dict.
    fn take_back(&mut self, key: i64) {
        let from = self.random.random_range(0..SHELF);
        let Some((&at, _)) = self.shelved.range(from..).next() else { return };
        let Some(held) = self.hold(|op| list::get(op, op.handle_get(self.shelf), at)) else { return };
        let put = self
            .heap
            .run(|op| dict::insert(op, op.handle_get(self.records), &Key::Int(key), &Scalar::Object(held)).map(drop));
        if is_done(put) {
            self.twin.insert(key, self.shelved[&at].clone());
            let cleared = self.heap.run(|op| list::set(op, op.handle_get(self.shelf), at, &Scalar::None).map(drop));
            if is_done(cleared) {
                self.shelved.remove(&at);
            }
        }
        self.heap.drop_handle(held);
    }

    /// A handle for what `find` finds, if it is an object.
    fn hold(&self, find: impl Fn(&mut Op<'_>) -> Result<Option<Value>, Retry>) -> Option<Handle> {
        let held = self.heap.run(|op| match find(op)?.and_then(|value| value.as_ref()) {
            Some(object) => op.handle_new(object).map(Some),
            None => Ok(None),
        });
        match held {
            Ok(held) => held,
            Err(Error::Kernel(_)) => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn read(&self, key: i64) -> Option<String> {
        text(self.heap, |op| dict::get(op, op.handle_get(self.records), &Key::Int(key)))
    }

    fn check(&self) {
        for (key, text) in &self.twin {
            assert_eq!(self.read(*key).as_ref(), Some(text), "key {key} at the end");
        }
        for at in 0..SHELF {
            // Also that nothing is back where something was taken from.
            let found = text(self.heap, |op| {
                let value = list::get(op, op.handle_get(self.shelf), at)?;
                Ok(value.filter(|value| *value != Value::NONE))
            });
            assert_eq!(found.as_ref(), self.shelved.get(&at), "place {at} at the end");
        }
    }

    fn digest(&self, seed: u64) -> u64 {
        self.twin.iter().fold(seed, |digest, (key, text)| {
            digest.rotate_left(7) ^ (*key as u64).wrapping_mul(31) ^ text.len() as u64
        })
    }
}

/// What `make` makes once the simulated kernel has memory for it.
fn insist<T>(make: impl Fn() -> Result<T, Error>) -> T {
    loop {
        match make() {
            Ok(made) => return made,
            Err(Error::Kernel(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Whether a change was made; not where the simulated kernel is out of memory, and then nothing was changed.
fn is_done(changed: Result<(), Error>) -> bool {
    match changed {
        Ok(()) => true,
        Err(Error::Kernel(_)) => false,
        Err(error) => panic!("{error}"),
    }
}

/// The text that `find` finds, by itself or in a list.
fn text(heap: &Heap, find: impl Fn(&mut Op<'_>) -> Result<Option<Value>, Retry>) -> Option<String> {
    let read = heap.run(|op| {
        let Some(mut value) = find(op)? else { return Ok(None) };
        if let Some(list) = value.as_ref().filter(|object| op.header(*object).kind() == Kind::List) {
            value = list::get(op, list, 0)?.expect("a list holds a text");
        }
        match outgoing(op, value)? {
            Outgoing::Str(text) => Ok(Some(String::from_utf8(text.to_vec()).unwrap())),
            _ => panic!("a text is a string"),
        }
    });
    read.unwrap()
}

fn live(heap: &Heap, seed: u64, operations: u64, done: &AtomicU64, trace: &AtomicU64) {
    let mut mutator = Mutator::new(heap, seed);
    for _ in 0..operations {
        mutator.step();
        done.fetch_add(1, Ordering::Relaxed);
    }
    mutator.check();
    let digest = mutator.digest(seed);
    // Mixed in the order in which threads end, which the seed decides, too.
    let _ = trace.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| Some(old.rotate_left(13) ^ digest));
    heap.drop_handle(mutator.records);
    heap.drop_handle(mutator.shelf);
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
        // Its first pages may be refused.
        let heap = insist(|| Heap::new(options(seed)));
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
    let fixed = number("SUBDUCT_SIM_FIXED").unwrap_or(FIXED);
    let seeds: Vec<u64> = match number("SUBDUCT_SIM_SEED") {
        Some(seed) => vec![seed],
        None => {
            let random = rand::random::<u32>();
            (0..fixed)
                .chain((0..number("SUBDUCT_SIM_SEEDS").unwrap_or(RANDOM)).map(|i| u64::from(random) + i))
                .collect()
        }
    };
    let (first, last) = (seeds[0], seeds[seeds.len() - 1]);
    match number("SUBDUCT_SIM_SEED") {
        Some(_) => println!("seed {first}"),
        None => println!("seeds 0 to {fixed}, and at random up to {last}: {} in all", seeds.len()),
    }
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
    if seeds.len() as u64 > fixed && fixed >= FIXED {
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
