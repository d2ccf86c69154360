//! A slot's content: eight bytes that are a reference or a small value.
//!
//! | low 3 bits | meaning | payload |
//! |---|---|---|
//! | `000` | reference; 0 is an unused slot | byte offset from the heap's base, a multiple of 8 |
//! | `001` | int | 61 bits, two's complement |
//! | `010` | float whose exponent lies between -127 and 128 | sign, one bit for the exponent's half, 59 bits |
//! | `011` | string of at most 7 bytes | length in bits 3-5, bytes 1-7 |
//! | `100` | bytes of at most 7 bytes | as above |
//! | `111` | None, False, True, 0.0, -0.0, removed dict entry | which, in the bits above |
//!
//! The same Python value always has the same form, so equal immediates have equal bits.

use std::fmt;
use std::ops::Deref;

const TAG_MASK: u64 = 0b111;
const TAG_INT: u64 = 0b001;
const TAG_FLOAT: u64 = 0b010;
const TAG_STR: u64 = 0b011;
const TAG_BYTES: u64 = 0b100;
const TAG_SPECIAL: u64 = 0b111;

const ZERO: u64 = 0x27;
const MINUS_ZERO: u64 = 0x2f;

/// Longest string or bytes, in bytes, that fits a slot.
pub const SHORT_MAX: usize = 7;

/// An object: its byte offset from the heap's base. Valid until the operation polls or ends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ref(u64);

impl Ref {
    /// The object at `offset`, a non-zero multiple of 8.
    #[must_use]
    pub fn at(offset: u64) -> Self {
        debug_assert!(offset != 0 && offset & TAG_MASK == 0, "not an object's offset: {offset:#x}");
        Self(offset)
    }

    /// Byte offset from the heap's base.
    #[must_use]
    pub fn offset(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for Ref {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{:#x}", self.0)
    }
}

/// At most seven bytes, held in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Short {
    bytes: [u8; SHORT_MAX],
    length: u8,
}

impl Deref for Short {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// What a slot holds, taken apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum View {
    /// Never written.
    Empty,
    /// A dict entry that was removed.
    Deleted,
    /// None.
    None,
    /// True or False.
    Bool(bool),
    /// An int of at most 61 bits.
    Int(i64),
    /// A float that fits.
    Float(f64),
    /// A string of at most 7 bytes of UTF-8.
    Str(Short),
    /// At most 7 bytes.
    Bytes(Short),
    /// An object.
    Ref(Ref),
}

/// A slot's content. Equality is equality of bits.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Value(u64);

impl Value {
    /// An unused slot; what zeroed memory reads as.
    pub const EMPTY: Self = Self(0);
    /// None.
    pub const NONE: Self = Self(0x07);
    /// False.
    pub const FALSE: Self = Self(0x0f);
    /// True.
    pub const TRUE: Self = Self(0x17);
    /// A dict entry that was removed.
    pub const DELETED: Self = Self(0x1f);

    /// A bool.
    #[must_use]
    pub fn boolean(value: bool) -> Self {
        if value { Self::TRUE } else { Self::FALSE }
    }

    /// An int, if it fits 61 bits.
    #[must_use]
    pub fn small_int(value: i64) -> Option<Self> {
        let shifted = value << 3;
        (shifted >> 3 == value).then_some(Self(shifted.cast_unsigned() | TAG_INT))
    }

    /// A float, if it is a zero or its exponent is in the range that nearly all floats in use have.
    #[must_use]
    pub fn float(value: f64) -> Option<Self> {
        let bits = value.to_bits();
        match (bits >> 59) & 0xf {
            // The exponent's four high bits are 0111 or 1000: its second bit tells which.
            7 | 8 => {
                let payload = (bits >> 63) << 60 | ((bits >> 62) & 1) << 59 | (bits & ((1 << 59) - 1));
                Some(Self(payload << 3 | TAG_FLOAT))
            }
            _ if bits == 0 => Some(Self(ZERO)),
            _ if bits == 1 << 63 => Some(Self(MINUS_ZERO)),
            _ => None,
        }
    }

    fn float_from(self) -> f64 {
        let payload = self.0 >> 3;
        let exponent: u64 = if payload >> 59 & 1 == 1 { 0b1000 } else { 0b0111 };
        f64::from_bits((payload >> 60) << 63 | exponent << 59 | (payload & ((1 << 59) - 1)))
    }

    fn short(bytes: &[u8], tag: u64) -> Option<Self> {
        if bytes.len() > SHORT_MAX {
            return None;
        }
        let mut word = [0_u8; 8];
        word[1..=bytes.len()].copy_from_slice(bytes);
        Some(Self(u64::from_le_bytes(word) | (bytes.len() as u64) << 3 | tag))
    }

    fn short_from(self) -> Short {
        let word = self.0.to_le_bytes();
        let mut bytes = [0; SHORT_MAX];
        bytes.copy_from_slice(&word[1..]);
        Short { bytes, length: word[0] >> 3 & 7 }
    }

    /// A string given as UTF-8, if it has at most 7 bytes.
    #[must_use]
    pub fn short_str(bytes: &[u8]) -> Option<Self> {
        Self::short(bytes, TAG_STR)
    }

    /// Bytes, if they are at most 7.
    #[must_use]
    pub fn short_bytes(bytes: &[u8]) -> Option<Self> {
        Self::short(bytes, TAG_BYTES)
    }

    /// A reference.
    #[must_use]
    pub fn reference(object: Ref) -> Self {
        Self(object.0)
    }

    /// The object, if this is a reference.
    #[must_use]
    pub fn as_ref(self) -> Option<Ref> {
        self.is_ref().then_some(Ref(self.0))
    }

    /// Whether this is a reference.
    #[must_use]
    pub fn is_ref(self) -> bool {
        self.0 & TAG_MASK == 0 && self.0 != 0
    }

    /// The slot's bits.
    #[must_use]
    pub fn bits(self) -> u64 {
        self.0
    }

    /// The value that a slot's bits mean.
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Takes the value apart.
    #[must_use]
    pub fn view(self) -> View {
        match self.0 & TAG_MASK {
            0 => self.as_ref().map_or(View::Empty, View::Ref),
            TAG_INT => View::Int(self.0.cast_signed() >> 3),
            TAG_FLOAT => View::Float(self.float_from()),
            TAG_STR => View::Str(self.short_from()),
            TAG_BYTES => View::Bytes(self.short_from()),
            _ => match self {
                Self::NONE => View::None,
                Self::TRUE => View::Bool(true),
                Self::FALSE => View::Bool(false),
                Self(ZERO) => View::Float(0.0),
                Self(MINUS_ZERO) => View::Float(-0.0),
                _ => View::Deleted,
            },
        }
    }

    /// Whether these bits are one of the forms above, for verification.
    #[must_use]
    pub fn is_well_formed(self) -> bool {
        match self.0 & TAG_MASK {
            0 | TAG_INT | TAG_FLOAT => true,
            TAG_STR | TAG_BYTES => self.0 & 0xc0 == 0,
            TAG_SPECIAL => {
                matches!(self, Self::NONE | Self::TRUE | Self::FALSE | Self::DELETED | Self(ZERO) | Self(MINUS_ZERO))
            }
            _ => false,
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.view() {
            View::Empty => f.write_str("empty"),
            View::Deleted => f.write_str("deleted"),
            View::None => f.write_str("None"),
            View::Bool(value) => write!(f, "{value}"),
            View::Int(value) => write!(f, "{value}"),
            View::Float(value) => write!(f, "{value:?}"),
            View::Str(short) => write!(f, "{:?}", String::from_utf8_lossy(&short)),
            View::Bytes(short) => write!(f, "b{:?}", String::from_utf8_lossy(&short)),
            View::Ref(object) => write!(f, "{object:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ints_round_trip_or_do_not_fit(value: i64) {
            match Value::small_int(value) {
                Some(slot) => prop_assert_eq!(slot.view(), View::Int(value)),
                None => prop_assert!(!(-(1 << 60)..1 << 60).contains(&value)),
            }
        }

        #[test]
        fn floats_round_trip_bit_for_bit(bits: u64) {
            if let Some(slot) = Value::float(f64::from_bits(bits)) {
                let View::Float(back) = slot.view() else { panic!("not a float") };
                prop_assert_eq!(back.to_bits(), bits);
                prop_assert!(slot.is_well_formed());
            }
        }

        #[test]
        fn short_strings_round_trip(bytes in proptest::collection::vec(any::<u8>(), 0..9)) {
            match Value::short_str(&bytes) {
                Some(slot) => match slot.view() {
                    View::Str(short) => prop_assert_eq!(&*short, &bytes[..]),
                    _ => prop_assert!(false),
                },
                None => prop_assert!(bytes.len() > SHORT_MAX),
            }
        }
    }

    #[test]
    fn everyday_floats_fit_and_extremes_do_not() {
        for value in [0.0, -0.0, 1.0, -1.5, 1e-30, 3.4e38, 1e10, f64::from(f32::MIN_POSITIVE)] {
            assert!(Value::float(value).is_some(), "{value}");
        }
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, 1e-300, f64::MIN_POSITIVE / 2.0] {
            assert!(Value::float(value).is_none(), "{value}");
        }
    }

    #[test]
    fn kinds_of_value_never_share_bits() {
        let values = [
            Value::EMPTY,
            Value::NONE,
            Value::TRUE,
            Value::FALSE,
            Value::DELETED,
            Value::small_int(0).unwrap(),
            Value::float(0.0).unwrap(),
            Value::float(-0.0).unwrap(),
            Value::short_str(b"").unwrap(),
            Value::short_bytes(b"").unwrap(),
            Value::reference(Ref::at(8)),
        ];
        for (i, a) in values.iter().enumerate() {
            assert!(values[i + 1..].iter().all(|b| a != b), "{a:?}");
        }
    }
}
