//! The collector: one thread for each heap, the cycle it runs, and the threads that help it.

pub mod control;
pub mod cycle;
pub mod flip;
pub mod fullness;
pub mod keeper;
pub mod marking;
pub mod monitor;
pub mod pacing;
pub mod share;
pub mod throttle;
