//! Where objects live: windows, regions, side tables, and who gets memory within the budget.

#[cfg(not(loom))]
pub mod allocator;
#[cfg(not(loom))]
mod bits;
#[cfg(not(loom))]
mod chunk;
#[cfg(not(loom))]
mod free;
#[cfg(not(loom))]
pub mod layout;
#[cfg(not(loom))]
mod limit;
#[cfg(not(loom))]
mod mapping;
#[cfg(not(loom))]
pub mod region;
#[cfg(not(loom))]
mod residency;
pub mod role;
#[cfg(not(loom))]
mod sparse;
#[cfg(not(loom))]
pub mod table;
#[cfg(not(loom))]
pub mod windows;

#[cfg(not(loom))]
pub use allocator::{Shortage, Space};
#[cfg(not(loom))]
pub use chunk::Chunk;
#[cfg(not(loom))]
pub use layout::{Geometry, PageId, RegionId, Window};
#[cfg(not(loom))]
pub use limit::Limit;
pub use role::Role;
#[cfg(not(loom))]
pub use windows::{Base, Windows};
