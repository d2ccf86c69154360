//! What lives in the heap: values, headers, and the containers made of them.

pub mod dict;
pub mod header;
mod intern;
mod key;
pub mod list;
pub mod long;
mod number;
mod outgoing;
mod pieces;
mod scalar;
#[cfg(test)]
mod testing;
pub mod tuple;
pub mod value;

pub use header::{Header, Kind, RAW_MAX, SLOTS_MAX};
pub use key::{Key, Part, StoredKey};
pub use outgoing::{Bytes, Outgoing, outgoing};
pub use scalar::{Scalar, scalar_equals};
pub use value::{Ref, Value, View};
