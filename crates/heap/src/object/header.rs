//! The word every object starts with: enough to mark, copy and fix it without knowing its type.
//!
//! ```text
//! 63            36 35             8 7      5 4    0
//! | raw words 28 |    slots 28     | pad 3  | kind 5 |
//! ```
//!
//! An object is `[header][slots ...][raw words ...]`. `pad` is how many bytes of the last raw word are unused. A header
//! never changes while its object lives, so any thread may read it at any time.

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A string of more than 7 bytes: UTF-8, or WTF-8 with lone surrogates.
    Str = 1,
    /// More than 7 bytes.
    Bytes,
    /// An int of more than 61 bits: two's complement, little endian.
    BigInt,
    /// A float that does not fit a slot.
    Float,
    /// Hash table of a dict: hashes and entry numbers.
    DictIndex,
    /// A dict: its entries and index.
    Dict,
    /// Keys and values of a dict, in insertion order.
    DictEntries,
    /// A list: its items.
    List,
    /// Items of a list, with spare room.
    Items,
    /// A tuple.
    Tuple,
    /// A cache of strings, so that equal ones are stored once.
    Interner,
}

impl Kind {
    /// The kind with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        use Kind::*;
        [Str, Bytes, BigInt, Float, DictIndex, Dict, DictEntries, List, Items, Tuple, Interner]
            .into_iter()
            .find(|kind| *kind as u8 == number)
    }

    /// Whether objects of this kind have no slots, and live in the leaves window.
    #[must_use]
    pub fn is_leaf(self) -> bool {
        matches!(self, Self::Str | Self::Bytes | Self::BigInt | Self::Float | Self::DictIndex)
    }

    /// Whether users see objects of this kind as containers.
    #[must_use]
    pub fn is_container(self) -> bool {
        matches!(self, Self::Dict | Self::List | Self::Tuple)
    }
}

const COUNT_BITS: u32 = 28;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

/// Most slots an object can have.
pub const SLOTS_MAX: usize = COUNT_MASK as usize;
/// Most raw bytes an object can have.
pub const RAW_MAX: usize = COUNT_MASK as usize * 8;

/// An object's first word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header(u64);

impl Header {
    /// Header of an object with `slots` slots and `raw_len` raw bytes; `None` where that is more than an object can have.
    #[must_use]
    pub fn new(kind: Kind, slots: usize, raw_len: usize) -> Option<Self> {
        if slots > SLOTS_MAX || raw_len > RAW_MAX {
            return None;
        }
        let raw_words = raw_len.div_ceil(8);
        let pad = raw_words * 8 - raw_len;
        let word = (raw_words as u64) << 36 | (slots as u64) << 8 | (pad as u64) << 5 | u64::from(kind as u8);
        Some(Self(word))
    }

    /// The header that a word of the heap is.
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The word.
    #[must_use]
    pub fn bits(self) -> u64 {
        self.0
    }

    /// The object's kind, or `None` for a word that is no header.
    #[must_use]
    pub fn checked_kind(self) -> Option<Kind> {
        Kind::from_number((self.0 & 0x1f) as u8)
    }

    /// The object's kind.
    ///
    /// # Panics
    /// When the word is no header: the heap is broken.
    #[must_use]
    pub fn kind(self) -> Kind {
        self.checked_kind().unwrap_or_else(|| panic!("{:#x} is no object header", self.0))
    }

    /// Number of slots.
    #[must_use]
    pub fn slots(self) -> usize {
        (self.0 >> 8 & COUNT_MASK) as usize
    }

    /// Raw bytes, exactly.
    #[must_use]
    pub fn raw_len(self) -> usize {
        self.raw_words() * 8 - (self.0 >> 5 & 7) as usize
    }

    /// Raw words.
    #[must_use]
    pub fn raw_words(self) -> usize {
        (self.0 >> 36) as usize
    }

    /// Words of the whole object, header included.
    #[must_use]
    pub fn words(self) -> usize {
        1 + self.slots() + self.raw_words()
    }

    /// Bytes of the whole object, header included.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.words() as u64 * 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_header_gives_back_what_it_was_made_of(slots in 0..=SLOTS_MAX, raw_len in 0..=RAW_MAX) {
            let header = Header::new(Kind::Dict, slots, raw_len).unwrap();
            prop_assert_eq!((header.kind(), header.slots(), header.raw_len()), (Kind::Dict, slots, raw_len));
            prop_assert_eq!(header.words(), 1 + slots + raw_len.div_ceil(8));
        }
    }

    #[test]
    fn what_is_too_large_has_no_header() {
        assert_eq!(Header::new(Kind::Items, SLOTS_MAX + 1, 0), None);
        assert_eq!(Header::new(Kind::Bytes, 0, RAW_MAX + 1), None);
    }

    #[test]
    fn zeroed_memory_is_no_header() {
        assert_eq!(Header::from_bits(0).checked_kind(), None);
    }
}
