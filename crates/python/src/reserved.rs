//! `_native.Reserved`: a reserved address range, and how arguments name a place for a mapping.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::{PyBufferError, PyValueError};
use pyo3::prelude::*;
use subduct_kernel::page_size;
use subduct_kernel::placement::{Holding, Place};

use crate::errors::Argument::{Address, Bytes};
use crate::errors::refused;

/// A reserved address range; `subduct.kernel.Reservation` is its public face.
#[pyclass(subclass, frozen, weakref, module = "subduct._native")]
pub struct Reserved {
    holding: Mutex<Option<Arc<Holding>>>,
    address: usize,
    length: usize,
}

impl Reserved {
    fn holding(&self) -> PyResult<Arc<Holding>> {
        let holding = self.holding.lock().unwrap_or_else(PoisonError::into_inner);
        holding.clone().ok_or_else(|| PyValueError::new_err("the reservation is closed"))
    }
}

#[pymethods]
impl Reserved {
    #[new]
    #[pyo3(signature = (length, *, hint=0, address=None, align=0))]
    fn new(py: Python<'_>, length: usize, hint: usize, address: Option<usize>, align: usize) -> PyResult<Self> {
        let place = place(hint, address, align, None, 0)?;
        let length = whole_pages(length)?;
        let holding = py.detach(|| Holding::new(length, &place)).map_err(|errno| {
            refused(py, "mmap", &[("address", Address(wanted(&place))), ("length", Bytes(length as u64))], errno)
        })?;
        let address = holding.address();
        Ok(Self { holding: Mutex::new(Some(Arc::new(holding))), address, length })
    }

    /// First address.
    #[getter]
    fn address(&self) -> usize {
        self.address
    }

    /// Length in bytes.
    #[getter]
    fn length(&self) -> usize {
        self.length
    }

    /// Whether it was closed.
    #[getter]
    fn closed(&self) -> bool {
        self.holding().is_err()
    }

    /// Gives the range back. BufferError while mappings lie in it.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let mut holding = self.holding.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = &*holding {
            // A plot in it holds the range as well, also one that is on its way in or out.
            let others = Arc::strong_count(open) - 1;
            if others != 0 {
                let text = format!("cannot close the reservation: it has open mappings ({})", open.taken());
                return Err(PyBufferError::new_err(text));
            }
        }
        let last = holding.take();
        drop(holding);
        py.detach(|| drop(last));
        Ok(())
    }
}

/// The length, if it is one or more whole pages.
pub fn whole_pages(length: usize) -> PyResult<usize> {
    whole(length, page_size())
}

/// The length, if it is one or more whole pages of this size.
pub fn whole(length: usize, page: usize) -> PyResult<usize> {
    if length == 0 || !length.is_multiple_of(page) {
        let text = format!("a length must be a multiple of the page size ({page} bytes) and not 0, not {length}");
        return Err(PyValueError::new_err(text));
    }
    Ok(length)
}

/// The place that keyword arguments name.
pub fn place(
    hint: usize,
    address: Option<usize>,
    align: usize,
    within: Option<&Reserved>,
    at: usize,
) -> PyResult<Place> {
    let page = page_size();
    for (name, number) in [("hint", hint), ("address", address.unwrap_or(0)), ("at", at), ("align", align)] {
        if !number.is_multiple_of(page) {
            let text = format!("{name} must be a multiple of the page size ({page} bytes), not {number:#x}");
            return Err(PyValueError::new_err(text));
        }
    }
    if align != 0 && !align.is_power_of_two() {
        return Err(PyValueError::new_err(format!("align must be a power of two, not {align:#x}")));
    }
    let chosen = usize::from(hint != 0)
        + usize::from(address.is_some())
        + usize::from(align != 0)
        + usize::from(within.is_some());
    if chosen > 1 || (within.is_none() && at != 0) {
        return Err(PyValueError::new_err("pass one of address=, hint=, align= and within= (with at=)"));
    }
    Ok(match (within, address) {
        (Some(reservation), _) => Place::In(reservation.holding()?, at),
        (_, Some(address)) => Place::At(address),
        _ if align != 0 => Place::Aligned(align),
        _ => Place::Anywhere(hint),
    })
}

/// The address that was asked for, for an error.
pub fn wanted(place: &Place) -> u64 {
    match place {
        Place::Anywhere(address) | Place::At(address) => *address as u64,
        Place::Aligned(_) => 0,
        Place::In(holding, at) => (holding.address() + at) as u64,
    }
}
