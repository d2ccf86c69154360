//! Plain values: what a program stores, what a heap gives back, and which of them Python calls equal.
//!
//! Nothing here asks the heap's own code: numbers are compared by writing them out in full.

use std::fmt;
use std::rc::Rc;

use subduct_heap::object::{Key, Kind, Outgoing, Scalar, Value, outgoing, tuple};
use subduct_heap::{Op, Retry};

/// A value outside the heap. Floats are bits: -0.0 is not 0.0 here, and a NaN is itself.
#[derive(Clone, PartialEq, Eq)]
pub enum Plain {
    None,
    Bool(bool),
    Int(i64),
    /// Two's complement, little endian.
    Big(Rc<[u8]>),
    Float(u64),
    Str(Rc<[u8]>),
    Bytes(Rc<[u8]>),
    /// In keys only: a tuple that is a value is an object.
    Tuple(Rc<[Plain]>),
}

/// A value in the one form that all values equal to it have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Canonical {
    None,
    /// Two's complement, little endian, as short as can be.
    Integer(Vec<u8>),
    /// Bits of a float that is no integer.
    Fraction(u64),
    Str(Rc<[u8]>),
    Bytes(Rc<[u8]>),
    Tuple(Vec<Canonical>),
}

impl Plain {
    /// The value in the form in which the heap gives it back.
    pub fn stored(&self) -> Self {
        match self {
            Self::Big(bytes) => {
                let bytes = shortest(bytes.to_vec());
                narrow(&bytes).map_or_else(|| Self::Big(bytes.into()), Self::Int)
            }
            Self::Tuple(items) => Self::Tuple(items.iter().map(Self::stored).collect()),
            _ => self.clone(),
        }
    }

    /// `None` for what equals nothing, not even itself: a NaN, and a tuple with one.
    pub fn canonical(&self) -> Option<Canonical> {
        Some(match self {
            Self::None => Canonical::None,
            Self::Bool(value) => Canonical::Integer(shortest(vec![u8::from(*value)])),
            Self::Int(value) => Canonical::Integer(shortest(value.to_le_bytes().to_vec())),
            Self::Big(bytes) => Canonical::Integer(shortest(bytes.to_vec())),
            Self::Float(bits) if f64::from_bits(*bits).is_nan() => return None,
            Self::Float(bits) => integer(f64::from_bits(*bits)).map_or(Canonical::Fraction(*bits), Canonical::Integer),
            Self::Str(bytes) => Canonical::Str(Rc::clone(bytes)),
            Self::Bytes(bytes) => Canonical::Bytes(Rc::clone(bytes)),
            Self::Tuple(items) => Canonical::Tuple(items.iter().map(Self::canonical).collect::<Option<_>>()?),
        })
    }

    /// The value as it is given to the heap.
    pub fn scalar(&self) -> Scalar<'_> {
        match self {
            Self::None => Scalar::None,
            Self::Bool(value) => Scalar::Bool(*value),
            Self::Int(value) => Scalar::Int(*value),
            Self::Big(bytes) => Scalar::Big(bytes),
            Self::Float(bits) => Scalar::Float(f64::from_bits(*bits)),
            Self::Str(bytes) => Scalar::Str(bytes),
            Self::Bytes(bytes) => Scalar::Bytes(bytes),
            Self::Tuple(_) => panic!("{self:?} is no scalar"),
        }
    }

    /// The key as it is given to the heap; an int that fits 64 bits is given as one.
    pub fn key(&self) -> Key<'_> {
        match self {
            Self::None => Key::None,
            Self::Bool(value) => Key::Bool(*value),
            Self::Int(value) => Key::Int(*value),
            Self::Big(bytes) => narrow(&shortest(bytes.to_vec())).map_or(Key::Big(bytes), Key::Int),
            Self::Float(bits) => Key::Float(f64::from_bits(*bits)),
            Self::Str(bytes) => Key::Str(bytes),
            Self::Bytes(bytes) => Key::Bytes(bytes),
            Self::Tuple(items) => {
                let items: Vec<_> = items.iter().map(Self::key).collect();
                Key::tuple(&items).expect("memory for a test's key")
            }
        }
    }

    /// A stored value that is no container.
    pub fn read(op: &mut Op<'_>, value: Value) -> Result<Self, Retry> {
        Ok(match outgoing(op, value)? {
            Outgoing::None => Self::None,
            Outgoing::Bool(value) => Self::Bool(value),
            Outgoing::Int(value) => Self::Int(value),
            Outgoing::Big(bytes) => Self::Big(bytes.as_slice().into()),
            Outgoing::Float(value) => Self::Float(value.to_bits()),
            Outgoing::Str(bytes) => Self::Str(bytes.as_slice().into()),
            Outgoing::Bytes(bytes) => Self::Bytes(bytes.as_slice().into()),
            Outgoing::Container(kind, _) => panic!("a {kind:?} where a plain value belongs"),
        })
    }

    /// A stored key, in which tuples are plain.
    pub fn read_key(op: &mut Op<'_>, value: Value) -> Result<Self, Retry> {
        let Some(object) = value.as_ref().filter(|object| op.header(*object).kind() == Kind::Tuple) else {
            return Self::read(op, value);
        };
        let items = (0..tuple::len(op, object)).map(|i| {
            let item = tuple::get(op, object, i).expect("an item below the length");
            Self::read_key(op, item)
        });
        items.collect::<Result<Vec<_>, _>>().map(|items| Self::Tuple(items.into()))
    }
}

/// Without the high bytes that only repeat the sign; zero is no bytes at all.
fn shortest(mut bytes: Vec<u8>) -> Vec<u8> {
    let is_negative = |bytes: &[u8]| bytes.last().is_some_and(|top| top & 0x80 != 0);
    while let Some((top, rest)) = bytes.split_last() {
        let repeats = if is_negative(rest) { 0xff } else { 0 };
        if *top != repeats {
            break;
        }
        bytes.pop();
    }
    bytes
}

/// An integer in its shortest form, if it fits 64 bits.
fn narrow(bytes: &[u8]) -> Option<i64> {
    let sign = if bytes.last().is_some_and(|top| top & 0x80 != 0) { 0xff } else { 0 };
    let mut word = [sign; 8];
    word.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(i64::from_le_bytes(word))
}

/// 2 to a power, and its negative, and what is near them: two's complement, little endian.
pub fn near_power(exponent: usize, is_negative: bool, nudge: i8) -> Vec<u8> {
    let mut bytes = vec![0; exponent / 8 + 2];
    bytes[exponent / 8] = 1 << (exponent % 8);
    if is_negative {
        negate(&mut bytes);
    }
    let mut carry = 0;
    let extension = if nudge < 0 { 0xff } else { 0 };
    for (i, byte) in bytes.iter_mut().enumerate() {
        let added = if i == 0 { nudge.cast_unsigned() } else { extension };
        let sum = u16::from(*byte) + u16::from(added) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    bytes
}

/// The integer that a float is, if it is one, bit by bit.
fn integer(float: f64) -> Option<Vec<u8>> {
    if !float.is_finite() || float.fract() != 0.0 {
        return None;
    }
    let magnitude = float.abs().to_bits();
    let mantissa = magnitude & ((1 << 52) - 1) | u64::from(magnitude >> 52 != 0) << 52;
    // The mantissa's lowest bit stands for 2**(place - 1075); an integer has no bit below 2**0.
    let place = (magnitude >> 52) as usize;
    let mut bytes = vec![0_u8; 136];
    for bit in (0..53).filter(|bit| mantissa >> bit & 1 != 0) {
        let at = bit + place - 1075;
        bytes[at / 8] |= 1 << (at % 8);
    }
    if float.is_sign_negative() {
        negate(&mut bytes);
    }
    Some(shortest(bytes))
}

/// Negates an integer in place.
fn negate(bytes: &mut [u8]) {
    let lowest = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    for (i, byte) in bytes.iter_mut().enumerate().skip(lowest) {
        *byte = if i == lowest { byte.wrapping_neg() } else { !*byte };
    }
}

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let many = |f: &mut fmt::Formatter<'_>, what: &str, bytes: &[u8]| {
            write!(f, "{what}[{}]", bytes.len())?;
            bytes.iter().take(16).try_for_each(|byte| write!(f, " {byte:02x}"))
        };
        match self {
            Self::None => f.write_str("None"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Big(bytes) => many(f, "int", bytes),
            Self::Float(bits) => write!(f, "{:e} ({bits:#x})", f64::from_bits(*bits)),
            Self::Str(bytes) => many(f, "str", bytes),
            Self::Bytes(bytes) => many(f, "bytes", bytes),
            Self::Tuple(items) => f.debug_list().entries(items.iter()).finish(),
        }
    }
}
