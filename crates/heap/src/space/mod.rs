//! Where objects live: windows, regions, side tables, and who gets memory within the budget.

pub mod allocator;
pub mod layout;
mod mapping;
pub mod region;
pub mod table;
pub mod windows;

pub use allocator::{Chunk, Shortage, Space};
pub use layout::{Geometry, PageId, RegionId, Window};
pub use region::Role;
pub use windows::{Base, Windows};
