//! What a cycle does when the kernel, or another library, does not play along: it ends correctly by another way, and says
//! so in the statistics. One test binary, one test at a time: refusals hold for the whole process.

use std::sync::{Mutex, PoisonError};

use subduct_heap::object::{Key, Scalar, dict, list};
use subduct_heap::{Delivery, Error, Handle, Heap, Options};
use subduct_kernel::inject::{Call, refuse, refuse_at_random};
use subduct_kernel::signal::Disposition;

const RECORDS: i64 = 20_000;
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Lets all calls through again, also when a test fails.
struct Refusals;

impl Drop for Refusals {
    fn drop(&mut self) {
        Call::ALL.into_iter().for_each(|call| refuse(call, 0, 0));
    }
}

/// A heap in which most of what was made is dead, and what lives is known.
fn sparse(delivery: Delivery) -> (Heap, Handle) {
    let options = Options { budget_bytes: 64 << 20, delivery: Some(delivery), verify: true, ..Options::default() };
    let heap = Heap::new(options).unwrap();
    let records = heap.run(|op| dict::new(op, 0).and_then(|records| op.handle_new(records))).unwrap();
    fill(&heap, records);
    (heap, records)
}

fn text(number: i64) -> String {
    format!("record {number}: {}", "x".repeat(40))
}

fn fill(heap: &Heap, records: Handle) {
    for number in 0..RECORDS {
        heap.run(|op| {
            let text = text(number);
            dict::insert(op, op.handle_get(records), &Key::Int(number), &Scalar::Str(text.as_bytes())).map(drop)
        })
        .unwrap();
    }
    for number in (0..RECORDS).filter(|number| number % 8 != 0) {
        heap.run(|op| dict::remove(op, op.handle_get(records), &Key::Int(number)).map(drop)).unwrap();
    }
}

fn check(heap: &Heap, records: Handle) {
    for number in (0..RECORDS).step_by(8) {
        let found = heap.run(|op| {
            let value = dict::get(op, op.handle_get(records), &Key::Int(number))?.expect("kept");
            Ok(op.raw(value.as_ref().expect("a long string")).to_vec())
        });
        assert_eq!(String::from_utf8(found.unwrap()).unwrap(), text(number));
    }
    heap.verify().unwrap();
}

/// Runs cycles under a refusal, checks the data, and then a cycle without.
fn survive(delivery: Delivery, arm: impl Fn()) -> subduct_heap::Stats {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let _refusals = Refusals;
    let (heap, records) = sparse(delivery);
    for _ in 0..3 {
        arm();
        let report = heap.collect().unwrap();
        assert!(report.verified && report.bytes_evacuated > 0, "{report:?}");
        drop(Refusals);
        check(&heap, records);
        fill(&heap, records);
    }
    let before = heap.stats().unwrap();
    let report = heap.collect().unwrap();
    assert!(report.fallback.is_none() && report.bytes_evacuated > 0, "back to normal: {report:?}");
    let after = heap.stats().unwrap();
    assert_eq!(before.fallbacks, after.fallbacks, "back to normal");
    check(&heap, records);
    after
}

const CONCURRENT: [Delivery; 2] = [Delivery::Sigbus, Delivery::Thread];

#[test]
fn a_refused_move_becomes_a_pause() {
    for delivery in CONCURRENT {
        let stats = survive(delivery, || refuse(Call::Move, libc::ENOMEM, 1));
        assert_eq!(stats.fallbacks.flips_in_pause, 3);
    }
}

#[test]
fn a_refused_registration_becomes_a_pause() {
    for delivery in CONCURRENT {
        // The first registration of a cycle is that of a leaf destination, the last that of the slots window.
        for errno in [libc::ENOMEM, libc::EBUSY] {
            let stats = survive(delivery, || refuse(Call::Register, errno, 1));
            assert_eq!(stats.fallbacks.flips_in_pause, 3);
        }
    }
}

#[test]
fn a_refused_end_of_registration_costs_a_new_descriptor() {
    for delivery in CONCURRENT {
        let stats = survive(delivery, || refuse(Call::Unregister, libc::ENOMEM, 1));
        assert_eq!(stats.fallbacks.flips_in_pause, 0);
    }
}

#[test]
fn installs_that_are_put_off_are_tried_again() {
    for delivery in CONCURRENT {
        for errno in [libc::EAGAIN, libc::ENOMEM] {
            let stats = survive(delivery, || refuse_at_random(Call::Continue, errno, 0.5, 11));
            assert!(stats.fallbacks.installs_again > 0, "{stats:?}");
            assert_eq!(stats.fallbacks.runs_unregistered, 0, "{stats:?}");
        }
    }
}

#[test]
fn pages_that_cannot_be_installed_are_exposed_instead() {
    for delivery in CONCURRENT {
        for errno in [libc::EAGAIN, libc::ENOMEM, libc::EFAULT] {
            let stats = survive(delivery, || refuse(Call::Continue, errno, 5_000));
            assert!(stats.fallbacks.runs_unregistered > 0, "{stats:?}");
            assert_eq!(stats.fallbacks.flips_in_pause, 0, "{stats:?}");
        }
    }
}

#[test]
fn a_trial_that_is_refused_repeats_what_the_kernel_said() {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let _refusals = Refusals;
    for errno in Call::Continue.errnos().iter().copied() {
        refuse(Call::Continue, errno, 1);
        let options = Options { budget_bytes: 64 << 20, delivery: Some(Delivery::Sigbus), ..Options::default() };
        let Err(Error::Unsupported { what, remedy }) = Heap::new(options) else {
            panic!("errno {errno} was overlooked")
        };
        assert!(what.contains("UFFDIO_CONTINUE") && what.contains(&format!("os error {errno}")), "{what}");
        assert!(remedy.contains("delivery=\"software\""), "{remedy}");
        // Only this one is what a kernel says that does not know the operation.
        assert_eq!(remedy.contains("Linux 5.14"), errno == libc::EINVAL, "{errno}: {remedy}");
        assert_eq!(remedy.contains("seccomp"), matches!(errno, libc::EPERM | libc::ENOSYS), "{errno}: {remedy}");
    }
}

#[test]
fn a_lost_descriptor_is_replaced_by_its_spare() {
    for delivery in CONCURRENT {
        let stats = survive(delivery, || refuse(Call::Continue, libc::EBADF, 1));
        assert!(stats.fallbacks.descriptors_lost > 0, "{stats:?}");
        assert_eq!(stats.fallbacks.flips_in_pause, 0, "{stats:?}");
    }
}

#[test]
fn pages_of_a_descriptor_without_numbers_come_when_the_move_has_ended() {
    for delivery in CONCURRENT {
        let stats = survive(delivery, || refuse(Call::Continue, libc::EBADF, u64::MAX));
        assert!(stats.fallbacks.descriptors_lost > 0, "{stats:?}");
        assert_eq!((stats.fallbacks.flips_in_pause, stats.fallbacks.runs_unregistered), (0, 0), "{stats:?}");
    }
}

#[test]
fn a_heap_that_may_not_handle_sigbus_takes_another_delivery() {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let _refusals = Refusals;
    let new = |delivery| Heap::new(Options { budget_bytes: 16 << 20, delivery, ..Options::default() });
    // Somebody else has the signal, so that it has to be taken.
    Disposition::install(libc::SIGBUS, theirs).unwrap();
    refuse(Call::Handle, libc::EPERM, u64::MAX);
    assert_eq!(new(None).unwrap().stats().unwrap().delivery, Delivery::Software);
    let refused = new(Some(Delivery::Sigbus)).err().unwrap();
    assert!(matches!(refused, Error::Unsupported { .. }), "{refused}");
    let said = refused.to_string();
    assert!(said.contains("sigaction failed") && said.contains("allow rt_sigaction"), "{said}");
    refuse(Call::Handle, 0, 0);
    assert_eq!(new(None).unwrap().stats().unwrap().delivery, Delivery::Sigbus);
}

extern "C" fn theirs(_signal: i32, _info: *mut libc::siginfo_t, _context: *mut libc::c_void) {}

#[test]
fn a_machine_without_memory_is_an_error_and_not_the_end() {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let _refusals = Refusals;
    let heap = Heap::new(Options { budget_bytes: 64 << 20, verify: true, ..Options::default() }).unwrap();
    let kept = heap.run(|op| list::new(op, 0).and_then(|kept| op.handle_new(kept))).unwrap();
    let push = |bytes: usize| {
        let bytes = vec![b'x'; bytes];
        heap.run(|op| list::push(op, op.handle_get(kept), &Scalar::Bytes(&bytes)))
    };
    // Small objects, which a chunk is carved for, and large ones, which take regions of their own.
    for bytes in [1_000, 300_000] {
        refuse(Call::Populate, libc::ENOMEM, u64::MAX);
        let failed = loop {
            if let Err(error) = push(bytes) {
                break error;
            }
        };
        assert!(matches!(&failed, Error::Kernel(error) if error.errno == libc::ENOMEM), "{failed}");
        refuse(Call::Populate, 0, 0);
        push(bytes).unwrap();
    }
    heap.verify().unwrap();
}
