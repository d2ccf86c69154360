//! The collector: one thread for each heap, and the cycle it runs.

pub mod control;
pub mod cycle;
pub mod flip;
pub mod fullness;
pub mod marking;
pub mod monitor;
pub mod pacing;
pub mod share;
pub mod throttle;
