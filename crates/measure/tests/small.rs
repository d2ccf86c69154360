//! Every measurement, on heaps so small that it takes a moment: what is counted must be there, and belong together.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use subduct_heap::{Delivery, Recycle};
use subduct_measure::moving::Churned;
use subduct_measure::{Error, churn, fault, mark, moving, pause};

const MIB: u64 = 1 << 20;
/// How often something is measured, twice as long each time, until all has occurred that is told of.
const ROUNDS: u32 = 9;

/// What is measured belongs to the whole process: its memory, its handler of SIGBUS, its processors.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn go_on(_: &str) -> bool {
    true
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("samples").iter().map(|sample| sample.as_f64().expect("a number")).collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn all_positive(value: &Value, count: usize) {
    let samples = numbers(value);
    assert_eq!(samples.len(), count);
    assert!(samples.iter().all(|sample| *sample > 0.0), "{samples:?}");
}

#[test]
fn a_pause_has_its_floor_and_its_alternatives() {
    let _alone = alone();
    let wanted = pause::Pause { size_bytes: 16 * MIB, flips: 6, threads: 1, marks: 2, repetitions: 2 };
    let found = pause::measure(&wanted, &mut go_on).unwrap();
    for samples in ["pause_us", "bare_us", "bare_parked_us", "parking_us"] {
        all_positive(&found[samples], 6);
    }
    for (bare, parked) in numbers(&found["bare_us"]).iter().zip(numbers(&found["bare_parked_us"])) {
        assert!(*bare <= parked, "the calls are part of the rendezvous");
    }
    assert_eq!(found["stalled"].as_array().unwrap().len(), 6);
    all_positive(&found["mark_end_us"], 2);
    assert!(number(&found["live_bytes"]) >= 16.0 * MIB as f64);
    let alternatives = found["alternatives"].as_object().unwrap();
    assert_eq!(alternatives.len(), 8);
    alternatives.values().filter(|samples| samples.is_array()).for_each(|samples| all_positive(samples, 2));
    assert!(number(&found["operations"]) > 0.0);
}

#[test]
fn faults_are_told_from_accesses_that_need_none() {
    let _alone = alone();
    // What was put back after each is the handler of before: a heap can flip again. On a busy machine the worker may be through
    // before a page is touched, so each round has twice as many flips.
    let mut rounds = (0..ROUNDS).map(|round| {
        let wanted = fault::Fault { size_bytes: 64 * MIB, flips: 4 << round, delivery: Delivery::Sigbus };
        fault::measure(&wanted, &mut go_on).unwrap()
    });
    let found = rounds.find(|found| !numbers(&found["heap_us"]).is_empty()).expect("no access met a fault");
    let positive = |name: &str| {
        let samples = numbers(&found[name]);
        assert!(!samples.is_empty() && samples.iter().all(|sample| *sample > 0.0), "{name}: {samples:?}");
        samples.len() as f64
    };
    assert!(positive("heap_us") <= number(&found["faults"]));
    for samples in ["heap_ready_us", "bare_us", "bare_quiet_us", "bare_one_us", "first_touch_us"] {
        positive(samples);
    }
    // None where the worker had each page in hand that was touched.
    let together = number(&found["pages_per_fault"]);
    assert!((0.0..=64.0).contains(&together), "{together}");
    let wanted = fault::Fault { size_bytes: 8 * MIB, flips: 1, delivery: Delivery::Sigbus };
    assert!(fault::measure(&wanted, &mut go_on).is_ok(), "and again");
}

#[test]
fn each_kind_of_work_is_the_work_that_is_done() {
    let _alone = alone();
    let pages = |name: &str, size_bytes: u64| {
        let found = moving::worker(moving::Work::named(name).unwrap(), size_bytes, 2, &mut go_on).unwrap();
        assert!(numbers(&found["memcpy_us"]).iter().chain(&numbers(&found["continue_us"])).all(|us| *us > 0.0));
        let cycles = found["cycles"].as_array().unwrap().clone();
        assert_eq!(cycles.len(), 2);
        for cycle in &cycles {
            assert!(cycle["fallback"].is_null() && number(&cycle["move_us"]) > 0.0, "{name}: {cycle}");
        }
        ["pages_installed", "pages_fixed", "pages_built"].map(|kind| number(&cycles[1][kind]))
    };
    let [installed, fixed, built] = pages("install", 8 * MIB);
    assert!(installed > 2000.0 && fixed < 100.0 && built == 0.0);
    for build in ["build_local", "build_random"] {
        let [installed, fixed, built] = pages(build, 8 * MIB);
        assert!(built > 2000.0 && fixed < 100.0 && installed < 100.0, "{build}: {installed} {fixed} {built}");
    }
    // Larger: the sparse part must be more than a region for any to be gained.
    for fix in ["fix_local", "fix_random"] {
        let [installed, fixed, built] = pages(fix, 64 * MIB);
        assert!(fixed > 4.0 * (built + installed), "{fix}: {installed} {fixed} {built}");
    }
}

#[test]
fn a_mutator_sees_whole_nodes_while_they_move() {
    let _alone = alone();
    let found = moving::mutator(16 * MIB, 1, &mut go_on).unwrap();
    let cycle = &found.as_array().unwrap()[0];
    assert_eq!(cycle["sound"], Value::Bool(true));
    assert!(number(&cycle["bytes_evacuated"]) > 0.0 && number(&cycle["pages_fixed"]) > 0.0);
    for pace in ["quiet_per_s", "marking_per_s", "moving_per_s"] {
        assert!(number(&cycle[pace]) >= 0.0, "{cycle}");
    }
}

#[test]
fn what_is_evacuated_follows_what_was_churned() {
    let _alone = alone();
    let little = moving::churned(32 * MIB, 0.1, Churned::Part, &mut go_on).unwrap();
    let much = moving::churned(32 * MIB, 0.4, Churned::Part, &mut go_on).unwrap();
    let evacuated = |found: &Value| number(&found["bytes_evacuated"]);
    assert!(evacuated(&little) < evacuated(&much), "{little} {much}");
    assert!(evacuated(&much) < 0.5 * number(&much["live_bytes"]));
}

#[test]
fn every_node_of_the_graph_is_marked() {
    let _alone = alone();
    let found = mark::measure(50_000, mark::Reach::Random, 3, &mut go_on).unwrap();
    all_positive(&found["mark_us"], 3);
    assert!((50_000.0..50_100.0).contains(&number(&found["live_objects"])), "{found}");
}

#[test]
fn churn_tells_operations_sleepers_memory_and_the_collector() {
    let _alone = alone();
    for delivery in [Delivery::Sigbus, Delivery::Pause] {
        // On a busy machine a thread, or the collector, may not come to anything in so short a time: each round has twice as much.
        let mut rounds = (0..ROUNDS).map(|round| {
            let wanted = churn::Churn {
                records: 20_000,
                threads: 2,
                seconds: 0.3 * f64::from(1 << round),
                delivery: Some(delivery),
                recycle: Recycle::Pool,
            };
            churn::measure(&wanted, &mut go_on).unwrap()
        });
        let has_all = |found: &Value| {
            let counts = ["quiet", "cycles"].map(|phase| [&found[phase]["operation"], &found[phase]["sleeper"]]);
            counts.iter().flatten().all(|each| number(&each["count"]) > 0.0)
                && number(&found["collector"]["cycles"]) > 0.0
        };
        let found = rounds.find(has_all).expect("operations, sleeps and cycles");
        assert_eq!(found["sound"], Value::Bool(true));
        for phase in ["quiet", "cycles"] {
            let (operation, utilisation) = (&found[phase]["operation"], &found[phase]["utilisation"]);
            assert!(number(&operation["median_us"]) <= number(&operation["p99_us"]));
            assert!(number(&operation["p99_us"]) <= number(&operation["max_us"]));
            for window in ["1ms", "10ms", "100ms"] {
                assert!((0.0..=1.0).contains(&number(&utilisation[window])), "{found}");
            }
        }
        let memory = &found["memory"];
        assert!(number(&memory["collected_live_bytes"]) > 0.0);
        assert!(number(&memory["collected_resident_bytes"]) <= number(&memory["peak_bytes"]));
        let longest = found["longest"][0]["us"].as_f64().unwrap();
        assert_eq!(longest, number(&found["cycles"]["operation"]["max_us"]));
    }
}

#[test]
fn side_tables_take_something_and_more_when_all_moves() {
    let _alone = alone();
    let rest = churn::side_tables(32 * MIB, false, &mut go_on).unwrap();
    assert!(number(&rest["private_bytes"]) > 0.0 && number(&rest["regions_evacuated"]) == 0.0);
    let moved = churn::side_tables(32 * MIB, true, &mut go_on).unwrap();
    assert!(number(&moved["regions_evacuated"]) > 0.0);
}

#[test]
fn a_measurement_ends_when_its_caller_wants_no_more() {
    let _alone = alone();
    let mut steps = 0;
    let stopped = mark::measure(10_000_000, mark::Reach::Local, 1, &mut |_| {
        steps += 1;
        steps < 3
    });
    assert!(matches!(stopped, Err(Error::Stopped)));
    assert_eq!(steps, 3);
}
