//! Looks for a program on which the heap's containers and std's collections disagree.

#![no_main]

#[path = "../../crates/heap/tests/containers/mod.rs"]
mod containers;

use containers::{check, program};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    check(&program::decode(bytes), |_, _| {});
});
