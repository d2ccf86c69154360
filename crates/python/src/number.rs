//! Ints that do not fit 64 bits, as bytes: two's complement, little endian, shortest form.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyInt};

use crate::constant::name;
use crate::cpython;
use crate::turn;

fn signed(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let keywords = PyDict::new(py);
    keywords.set_item(name!(py, "signed"), true)?;
    Ok(keywords)
}

/// The bytes of an int that does not fit 64 bits. O(bits).
pub fn to_bytes(int: &Bound<'_, PyInt>) -> PyResult<Vec<u8>> {
    let py = int.py();
    let bits: usize = int.call_method0(name!(py, "bit_length"))?.extract()?;
    let arguments = (bits / 8 + 1, name!(py, "little"));
    let bytes = int.call_method(name!(py, "to_bytes"), arguments, Some(&signed(py)?))?;
    let bytes = bytes.cast_into::<PyBytes>()?;
    let bytes = shortest(bytes.as_bytes());
    let mut copied = turn::with_room(bytes.len())?;
    copied.extend_from_slice(bytes);
    Ok(copied)
}

/// Without the last byte where it only repeats the sign, as for -2**71, whose bit length leaves no bit for it.
fn shortest(bytes: &[u8]) -> &[u8] {
    match bytes {
        [rest @ .., before, 0xff] if *before >= 0x80 => &bytes[..=rest.len()],
        [rest @ .., before, 0x00] if *before < 0x80 => &bytes[..=rest.len()],
        _ => bytes,
    }
}

/// The int with these bytes. O(bytes).
pub fn from_bytes<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let arguments = (cpython::bytes(py, bytes)?, name!(py, "little"));
    py.get_type::<PyInt>().call_method(name!(py, "from_bytes"), arguments, Some(&signed(py)?))
}
