//! AddressSanitizer watches these tests, seen by what it reports: each provokes a defect in a process of its own.
//!
//! Built with the feature `sanitize` only, which `make asan` asks for; without the sanitizer they fail. It watches what
//! is allocated, and stacks: the windows of a heap are mapped memory, where `space/windows.rs` checks every offset.

use std::env;
use std::hint::black_box;
use std::process::Command;

use subduct_heap::object::{Scalar, list};
use subduct_heap::{Delivery, Heap, Options};

/// Says to a test that it is to be the defect.
const DEFECT: &str = "SUBDUCT_ASAN_DEFECT";

/// Everything a test prints that is run again, in a process of its own, as the defect.
fn report_of(test: &str) -> String {
    let own = env::current_exe().unwrap();
    let output = Command::new(own).args(["--exact", test, "--nocapture"]).env(DEFECT, "1").output().unwrap();
    let report = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "a defect passed: was this built by `make asan`?\n{report}");
    report
}

/// A heap that has served faults, so that its signal handler is installed over the sanitizer's.
fn used_heap() -> Heap {
    let options = Options { delivery: Some(Delivery::Sigbus), stress_bytes: Some(1 << 40), ..Options::default() };
    let heap = Heap::new(options).unwrap();
    let items = heap.run(|op| list::new(op, 0).and_then(|list| op.handle_new(list))).unwrap();
    for number in 0..1000 {
        heap.run(|op| list::push(op, op.handle_get(items), &Scalar::Int(number))).unwrap();
    }
    assert!(heap.collect().unwrap().bytes_evacuated > 0);
    heap
}

#[test]
fn a_read_beyond_an_allocation_is_reported() {
    if env::var_os(DEFECT).is_none() {
        let report = report_of("a_read_beyond_an_allocation_is_reported");
        assert!(report.contains("AddressSanitizer: heap-buffer-overflow"), "{report}");
        return;
    }
    let heap = used_heap();
    let bytes = black_box(vec![1_u8; 24]);
    // SAFETY: there is none. Without the sanitizer it reads a byte of the allocator's, and the test fails.
    let beyond = unsafe { bytes.as_ptr().add(bytes.len()).read_volatile() };
    println!("{beyond} {heap}", heap = heap.id());
}

#[test]
fn a_leak_is_reported() {
    if env::var_os(DEFECT).is_none() {
        let report = report_of("a_leak_is_reported");
        assert!(report.contains("LeakSanitizer: detected memory leaks"), "{report}");
        return;
    }
    used_heap().close();
    std::mem::forget(black_box(vec![1_u8; 24]));
}
