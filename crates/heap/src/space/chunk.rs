//! Memory that one mutator fills.

/// Part of a region handed to one mutator: offsets of its first byte and behind its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Chunk {
    /// Offset of the first byte.
    pub start: u64,
    /// Offset behind the last byte.
    pub end: u64,
}

impl Chunk {
    /// Bytes in it.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.end - self.start
    }
}
