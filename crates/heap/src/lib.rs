//! The object heap and its collector. Knows nothing of Python: that the fault path never needs an interpreter lock is
//! thereby checked by the compiler.
//!
//! Start with `collector/cycle.rs`: its header tells the whole algorithm. Then `space` (where objects live), `object`
//! (what they are), `mutator` (who uses them), `mark`, `compact` and `fault` (how they are kept, moved and found again).

pub mod fault;
pub mod mutator;
pub mod sync;

#[cfg(not(loom))]
pub mod clock;
#[cfg(not(loom))]
pub mod collector;
#[cfg(not(loom))]
pub mod compact;
#[cfg(not(loom))]
mod delivery;
#[cfg(not(loom))]
mod error;
#[cfg(not(loom))]
mod fork;
#[cfg(not(loom))]
mod heap;
#[cfg(not(loom))]
pub mod mark;
#[cfg(not(loom))]
pub mod memory;
#[cfg(not(loom))]
pub mod object;
#[cfg(not(loom))]
mod options;
#[cfg(not(loom))]
mod room;
#[cfg(not(loom))]
mod shared;
#[cfg(all(not(loom), feature = "simulate"))]
pub mod simulator;
pub mod space;
#[cfg(not(loom))]
mod stats;
#[cfg(not(loom))]
mod verify;

#[cfg(not(loom))]
pub use error::Error;
#[cfg(not(loom))]
pub use heap::{Heap, Stalled};
#[cfg(not(loom))]
pub use mutator::{Handle, Op, Retry};
#[cfg(not(loom))]
pub use options::{Delivery, Options, Recycle};
#[cfg(not(loom))]
pub use shared::Interned;
#[cfg(not(loom))]
pub use stats::{CycleReport, Fallbacks, Pauses, Stats, VerifyReport};
