//! `_native.Span`: mapped memory with a lifetime, and the buffer protocol over it.
//!
//! What a buffer shows stays mapped and accessible while the buffer lives: whatever would change that raises BufferError. A
//! change of a mapping takes the [`Plot`] out of the state while the kernel works, so that no lock is held over a system call,
//! which may wait for somebody who needs the GIL.

use std::os::raw::c_int;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::{PyBufferError, PyMemoryError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use subduct_kernel::placement::{Failure, Place, Plot};
use subduct_kernel::{huge, raw};

use crate::cpython;
use crate::errors::Argument::{Address, Bits, Bytes, Number};
use crate::errors::refused;
use crate::reserved::{Reserved, place, wanted, whole};
use crate::syscalls::call;

const READ: u64 = 1;
const WRITE: u64 = 2;

struct State {
    plot: Option<Arc<Plot>>,
    /// A call that changes the mapping is running.
    changing: bool,
    prot: u64,
    exports: usize,
    writable_exports: usize,
    address: usize,
    length: usize,
}

/// Mapped memory; `subduct.kernel.Mapping` is its public face.
#[pyclass(subclass, frozen, weakref, module = "subduct._native")]
pub struct Span {
    state: Mutex<State>,
    flags: u64,
    /// Bytes of a page of what is mapped.
    unit: usize,
}

impl Span {
    fn owner_of(plot: Plot, prot: u64, flags: u64, unit: usize) -> Self {
        let (address, length) = (plot.address(), plot.length());
        let plot = Some(Arc::new(plot));
        let state = State { plot, changing: false, prot, exports: 0, writable_exports: 0, address, length };
        Self { state: Mutex::new(state), flags, unit }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The mapping, for a use that leaves it in place. It cannot go away while the result lives.
    fn used(&self) -> PyResult<Arc<Plot>> {
        self.state().plot()
    }

    /// The part, for a use as in [`Span::used`], if it lies in the mapping and allows `access`.
    fn part(&self, offset: usize, length: usize, access: u64) -> PyResult<(Arc<Plot>, usize)> {
        let state = self.state();
        let plot = state.plot()?;
        if offset > plot.length() || length > plot.length() - offset {
            let text = format!("offset {offset} and length {length} leave the mapping of {} bytes", plot.length());
            return Err(PyValueError::new_err(text));
        }
        if state.prot & access != access {
            return Err(PyValueError::new_err("the mapping's protection does not allow this access"));
        }
        let address = plot.address() + offset;
        Ok((plot, address))
    }

    /// Takes the mapping out for a change; `put` ends the change.
    fn take(&self, what: &str) -> PyResult<Plot> {
        let mut state = self.state();
        let plot = state.plot()?;
        if state.exports != 0 {
            let text = format!("cannot {what} a mapping with exported buffers ({})", state.exports);
            return Err(PyBufferError::new_err(text));
        }
        drop(plot);
        let Some(plot) = state.plot.take() else { return Err(closed()) };
        match Arc::try_unwrap(plot) {
            Ok(plot) => {
                state.changing = true;
                Ok(plot)
            }
            Err(shared) => {
                state.plot = Some(shared);
                Err(PyBufferError::new_err(format!("cannot {what} a mapping that another thread uses right now")))
            }
        }
    }

    fn put(&self, plot: Option<Plot>) {
        let mut state = self.state();
        if let Some(plot) = &plot {
            (state.address, state.length) = (plot.address(), plot.length());
        }
        state.plot = plot.map(Arc::new);
        state.changing = false;
    }

    fn change(
        &self,
        py: Python<'_>,
        what: &str,
        change: impl FnOnce(&mut Plot) -> Result<(), Failure> + Send,
    ) -> PyResult<Result<(), Failure>> {
        let mut plot = self.take(what)?;
        let (plot, outcome) = py.detach(|| {
            let outcome = change(&mut plot);
            (plot, outcome)
        });
        self.put(Some(plot));
        Ok(outcome)
    }
}

impl State {
    fn plot(&self) -> PyResult<Arc<Plot>> {
        if self.changing {
            return Err(PyBufferError::new_err("another thread is changing this mapping"));
        }
        let plot = self.plot.clone().ok_or_else(closed)?;
        if plot.is_here() {
            Ok(plot)
        } else {
            Err(PyValueError::new_err(
                "this process does not have the mapping: it was forked after MADV_DONTFORK, which serve() sets while it fills the pages",
            ))
        }
    }
}

#[pymethods]
impl Span {
    #[new]
    #[pyo3(signature = (length, prot, flags, fd=None, offset=0, *, hint=0, address=None, align=0, within=None, at=0, source=None))]
    #[expect(clippy::too_many_arguments, reason = "mmap has six, and there are four kinds of place")]
    fn new(
        py: Python<'_>,
        length: usize,
        prot: u64,
        flags: u64,
        fd: Option<i32>,
        offset: i64,
        hint: usize,
        address: Option<usize>,
        align: usize,
        within: Option<&Reserved>,
        at: usize,
        source: Option<&Self>,
    ) -> PyResult<Self> {
        let place = place(hint, address, align, within, at)?;
        if flags & (libc_flags::FIXED | libc_flags::FIXED_NOREPLACE) != 0 {
            return Err(PyValueError::new_err("a place is chosen by address=, hint=, align= or within=, not by flags"));
        }
        if let Some(source) = source {
            let plot = source.used()?;
            let moved = py.detach(|| plot.move_out(&place));
            let (from, length) = (plot.address(), plot.length());
            drop(plot);
            let moved = moved.map_err(|failure| move_failed(py, failure, from, length, length, MOVE_KEEP, &place))?;
            let prot = source.state().prot;
            return Ok(Self::owner_of(moved, prot, source.flags, source.unit));
        }
        let fd = fd.unwrap_or(-1);
        let unit = huge::unit(flags, fd).ok_or_else(|| {
            PyValueError::new_err("/proc/meminfo does not tell how large a huge page is: choose a size, as HUGE_2MB")
        })?;
        let length = whole(length, unit)?;
        let mapped = py.detach(|| Plot::map(&place, length, prot, flags, fd, offset));
        let plot = mapped.map_err(|failure| match failure {
            Failure::Taken => taken(&place, length),
            Failure::Refused(errno) => refused(
                py,
                "mmap",
                &[
                    ("address", Address(wanted(&place))),
                    ("length", Bytes(length as u64)),
                    ("prot", Bits(prot)),
                    ("flags", Bits(flags)),
                    ("fd", Number(fd.into())),
                    ("offset", Number(offset)),
                ],
                errno,
            ),
        })?;
        Ok(Self::owner_of(plot, prot, flags, unit))
    }

    /// First address; the last one it had where it is closed.
    #[getter]
    fn address(&self) -> usize {
        self.state().address
    }

    /// Length in bytes.
    #[getter]
    fn length(&self) -> usize {
        self.state().length
    }

    /// Whether it was closed.
    #[getter]
    fn closed(&self) -> bool {
        let state = self.state();
        state.plot.is_none() && !state.changing
    }

    /// Whether this process has it: not where it is closed, nor in a child that was forked after MADV_DONTFORK.
    #[getter(_here)]
    fn here(&self) -> bool {
        let state = self.state();
        state.changing || state.plot.as_ref().is_some_and(|plot| plot.is_here())
    }

    /// Whether children that are forked from now on have it, too.
    #[getter(_inherited)]
    fn inherited(&self) -> PyResult<bool> {
        Ok(self.used()?.is_inherited())
    }

    /// Buffers that show it right now.
    #[getter]
    fn exports(&self) -> usize {
        self.state().exports
    }

    #[getter(_prot)]
    fn prot(&self) -> u64 {
        self.state().prot
    }

    #[getter(_flags)]
    fn flags(&self) -> u64 {
        self.flags
    }

    fn _move(
        &self,
        py: Python<'_>,
        hint: usize,
        address: Option<usize>,
        align: usize,
        within: Option<&Reserved>,
        at: usize,
    ) -> PyResult<()> {
        let place = place(hint, address, align, within, at)?;
        let (from, length) = (self.address(), self.length());
        self.change(py, "move", |plot| plot.move_to(&place))?
            .map_err(|failure| move_failed(py, failure, from, length, length, MOVE_KEEP & !4, &place))
    }

    fn _resize(&self, py: Python<'_>, length: usize, may_move: bool) -> PyResult<()> {
        let length = whole(length, self.unit)?;
        let (from, old) = (self.address(), self.length());
        self.change(py, "resize", |plot| plot.resize(length, may_move))?.map_err(|failure| match failure {
            Failure::Taken => PyValueError::new_err(
                "a mapping in a reservation cannot grow where it is: move it, or map the part behind it",
            ),
            failure => move_failed(py, failure, from, old, length, may_move.into(), &Place::Anywhere(0)),
        })
    }

    fn _protect(&self, py: Python<'_>, prot: u64) -> PyResult<()> {
        let (address, length) = {
            let mut state = self.state();
            let plot = state.plot()?;
            let loses = |access: u64, exports: usize| prot & access == 0 && exports != 0;
            if loses(READ, state.exports) || loses(WRITE, state.writable_exports) {
                return Err(PyBufferError::new_err("exported buffers need the access that this protection takes away"));
            }
            // One of them is `plot`.
            if state.prot & !prot != 0 && state.plot.as_ref().is_some_and(|plot| Arc::strong_count(plot) > 2) {
                return Err(PyBufferError::new_err(
                    "cannot take access to a mapping that another thread uses right now",
                ));
            }
            // Nobody begins to use it until the protection is known.
            state.changing = true;
            (plot.address(), plot.length())
        };
        let arguments = [("address", Address(address as u64)), ("length", Bytes(length as u64)), ("prot", Bits(prot))];
        // SAFETY: the range is ours, and nobody relies on an access that goes: buffers and other users were counted above.
        let outcome = call("mprotect", &arguments).run(py, || unsafe { raw::memory::mprotect(address, length, prot) });
        let mut state = self.state();
        state.changing = false;
        if outcome.is_ok() {
            state.prot = prot;
        }
        outcome
    }

    fn _advise(&self, py: Python<'_>, advice: i32, offset: usize, length: usize) -> PyResult<()> {
        let (plot, address) = self.part(offset, length, 0)?;
        let arguments =
            [("address", Address(address as u64)), ("length", Bytes(length as u64)), ("advice", Number(advice.into()))];
        call("madvise", &arguments).run(py, || plot.advise(offset, length, advice))
    }

    /// The bytes of a part. The GIL is released meanwhile, so a thread that waits for a userfaultfd here stops no other.
    fn read(&self, py: Python<'_>, offset: usize, length: usize) -> PyResult<Py<PyBytes>> {
        let (plot, address) = self.part(offset, length, READ)?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(length).map_err(|_| PyMemoryError::new_err(format!("no memory for {length} bytes")))?;
        bytes.resize(length, 0);
        // SAFETY: the part lies in a readable mapping that `plot` keeps where it is.
        py.detach(|| unsafe { raw::access::load(address, &mut bytes) });
        drop(plot);
        cpython::bytes(py, &bytes).map(Bound::unbind)
    }

    /// Writes bytes to a part. The GIL is released as in read().
    fn write(&self, py: Python<'_>, offset: usize, data: &[u8]) -> PyResult<()> {
        let (plot, address) = self.part(offset, data.len(), WRITE)?;
        // SAFETY: the part lies in a writable mapping that `plot` keeps where it is.
        py.detach(|| unsafe { raw::access::store(address, data) });
        drop(plot);
        Ok(())
    }

    /// Unmaps the memory. Nothing happens where it is closed; BufferError while buffers show it.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        if self.closed() {
            return Ok(());
        }
        {
            let mut state = self.state();
            if state.plot.as_ref().is_some_and(|plot| !plot.is_here()) {
                state.plot = None;
                return Ok(());
            }
        }
        let (address, length) = (self.address(), self.length());
        let mut plot = Some(self.take("close")?);
        let outcome = py.detach(|| plot.take().map_or(Ok(()), Plot::close));
        self.put(None);
        let arguments = [("address", Address(address as u64)), ("length", Bytes(length as u64))];
        outcome.map_err(|errno| refused(py, "munmap", &arguments, errno))
    }

    fn __len__(&self) -> usize {
        self.length()
    }

    /// # Safety
    /// As the buffer protocol says: `view` is a buffer to be filled.
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let mut state = slf.get().state();
        let plot = state.plot()?;
        if state.prot & READ == 0 {
            return Err(PyBufferError::new_err("the mapping's protection allows no reading"));
        }
        let readonly = state.prot & WRITE == 0;
        let length = isize::try_from(plot.length())?;
        let address = plot.address() as *mut std::ffi::c_void;
        // SAFETY: `view` is ours to fill; the memory stays mapped while `exports` is not 0, and `slf` while the buffer lives.
        let filled =
            unsafe { ffi::PyBuffer_FillInfo(view, slf.as_ptr(), address, length, c_int::from(readonly), flags) };
        if filled != 0 {
            return Err(PyErr::fetch(slf.py()));
        }
        state.exports += 1;
        state.writable_exports += usize::from(!readonly);
        Ok(())
    }

    /// # Safety
    /// As the buffer protocol says: `view` was filled by `__getbuffer__` and is released once.
    unsafe fn __releasebuffer__(&self, view: *mut ffi::Py_buffer) {
        // SAFETY: the caller's promise.
        let readonly = unsafe { (*view).readonly } != 0;
        let mut state = self.state();
        state.exports -= 1;
        state.writable_exports -= usize::from(!readonly);
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let plot = self.state().plot.take();
        // Unmapping may wait for somebody who reads the userfaultfd's events, and who may need the GIL for that.
        let mut waiting = Some(plot);
        if Python::try_attach(|py| py.detach(|| drop(waiting.take()))).is_none() {
            drop(waiting);
        }
    }
}

/// Flags that choose a place.
mod libc_flags {
    pub const FIXED: u64 = 0x10;
    pub const FIXED_NOREPLACE: u64 = 0x10_0000;
}

/// MAYMOVE, FIXED and DONTUNMAP of mremap(2).
const MOVE_KEEP: u64 = 7;

fn closed() -> PyErr {
    PyValueError::new_err("the mapping is closed")
}

fn taken(place: &Place, length: usize) -> PyErr {
    let Place::In(holding, at) = place else { return PyValueError::new_err("no room") };
    let whole = holding.length();
    let text = if at.checked_add(length).is_none_or(|end| end > whole) {
        format!("offset {at:#x} and length {length} leave the reservation of {whole} bytes")
    } else {
        format!("offset {at:#x} and length {length} overlap a mapping in the reservation")
    };
    PyValueError::new_err(text)
}

fn move_failed(
    py: Python<'_>,
    failure: Failure,
    from: usize,
    length: usize,
    new_length: usize,
    flags: u64,
    place: &Place,
) -> PyErr {
    let Failure::Refused(errno) = failure else { return taken(place, new_length) };
    if errno == EEXIST {
        // The claim of a place comes first, and its error is one of mmap's.
        let arguments = [("address", Address(wanted(place))), ("length", Bytes(new_length as u64))];
        return refused(py, "mmap", &arguments, errno);
    }
    let arguments = [
        ("old_address", Address(from as u64)),
        ("old_length", Bytes(length as u64)),
        ("new_length", Bytes(new_length as u64)),
        ("flags", Bits(flags)),
        ("new_address", Address(wanted(place))),
    ];
    refused(py, "mremap", &arguments, errno)
}

const EEXIST: i32 = 17;
