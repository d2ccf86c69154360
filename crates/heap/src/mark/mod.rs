//! Which objects are alive: the bitmap, the concurrent marker, and what mutators must tell it.

pub mod bitmap;
pub mod marker;

pub use bitmap::Marks;
pub use marker::Marker;
