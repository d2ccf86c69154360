//! The deterministic simulator: whole cycles on a kernel and a scheduler of our own, decided by a seed.
//!
//! The collector, the mutators and the tests run unchanged, on threads of which only one runs at a time. Whenever one
//! reaches a place where another could come in between ([`crate::sync::point`]: locks, waits, page states, presences, every
//! access to the heap's memory, every system call), the seed decides who goes on. Memory is real, but whether a page is
//! mapped, armed or there at all is kept in [`kernel`], which also refuses calls, does them in part, and puts them off,
//! as the seed wants. The same seed does the same again, so that a failure can be looked at.
//!
//! What it cannot see: reordering of memory accesses by the processor, which is loom's part; anything about time; the real
//! kernel, which the other tests run on. Faults are those of `sigbus` delivery; `thread` delivery is not simulated.

pub mod kernel;
pub mod scheduler;
