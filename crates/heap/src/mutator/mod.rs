//! Threads that use the heap: when they are inside, what they own, how they hold on to objects.

pub mod handle_map;
#[cfg(not(loom))]
pub mod handles;
pub mod log;
#[cfg(not(loom))]
pub mod op;
pub mod safepoint;
#[cfg(not(loom))]
pub mod thread;

#[cfg(not(loom))]
pub use crate::shared::Interned;
#[cfg(not(loom))]
pub use handles::{Handle, HandleTable};
#[cfg(not(loom))]
pub use op::{Op, Request, Retry};
#[cfg(not(loom))]
pub use thread::Mutator;
