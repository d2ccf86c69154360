//! Moving objects out of sparse regions while mutators run: where they go, how a page is made ready, who does it.

pub mod forwarding;
pub mod install;
pub mod mover;
pub mod page;
pub mod plan;

pub use forwarding::Forwarding;
pub use mover::Mover;
pub use plan::Plan;
