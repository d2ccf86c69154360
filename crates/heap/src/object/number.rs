//! Numbers as Python compares them: by value, whatever form they are stored in, and exactly.
//!
//! `1 == 1.0 == True`, `2**70 == float(2**70)`, but `2**53 + 1 != float(2**53)`: a float is never rounded to compare
//! it, it is turned into the integer it is, or into none.

/// A number from outside or from the heap. `Big` is an int of more than 64 bits in its shortest form; one that fits 64
/// bits is always `Int`, so that equal ints have equal forms.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number<'a> {
    /// An int that fits 64 bits; bools too.
    Int(i64),
    /// An int that does not: two's complement, little endian.
    Big(&'a [u8]),
    /// A float.
    Float(f64),
}

/// A number in the one form that all numbers equal to it have.
pub(super) enum Canonical<'a> {
    /// An integer that fits 64 bits.
    Int(i64),
    /// An integer that does not, from an int.
    Big(&'a [u8]),
    /// An integer that does not, from a float.
    Wide(WideInteger),
    /// Bits of a float that is no integer: a fraction or an infinity.
    Fraction(u64),
}

impl<'a> Number<'a> {
    /// The int with these two's complement little-endian bytes, shortest form or not. O(length).
    pub(super) fn from_bytes(bytes: &'a [u8]) -> Self {
        narrow(bytes).map_or(Self::Big(shortest(bytes)), Self::Int)
    }

    /// Whether the two are the same number; NaN is not even itself. O(1), for large ints O(length).
    pub(super) fn equals(self, other: Number<'_>) -> bool {
        match (self, other) {
            (Number::Int(a), Number::Int(b)) => a == b,
            (Number::Float(a), Number::Float(b)) => a == b,
            (Number::Big(a), Number::Big(b)) => a == b,
            (Number::Int(int), Number::Float(float)) | (Number::Float(float), Number::Int(int)) => {
                narrow_integer(float) == Some(int)
            }
            (Number::Big(big), Number::Float(float)) | (Number::Float(float), Number::Big(big)) => {
                WideInteger::from_float(float).is_some_and(|wide| wide.bytes() == big)
            }
            (Number::Int(_), Number::Big(_)) | (Number::Big(_), Number::Int(_)) => false,
        }
    }

    /// The form that all numbers equal to this one have; `None` for NaN, which equals none. O(1).
    pub(super) fn canonical(self) -> Option<Canonical<'a>> {
        match self {
            Self::Int(int) => Some(Canonical::Int(int)),
            Self::Big(bytes) => Some(Canonical::Big(bytes)),
            Self::Float(float) if float.is_nan() => None,
            Self::Float(float) => Some(
                narrow_integer(float)
                    .map(Canonical::Int)
                    .or_else(|| WideInteger::from_float(float).map(Canonical::Wide))
                    .unwrap_or(Canonical::Fraction(float.to_bits())),
            ),
        }
    }
}

/// 2**63: the first float above every `i64`.
const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;

/// The integer that `float` is, if it is one and fits 64 bits.
fn narrow_integer(float: f64) -> Option<i64> {
    let fits = (-TWO_TO_63..TWO_TO_63).contains(&float) && float.trunc() == float;
    // In range and integral, so the cast rounds nothing.
    fits.then_some(float as i64)
}

/// Longest two's complement form of a float: 1024 bits and the sign, and room to write the last word of the mantissa
/// whole.
const WIDE_BYTES: usize = 136;

/// The integer that a large float is.
pub(super) struct WideInteger {
    bytes: [u8; WIDE_BYTES],
    length: usize,
}

impl WideInteger {
    /// The integer that `float` is, if it is finite and beyond 64 bits; all such floats are integers.
    fn from_float(float: f64) -> Option<Self> {
        if !float.is_finite() || (-TWO_TO_63..TWO_TO_63).contains(&float) {
            return None;
        }
        let bits = float.to_bits();
        let mantissa = (bits & ((1 << 52) - 1)) | 1 << 52;
        // The mantissa counts units of 2**shift, and as the number is at least 2**63, the shift is at least 11.
        let shift = (bits >> 52 & 0x7ff) as usize - 1075;
        let mut bytes = [0; WIDE_BYTES];
        let first = shift / 8;
        bytes[first..first + 8].copy_from_slice(&(mantissa << (shift % 8)).to_le_bytes());
        if float < 0.0 {
            negate(&mut bytes);
        }
        let length = shortest(&bytes).len();
        Some(Self { bytes, length })
    }

    /// Two's complement, little endian, shortest form.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Negates a two's complement little-endian integer in place.
fn negate(bytes: &mut [u8]) {
    let mut carry = true;
    for byte in bytes {
        (*byte, carry) = (!*byte).overflowing_add(u8::from(carry));
    }
}

/// The byte that repeats endlessly above a two's complement integer.
fn sign_byte(bytes: &[u8]) -> u8 {
    if bytes.last().is_some_and(|top| top & 0x80 != 0) { 0xff } else { 0 }
}

/// The int with these two's complement little-endian bytes, shortest form or not, if it fits 64 bits. O(length).
pub(super) fn narrow(bytes: &[u8]) -> Option<i64> {
    let bytes = shortest(bytes);
    let mut word = [sign_byte(bytes); 8];
    word.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(i64::from_le_bytes(word))
}

/// A two's complement little-endian integer without the high bytes that only repeat its sign; zero is no bytes at all.
/// O(length).
pub(super) fn shortest(bytes: &[u8]) -> &[u8] {
    let sign = sign_byte(bytes);
    let mut length = bytes.iter().rposition(|byte| *byte != sign).map_or(0, |last| last + 1);
    // The top bit of what is left must still say the sign.
    if sign_byte(&bytes[..length]) != sign {
        length += 1;
    }
    &bytes[..length]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn big(bytes: &[u8]) -> Number<'_> {
        Number::from_bytes(bytes)
    }

    #[test]
    fn floats_are_compared_exactly() {
        let two_to_53 = 9_007_199_254_740_992_i64;
        assert!(Number::Int(two_to_53).equals(Number::Float(two_to_53 as f64)));
        assert!(!Number::Int(two_to_53 + 1).equals(Number::Float(two_to_53 as f64)));
        assert!(!Number::Int(i64::MAX).equals(Number::Float(TWO_TO_63)));
        assert!(Number::Int(i64::MIN).equals(Number::Float(-TWO_TO_63)));
        assert!(Number::Int(0).equals(Number::Float(-0.0)));
        assert!(!Number::Int(0).equals(Number::Float(f64::MIN_POSITIVE)));
        assert!(!Number::Float(f64::NAN).equals(Number::Float(f64::NAN)));
        assert!(Number::Float(f64::INFINITY).equals(Number::Float(f64::INFINITY)));
    }

    #[test]
    fn large_ints_equal_the_floats_that_are_them() {
        let mut two_to_70 = [0; 9];
        two_to_70[8] = 0x40;
        assert!(big(&two_to_70).equals(Number::Float(2_f64.powi(70))));
        assert!(!big(&two_to_70).equals(Number::Float(-(2_f64.powi(70)))));
        let mut minus_two_to_70 = [0; 9];
        minus_two_to_70[8] = 0xc0;
        assert!(big(&minus_two_to_70).equals(Number::Float(-(2_f64.powi(70)))));
        assert!(!big(&two_to_70).equals(Number::Float(f64::INFINITY)));
        let largest = WideInteger::from_float(f64::MAX).unwrap();
        assert_eq!(largest.bytes().len(), 129);
        assert!(big(largest.bytes()).equals(Number::Float(f64::MAX)));
    }

    #[test]
    fn equal_numbers_have_one_canonical_form() {
        let mut two_to_63 = [0; 9];
        two_to_63[7] = 0x80;
        let Some(Canonical::Wide(wide)) = Number::Float(TWO_TO_63).canonical() else { panic!("not wide") };
        assert_eq!(wide.bytes(), two_to_63);
        assert!(matches!(Number::Float(-0.0).canonical(), Some(Canonical::Int(0))));
        assert!(matches!(Number::Float(0.5).canonical(), Some(Canonical::Fraction(_))));
        assert!(Number::Float(f64::NAN).canonical().is_none());
    }

    proptest! {
        #[test]
        fn bytes_of_an_int_are_the_int(int: i64, padding in 0_usize..9) {
            let mut bytes = int.to_le_bytes().to_vec();
            bytes.resize(8 + padding, sign_byte(&bytes));
            prop_assert!(matches!(Number::from_bytes(&bytes), Number::Int(back) if back == int));
            let shortest = shortest(&bytes);
            let bits = 65 - if int < 0 { int.leading_ones() } else { int.leading_zeros() };
            prop_assert_eq!(shortest.len(), if int == 0 { 0 } else { bits.div_ceil(8) as usize });
        }

        #[test]
        fn wide_floats_are_the_integers_that_128_bits_say(bits: u64, exponent in 1086_u64..1149) {
            let float = f64::from_bits((bits & !(0x7ff << 52)) | exponent << 52);
            let wide = WideInteger::from_float(float).unwrap();
            let bytes = (float as i128).to_le_bytes();
            prop_assert_eq!(wide.bytes(), shortest(&bytes));
        }

        #[test]
        fn ints_equal_floats_when_wider_integers_do(int: i64, nudge in -2_i64..3) {
            let float = int.saturating_add(nudge) as f64;
            prop_assert_eq!(Number::Int(int).equals(Number::Float(float)), i128::from(int) == float as i128);
        }
    }
}
