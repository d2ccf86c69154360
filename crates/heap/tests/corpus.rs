//! The fuzzer's kept inputs, each done again; how to make more of them is in CONTRIBUTING.md.
//!
//! `SUBDUCT_FUZZ_INPUT=FILE` does one input instead, and `SUBDUCT_FUZZ_TRACE=1` prints the steps.

mod containers;

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use containers::{check, program};
use subduct_heap::Delivery;
use subduct_heap::object::{Scalar, list};

/// The kept inputs, or the one that is asked for.
fn inputs() -> Vec<PathBuf> {
    if let Some(path) = std::env::var_os("SUBDUCT_FUZZ_INPUT") {
        return vec![path.into()];
    }
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/containers");
    let files = fs::read_dir(&corpus).unwrap_or_else(|error| panic!("{}: {error}", corpus.display()));
    let mut inputs: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    inputs.sort();
    inputs
}

/// Threads that share the inputs out among them. A program has threads of its own heap besides.
const THREADS: usize = 2;

#[test]
fn kept_inputs_do_what_the_oracle_does() {
    let inputs = inputs();
    let next = AtomicUsize::new(0);
    let mine = || {
        let (mut moves, mut refused) = (0, 0);
        while let Some(input) = inputs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let (moved, full) = run(input);
            moves += moved;
            refused += full;
        }
        (moves, refused)
    };
    let (moves, refused) = std::thread::scope(|scope| {
        let others: Vec<_> = (1..THREADS).map(|_| scope.spawn(mine)).collect();
        let others = others.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        others.fold(mine(), |(moves, refused), theirs| (moves + theirs.0, refused + theirs.1))
    });
    println!("{} inputs, {moves} moves, {refused} steps refused by a full heap", inputs.len());
    if inputs.len() != 1 {
        assert!(moves > 0 && refused > 0);
    }
}

/// Does one input: how often objects were moved, and how many steps a full heap refused.
fn run(input: &Path) -> (u64, u64) {
    let program = program::decode(&fs::read(input).unwrap());
    let outcome = catch_unwind(AssertUnwindSafe(|| check(&program, |_, _| {})));
    let (stats, refused) = outcome.unwrap_or_else(|_| panic!("{} fails: {:?}", input.display(), program.options));
    (stats.moves, refused)
}

/// A step's name, without what it is done to.
fn name(step: &program::Step) -> String {
    let text = format!("{step:?}");
    let name = text.split('{').next().unwrap_or_default();
    name.chars().filter(char::is_ascii_alphabetic).collect()
}

#[test]
fn kept_inputs_have_steps_of_every_kind_and_heaps_of_every_delivery() {
    let (mut known, mut kept, mut deliveries) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for first in 0..=u8::MAX {
        for second in 0..=u8::MAX {
            for last in [0, u8::MAX] {
                known.extend(program::decode(&[0, first, second, second, last]).steps.first().map(name));
            }
        }
    }
    for input in inputs() {
        let program = program::decode(&fs::read(input).unwrap());
        deliveries.insert(program.options.delivery.map(|delivery| delivery.to_string()));
        kept.extend(program.steps.iter().map(name));
    }
    assert!(known.len() > 25, "{known:?}");
    assert_eq!(known.difference(&kept).collect::<Vec<_>>(), Vec::<&String>::new());
    assert_eq!(deliveries.len(), Delivery::ALL.len());
}

/// The checks can fail: what the oracle was not told of is noticed.
#[test]
fn a_change_behind_the_oracles_back_is_noticed() {
    // Two items are pushed to the list in register 1.
    let program = program::decode(&[0, 12, 1, 0, 2, 5, 12, 1, 0, 2, 6]);
    assert_eq!(program.steps.iter().map(name).collect::<Vec<_>>(), ["ListPush", "ListPush"]);
    let (_, refused) = check(&program, |_, _| {});
    assert_eq!(refused, 0);
    let mut done = 0;
    let noticed = catch_unwind(AssertUnwindSafe(|| {
        check(&program, |heap, registers| {
            done += 1;
            if done == 2 {
                let changed = heap.run(|op| list::set(op, op.handle_get(registers[1]), 0, &Scalar::Int(8)));
                assert!(changed.unwrap());
            }
        })
    }));
    let message = noticed.expect_err("the change was not noticed");
    let message = message.downcast_ref::<String>().expect("a message");
    assert!(message.contains("left == right"), "{message}");
}
