//! What the heap costs, and what the kernel alone would cost, measured side by side in one run. Knows nothing of Python.
//!
//! Each measurement builds what it needs, takes samples, and returns them raw as JSON: medians, spreads, ratios and verdicts
//! are made by whoever prints them. Nothing here is compared with a figure of another run.
//!
//! | module | what is measured |
//! |---|---|
//! | [`pause`] | flips of a heap, and the bare system calls on a twin of its window with the same threads parked |
//! | [`fault`] | accesses to pages that are not ready, and a SIGBUS handler that only continues |
//! | [`moving`] | fixing, building and installing pages; what is left to a mutator meanwhile; what a cycle costs by what is sparse |
//! | [`mark`] | marking a graph that does not fit the caches |
//! | [`churn`] | threads that replace records: single operations, sleepers, utilisation, memory |

mod alternatives;
pub mod churn;
mod error;
pub mod fault;
mod floor;
mod graph;
mod handler;
mod histogram;
pub mod mark;
pub mod moving;
mod mutators;
pub mod pause;
mod random;
mod records;
mod stalls;
mod timeline;
mod twin;

pub use error::{Error, Progress, Result};
