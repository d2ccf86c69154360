//! Every system call of a heap refused with every errno that it can give, the n-th time it is made: the process lives, the
//! caller gets an error or its result, nothing is lost, and the heap goes on when the kernel does. One test binary, one test
//! at a time: refusals hold for the whole process.
//!
//! `SUBDUCT_SWEEP=long` tries 25 places all over a life and all deliveries, as `make torture` does; `all` tries each n, which takes
//! hours; otherwise two.

use std::sync::{Mutex, PoisonError};

use subduct_heap::object::{Key, Scalar, dict, list};
use subduct_heap::{Delivery, Error, Handle, Heap, Options};
use subduct_kernel::inject::{self, Call};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
const RECORDS: i64 = 2_000;

/// Lets all calls through again, also when a test fails.
struct Refusals;

impl Drop for Refusals {
    fn drop(&mut self) {
        Call::ALL.into_iter().for_each(|call| inject::refuse(call, 0, 0));
    }
}

fn options(delivery: Delivery) -> Options {
    // Under stress every cycle moves something.
    let stress_bytes = Some(128 << 10);
    Options { budget_bytes: 16 << 20, delivery: Some(delivery), verify: true, stress_bytes, ..Options::default() }
}

/// What every step may end with, besides success.
fn is_said(error: &Error) -> bool {
    matches!(
        error,
        Error::Kernel(_) | Error::Unsupported { .. } | Error::Full { .. } | Error::Memory { .. } | Error::Closed { .. }
    )
}

fn text(number: i64) -> String {
    format!("record {number}: {}", "x".repeat(30))
}

/// A life with everything that makes a system call: small and large objects, cycles that move, handles, figures. Returns what
/// was stored for sure.
fn live(heap: &Heap) -> Result<(Handle, Vec<i64>), Error> {
    let records = heap.run(|op| dict::new(op, 0).and_then(|records| op.handle_new(records)))?;
    let mut stored = Vec::new();
    for number in 0..RECORDS {
        let text = text(number);
        let inserted = heap.run(|op| {
            dict::insert(op, op.handle_get(records), &Key::Int(number), &Scalar::Str(text.as_bytes())).map(drop)
        });
        match inserted {
            Ok(()) => stored.push(number),
            Err(error) => assert!(is_said(&error), "{error}"),
        }
    }
    let large = vec![b'l'; 400 << 10];
    let kept = heap.run(|op| list::new(op, 0).and_then(|kept| op.handle_new(kept)));
    if let Ok(kept) = kept {
        for _ in 0..3 {
            let pushed = heap.run(|op| list::push(op, op.handle_get(kept), &Scalar::Bytes(&large)));
            assert!(pushed.as_ref().err().is_none_or(is_said), "{pushed:?}");
        }
        heap.drop_handle(kept);
    }
    stored.retain(|number| {
        let remove = number % 4 != 0;
        if remove {
            let removed = heap.run(|op| dict::remove(op, op.handle_get(records), &Key::Int(*number)).map(drop));
            assert!(removed.as_ref().err().is_none_or(is_said), "{removed:?}");
            // Whether it is gone or not, it is no longer relied on.
        }
        !remove
    });
    for _ in 0..2 {
        heap.collect()?;
    }
    let figures = heap.stats();
    assert!(figures.as_ref().err().is_none_or(is_said), "{figures:?}");
    Ok((records, stored))
}

fn check(heap: &Heap, records: Handle, stored: &[i64]) {
    for number in stored {
        let found = heap.run(|op| {
            let value = dict::get(op, op.handle_get(records), &Key::Int(*number))?.expect("stored");
            Ok(op.raw(value.as_ref().expect("a long string")).to_vec())
        });
        assert_eq!(String::from_utf8(found.unwrap()).unwrap(), text(*number));
    }
    heap.verify().unwrap();
}

/// One life with the calls from the `spared`-th on refused `times` times. Whether any was.
fn refused_once(delivery: Delivery, call: Call, errno: i32, spared: u64, times: u64) -> bool {
    let what = format!("{call:?} errno {errno}, {times} after {spared}, {delivery}");
    let _refusals = Refusals;
    let before = inject::calls(call);
    inject::refuse_after(call, errno, spared, times);
    let heap = match Heap::new(options(delivery)) {
        Ok(heap) => heap,
        Err(error) => {
            assert!(is_said(&error), "{what}: {error}");
            return true;
        }
    };
    let lived = live(&heap);
    let was_refused = inject::calls(call) - before > spared;
    drop(Refusals);
    match lived {
        Ok((records, stored)) => {
            check(&heap, records, &stored);
            // Back to normal: everything works, and moves.
            let (records, stored) = live(&heap).unwrap_or_else(|error| panic!("{what}: afterwards {error}"));
            assert_eq!(stored.len(), (0..RECORDS).step_by(4).count(), "{what}");
            check(&heap, records, &stored);
        }
        Err(error) => {
            assert!(is_said(&error), "{what}: {error}");
            heap.verify().unwrap();
        }
    }
    heap.close();
    was_refused
}

/// How many places of a life are tried for each call.
fn places_max() -> u64 {
    match std::env::var("SUBDUCT_SWEEP").as_deref() {
        Ok("all") => u64::MAX,
        Ok("long") => 25,
        _ => 2,
    }
}

/// Which of so many calls are refused first, evenly over the life.
fn places(calls: u64) -> impl Iterator<Item = u64> {
    (0..calls.max(1)).step_by(calls.div_ceil(places_max()).max(1) as usize)
}

#[test]
fn no_refused_call_ends_the_process_or_loses_anything() {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut refused = Vec::new();
    let deliveries = if places_max() > 2 { &Delivery::ALL[..] } else { &[Delivery::Sigbus, Delivery::Software] };
    for delivery in deliveries.iter().copied() {
        for call in Call::ALL {
            let before = inject::calls(call);
            refused_once(delivery, call, 0, u64::MAX, 0);
            let calls = inject::calls(call) - before;
            for errno in call.errnos() {
                for place in places(calls) {
                    // Once, and for good.
                    for times in [1, u64::MAX] {
                        if refused_once(delivery, call, *errno, place, times) {
                            refused.push(call);
                        }
                    }
                }
            }
        }
    }
    for call in [Call::Move, Call::Register, Call::Populate, Call::Punch, Call::Retire, Call::Drop, Call::Fence] {
        assert!(refused.contains(&call), "{call:?} was never refused");
    }
}
