//! The bare system calls for Python: nothing is checked, the GIL is released, a failure is a `KernelError`. Python code that
//! calls these can break its own process; `subduct.kernel` has the objects that do not let it.

use std::ffi::CString;

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyBufferError, PyMemoryError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use subduct_kernel::raw;

use crate::cpython;
use crate::errors::Argument::{Address, Bits, Bytes, Number, Text};
use crate::errors::{Argument, refused};

/// One call and what it was given, for its error.
pub struct Call<'a> {
    name: &'static str,
    arguments: &'a [(&'static str, Argument<'a>)],
}

/// A call by its name and its arguments in order.
pub fn call<'a>(name: &'static str, arguments: &'a [(&'static str, Argument<'a>)]) -> Call<'a> {
    Call { name, arguments }
}

impl Call<'_> {
    /// Runs it once, without the GIL.
    pub fn run<T: Send>(&self, py: Python<'_>, system_call: impl Fn() -> raw::Result<T> + Send) -> PyResult<T> {
        py.detach(system_call).map_err(|errno| refused(py, self.name, self.arguments, errno))
    }

    /// As [`Call::run`], again after each signal, once Python has handled it (PEP 475).
    fn run_through_signals<T: Send>(
        &self,
        py: Python<'_>,
        system_call: impl Fn() -> raw::Result<T> + Send + Sync,
    ) -> PyResult<T> {
        loop {
            match py.detach(&system_call) {
                Err(raw::INTERRUPTED) => py.check_signals()?,
                Err(errno) => return Err(refused(py, self.name, self.arguments, errno)),
                Ok(result) => return Ok(result),
            }
        }
    }
}

fn zeroed(length: usize) -> PyResult<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length).map_err(|_| PyMemoryError::new_err(format!("no memory for {length} bytes")))?;
    bytes.resize(length, 0);
    Ok(bytes)
}

/// mmap(2): the address of the new mapping.
#[pyfunction]
#[pyo3(
    signature = (address, length, prot, flags, fd=-1, offset=0),
    text_signature = "(address, length, prot, flags, fd=-1, offset=0)"
)]
fn sys_mmap(
    py: Python<'_>,
    address: usize,
    length: usize,
    prot: u64,
    flags: u64,
    fd: i32,
    offset: i64,
) -> PyResult<usize> {
    call(
        "mmap",
        &[
            ("address", Address(address as u64)),
            ("length", Bytes(length as u64)),
            ("prot", Bits(prot)),
            ("flags", Bits(flags)),
            ("fd", Number(fd.into())),
            ("offset", Number(offset)),
        ],
    )
    // SAFETY: as the module says: the Python caller answers for the range.
    .run(py, || unsafe { raw::memory::mmap(address, length, prot, flags, fd, offset) })
}

/// munmap(2).
#[pyfunction]
fn sys_munmap(py: Python<'_>, address: usize, length: usize) -> PyResult<()> {
    call("munmap", &[("address", Address(address as u64)), ("length", Bytes(length as u64))])
        // SAFETY: as the module says: the Python caller answers for the range.
        .run(py, || unsafe { raw::memory::munmap(address, length) })
}

/// mremap(2), all five arguments: the new address.
#[pyfunction]
#[pyo3(signature = (old_address, old_length, new_length, flags, new_address=0))]
fn sys_mremap(
    py: Python<'_>,
    old_address: usize,
    old_length: usize,
    new_length: usize,
    flags: u64,
    new_address: usize,
) -> PyResult<usize> {
    call(
        "mremap",
        &[
            ("old_address", Address(old_address as u64)),
            ("old_length", Bytes(old_length as u64)),
            ("new_length", Bytes(new_length as u64)),
            ("flags", Bits(flags)),
            ("new_address", Address(new_address as u64)),
        ],
    )
    // SAFETY: as the module says: the Python caller answers for both ranges.
    .run(py, || unsafe { raw::memory::mremap(old_address, old_length, new_length, flags, new_address) })
}

/// madvise(2).
#[pyfunction]
fn sys_madvise(py: Python<'_>, address: usize, length: usize, advice: i32) -> PyResult<()> {
    let arguments =
        [("address", Address(address as u64)), ("length", Bytes(length as u64)), ("advice", Number(advice.into()))];
    // SAFETY: as the module says: the Python caller answers for the range.
    call("madvise", &arguments).run(py, || unsafe { raw::memory::madvise(address, length, advice) })
}

/// mprotect(2).
#[pyfunction]
fn sys_mprotect(py: Python<'_>, address: usize, length: usize, prot: u64) -> PyResult<()> {
    let arguments = [("address", Address(address as u64)), ("length", Bytes(length as u64)), ("prot", Bits(prot))];
    // SAFETY: as the module says: the Python caller answers for the range.
    call("mprotect", &arguments).run(py, || unsafe { raw::memory::mprotect(address, length, prot) })
}

/// mlock(2).
#[pyfunction]
fn sys_mlock(py: Python<'_>, address: usize, length: usize) -> PyResult<()> {
    call("mlock", &[("address", Address(address as u64)), ("length", Bytes(length as u64))])
        .run(py, || raw::memory::mlock(address, length))
}

/// munlock(2).
#[pyfunction]
fn sys_munlock(py: Python<'_>, address: usize, length: usize) -> PyResult<()> {
    call("munlock", &[("address", Address(address as u64)), ("length", Bytes(length as u64))])
        .run(py, || raw::memory::munlock(address, length))
}

/// mseal(2), Linux 6.10.
#[pyfunction]
fn sys_mseal(py: Python<'_>, address: usize, length: usize) -> PyResult<()> {
    call("mseal", &[("address", Address(address as u64)), ("length", Bytes(length as u64))])
        .run(py, || raw::memory::mseal(address, length))
}

/// mincore(2): a byte for each page, its lowest bit set where the page is resident.
#[pyfunction]
fn sys_mincore(py: Python<'_>, address: usize, length: usize) -> PyResult<Bound<'_, PyBytes>> {
    call("mincore", &[("address", Address(address as u64)), ("length", Bytes(length as u64))])
        .run(py, || raw::memory::mincore(address, length))
        .and_then(|resident| cpython::bytes(py, &resident))
}

/// memfd_create(2): a descriptor.
#[pyfunction]
fn sys_memfd_create(py: Python<'_>, name: &str, flags: u32) -> PyResult<i32> {
    let text = CString::new(name).map_err(|_| PyValueError::new_err("embedded null byte in the name"))?;
    call("memfd_create", &[("name", Text(name)), ("flags", Bits(flags.into()))])
        .run(py, || raw::memfd::create(&text, flags))
}

/// ftruncate(2).
#[pyfunction]
fn sys_ftruncate(py: Python<'_>, fd: i32, length: i64) -> PyResult<()> {
    call("ftruncate", &[("fd", Number(fd.into())), ("length", Number(length))])
        .run_through_signals(py, || raw::memfd::ftruncate(fd, length))
}

/// fallocate(2).
#[pyfunction]
fn sys_fallocate(py: Python<'_>, fd: i32, mode: i32, offset: i64, length: i64) -> PyResult<()> {
    call(
        "fallocate",
        &[
            ("fd", Number(fd.into())),
            ("mode", Bits(u64::from(mode.cast_unsigned()))),
            ("offset", Number(offset)),
            ("length", Number(length)),
        ],
    )
    .run_through_signals(py, || raw::memfd::fallocate(fd, mode, offset, length))
}

/// fcntl(F_ADD_SEALS).
#[pyfunction]
fn sys_add_seals(py: Python<'_>, fd: i32, seals: u32) -> PyResult<()> {
    call("fcntl(F_ADD_SEALS)", &[("fd", Number(fd.into())), ("seals", Bits(seals.into()))])
        .run(py, || raw::memfd::add_seals(fd, seals))
}

/// fcntl(F_GET_SEALS).
#[pyfunction]
fn sys_get_seals(py: Python<'_>, fd: i32) -> PyResult<u32> {
    call("fcntl(F_GET_SEALS)", &[("fd", Number(fd.into()))]).run(py, || raw::memfd::get_seals(fd))
}

/// The bytes at an address, with plain loads. Where they cannot be read the process gets SIGSEGV or SIGBUS.
#[pyfunction]
fn sys_load(py: Python<'_>, address: usize, length: usize) -> PyResult<Bound<'_, PyBytes>> {
    let mut bytes = zeroed(length)?;
    // SAFETY: as the module says: the Python caller answers for the range.
    py.detach(|| unsafe { raw::access::load(address, &mut bytes) });
    cpython::bytes(py, &bytes)
}

/// Writes bytes to an address, with plain stores. Where they cannot be written the process gets SIGSEGV or SIGBUS.
#[pyfunction]
fn sys_store(py: Python<'_>, address: usize, data: &[u8]) {
    // SAFETY: as the module says: the Python caller answers for the range.
    py.detach(|| unsafe { raw::access::store(address, data) });
}

/// The bytes at an address, through the kernel: KernelError(EFAULT) where they cannot be read.
#[pyfunction]
fn sys_peek(py: Python<'_>, address: usize, length: usize) -> PyResult<Bound<'_, PyBytes>> {
    let mut bytes = zeroed(length)?;
    let read = py.detach(|| raw::access::peek(address, &mut bytes));
    let arguments = [("address", Address(address as u64)), ("length", Bytes(length as u64))];
    read.map_err(|errno| refused(py, "process_vm_readv", &arguments, errno))?;
    cpython::bytes(py, &bytes)
}

/// Writes bytes to an address, through the kernel: KernelError(EFAULT) where they cannot be written.
#[pyfunction]
fn sys_poke(py: Python<'_>, address: usize, data: &[u8]) -> PyResult<()> {
    call("process_vm_writev", &[("address", Address(address as u64)), ("length", Bytes(data.len() as u64))])
        // SAFETY: as the module says: the Python caller answers for the range.
        .run(py, || unsafe { raw::access::poke(address, data) })
}

/// userfaultfd(2): a descriptor.
#[pyfunction]
fn sys_userfaultfd(py: Python<'_>, flags: i32) -> PyResult<i32> {
    call("userfaultfd", &[("flags", Bits(u64::from(flags.cast_unsigned())))]).run(py, || raw::uffd::create(flags))
}

/// USERFAULTFD_IOC_NEW on an open /dev/userfaultfd, Linux 6.1: a descriptor.
#[pyfunction]
fn sys_uffd_new(py: Python<'_>, device: i32, flags: i32) -> PyResult<i32> {
    let arguments = [("device", Number(device.into())), ("flags", Bits(u64::from(flags.cast_unsigned())))];
    call("ioctl(USERFAULTFD_IOC_NEW)", &arguments).run(py, || raw::uffd::create_from_device(device, flags))
}

/// UFFDIO_API: the features and the ioctls that the kernel has.
#[pyfunction]
#[pyo3(signature = (fd, features, api=0xAA))]
fn sys_uffd_api(py: Python<'_>, fd: i32, features: u64, api: u64) -> PyResult<(u64, u64)> {
    call("ioctl(UFFDIO_API)", &[("fd", Number(fd.into())), ("features", Bits(features)), ("api", Bits(api))])
        .run(py, || raw::uffd::api(fd, api, features))
}

/// The arguments of most ioctls on a userfaultfd.
fn ranged(fd: i32, address: u64, length: u64, mode: u64) -> [(&'static str, Argument<'static>); 4] {
    [("fd", Number(fd.into())), ("address", Address(address)), ("length", Bytes(length)), ("mode", Bits(mode))]
}

/// The arguments of those with two ranges.
fn between(fd: i32, to: u64, from: u64, length: u64, mode: u64) -> [(&'static str, Argument<'static>); 5] {
    [
        ("fd", Number(fd.into())),
        ("destination", Address(to)),
        ("source", Address(from)),
        ("length", Bytes(length)),
        ("mode", Bits(mode)),
    ]
}

/// UFFDIO_REGISTER: the ioctls that the range allows.
#[pyfunction]
fn sys_uffd_register(py: Python<'_>, fd: i32, address: u64, length: u64, mode: u64) -> PyResult<u64> {
    call("ioctl(UFFDIO_REGISTER)", &ranged(fd, address, length, mode))
        .run(py, || raw::uffd::register(fd, address, length, mode))
}

/// UFFDIO_UNREGISTER.
#[pyfunction]
fn sys_uffd_unregister(py: Python<'_>, fd: i32, address: u64, length: u64) -> PyResult<()> {
    call("ioctl(UFFDIO_UNREGISTER)", &ranged(fd, address, length, 0)[..3])
        .run(py, || raw::uffd::unregister(fd, address, length))
}

/// UFFDIO_WAKE.
#[pyfunction]
fn sys_uffd_wake(py: Python<'_>, fd: i32, address: u64, length: u64) -> PyResult<()> {
    call("ioctl(UFFDIO_WAKE)", &ranged(fd, address, length, 0)[..3]).run(py, || raw::uffd::wake(fd, address, length))
}

/// UFFDIO_COPY: the bytes done.
#[pyfunction]
#[pyo3(signature = (fd, destination, source, length, mode=0))]
fn sys_uffd_copy(py: Python<'_>, fd: i32, destination: u64, source: u64, length: u64, mode: u64) -> PyResult<u64> {
    call("ioctl(UFFDIO_COPY)", &between(fd, destination, source, length, mode))
        // SAFETY: as the module says: the Python caller answers for the range.
        .run(py, || unsafe { raw::uffd::copy(fd, destination, source, length, mode) })
}

/// UFFDIO_COPY of the bytes of a buffer: the bytes done.
#[pyfunction]
#[pyo3(signature = (fd, destination, data, mode=0))]
fn sys_uffd_copy_from(py: Python<'_>, fd: i32, destination: u64, data: &Bound<'_, PyAny>, mode: u64) -> PyResult<u64> {
    let buffer = PyBuffer::<u8>::get(data)?;
    if !buffer.is_c_contiguous() {
        return Err(PyBufferError::new_err("the bytes to be copied must lie in a row"));
    }
    let (source, length) = (buffer.buf_ptr() as u64, buffer.len_bytes() as u64);
    let copied = call("ioctl(UFFDIO_COPY)", &between(fd, destination, source, length, mode))
        // SAFETY: as the module says: the Python caller answers for the destination. The source is a buffer that lives on.
        .run(py, || unsafe { raw::uffd::copy(fd, destination, source, length, mode) });
    drop(buffer);
    copied
}

/// UFFDIO_ZEROPAGE: the bytes done.
#[pyfunction]
#[pyo3(signature = (fd, address, length, mode=0))]
fn sys_uffd_zeropage(py: Python<'_>, fd: i32, address: u64, length: u64, mode: u64) -> PyResult<u64> {
    call("ioctl(UFFDIO_ZEROPAGE)", &ranged(fd, address, length, mode))
        // SAFETY: as the module says: the Python caller answers for the range.
        .run(py, || unsafe { raw::uffd::zeropage(fd, address, length, mode) })
}

/// UFFDIO_CONTINUE: the bytes done.
#[pyfunction]
#[pyo3(signature = (fd, address, length, mode=0))]
fn sys_uffd_continue(py: Python<'_>, fd: i32, address: u64, length: u64, mode: u64) -> PyResult<u64> {
    call("ioctl(UFFDIO_CONTINUE)", &ranged(fd, address, length, mode))
        .run(py, || raw::uffd::resume(fd, address, length, mode))
}

/// UFFDIO_MOVE, Linux 6.8: the bytes done.
#[pyfunction]
#[pyo3(signature = (fd, destination, source, length, mode=0))]
fn sys_uffd_move(py: Python<'_>, fd: i32, destination: u64, source: u64, length: u64, mode: u64) -> PyResult<u64> {
    call("ioctl(UFFDIO_MOVE)", &between(fd, destination, source, length, mode))
        // SAFETY: as the module says: the Python caller answers for both ranges.
        .run(py, || unsafe { raw::uffd::relink(fd, destination, source, length, mode) })
}

/// UFFDIO_POISON, Linux 6.6: the bytes done.
#[pyfunction]
#[pyo3(signature = (fd, address, length, mode=0))]
fn sys_uffd_poison(py: Python<'_>, fd: i32, address: u64, length: u64, mode: u64) -> PyResult<u64> {
    call("ioctl(UFFDIO_POISON)", &ranged(fd, address, length, mode))
        .run(py, || raw::uffd::poison(fd, address, length, mode))
}

/// UFFDIO_WRITEPROTECT.
#[pyfunction]
fn sys_uffd_writeprotect(py: Python<'_>, fd: i32, address: u64, length: u64, mode: u64) -> PyResult<()> {
    call("ioctl(UFFDIO_WRITEPROTECT)", &ranged(fd, address, length, mode))
        .run(py, || raw::uffd::writeprotect(fd, address, length, mode))
}

/// Messages of 32 bytes each, at most 64; none where nothing waits on a descriptor that does not block.
#[pyfunction]
fn sys_uffd_read(py: Python<'_>, fd: i32) -> PyResult<Bound<'_, PyBytes>> {
    call("read(userfaultfd)", &[("fd", Number(fd.into()))])
        .run_through_signals(py, || raw::uffd::read(fd))
        .and_then(|messages| cpython::bytes(py, &messages))
}

/// What to do about an errno of a call, as the remedy of its KernelError; empty where nothing is known.
#[pyfunction]
fn sys_remedy(call: &str, errno: i32) -> &'static str {
    raw::remedy::remedy(call, errno)
}

/// What is seen of this process's memory without changing it, as JSON: [`subduct_kernel::look::look`].
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "what PyO3 makes of lists")]
fn sys_look<'py>(py: Python<'py>, addresses: Vec<usize>, limit: usize, fds: Vec<i32>) -> PyResult<Bound<'py, PyBytes>> {
    let seen = py.detach(|| subduct_kernel::look::look(&addresses, limit, &fds))?;
    cpython::bytes(py, seen.as_bytes())
}

/// Adds the calls to the module.
pub fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(sys_mmap, module)?)?;
    module.add_function(wrap_pyfunction!(sys_munmap, module)?)?;
    module.add_function(wrap_pyfunction!(sys_mremap, module)?)?;
    module.add_function(wrap_pyfunction!(sys_madvise, module)?)?;
    module.add_function(wrap_pyfunction!(sys_mprotect, module)?)?;
    module.add_function(wrap_pyfunction!(sys_mlock, module)?)?;
    module.add_function(wrap_pyfunction!(sys_munlock, module)?)?;
    module.add_function(wrap_pyfunction!(sys_mseal, module)?)?;
    module.add_function(wrap_pyfunction!(sys_mincore, module)?)?;
    module.add_function(wrap_pyfunction!(sys_memfd_create, module)?)?;
    module.add_function(wrap_pyfunction!(sys_ftruncate, module)?)?;
    module.add_function(wrap_pyfunction!(sys_fallocate, module)?)?;
    module.add_function(wrap_pyfunction!(sys_add_seals, module)?)?;
    module.add_function(wrap_pyfunction!(sys_get_seals, module)?)?;
    module.add_function(wrap_pyfunction!(sys_load, module)?)?;
    module.add_function(wrap_pyfunction!(sys_store, module)?)?;
    module.add_function(wrap_pyfunction!(sys_peek, module)?)?;
    module.add_function(wrap_pyfunction!(sys_poke, module)?)?;
    module.add_function(wrap_pyfunction!(sys_userfaultfd, module)?)?;
    module.add_function(wrap_pyfunction!(sys_uffd_new, module)?)?;
    module.add_function(wrap_pyfunction!(sys_uffd_api, module)?)?;
    module.add_function(wrap_pyfunction!(sys_uffd_register, module)?)?;
    module.add_function(wrap_pyfunction!(sys_uffd_unregister, module)?)?;
    module.add_function(wrap_pyfunction!(sys_uffd_wake, module)?)?;
    module.add_function(wrap_pyfunction!(sys_uffd_copy, module)?)?;
    module.add_function(wrap_pyfunction!(sys_uffd_copy_from, module)?)?;
    module.add_function(wrap_pyfunction!(sys_uffd_zeropage, module)?)?;
    module.add_function(wrap_pyfunction!(sys_uffd_continue, module)?)?;
    module.add_function(wrap_pyfunction!(sys_uffd_move, module)?)?;
    module.add_function(wrap_pyfunction!(sys_uffd_poison, module)?)?;
    module.add_function(wrap_pyfunction!(sys_uffd_writeprotect, module)?)?;
    module.add_function(wrap_pyfunction!(sys_uffd_read, module)?)?;
    module.add_function(wrap_pyfunction!(sys_look, module)?)?;
    module.add_function(wrap_pyfunction!(sys_remedy, module)?)
}
