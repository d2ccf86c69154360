//! How an access to a page that is not ready is caught and served.
//!
//! Nothing here, and nothing called from here, takes a lock, allocates, logs, or knows Python.

#[cfg(not(loom))]
pub mod chain;
#[cfg(not(loom))]
pub mod handler;
pub mod page_state;
pub mod phase;

#[cfg(not(loom))]
pub use handler::fatal;
