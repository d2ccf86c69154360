//! Programs on containers, done on a heap and on std's collections, and compared after every step.
//!
//! [`program`] says which program a string of bytes is, [`value`] and [`model`] are the oracle, [`machine`] does the steps
//! and compares. The fuzzer in `fuzz/` and the test `corpus` use the same.

mod compare;
mod dicts;
mod lists;
mod machine;
mod model;
pub mod program;
mod value;

pub use machine::check;
