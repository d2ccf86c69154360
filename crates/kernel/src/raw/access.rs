//! Memory of this process, at any address: with faults as they come, or through the kernel, which answers `EFAULT`.

use super::{Result, answer};

/// Fills `bytes` from memory at `address` with plain loads, lowest address first.
///
/// # Safety
/// The range is readable. Where it is not, the process gets the signal that any load would get (`SIGSEGV`, `SIGBUS`).
pub unsafe fn load(address: usize, bytes: &mut [u8]) {
    for (offset, byte) in bytes.iter_mut().enumerate() {
        // Volatile: another view or thread may change the memory at any time, and each fault must really happen.
        // SAFETY: the caller's promise.
        *byte = unsafe { (address as *const u8).wrapping_add(offset).read_volatile() };
    }
}

/// Writes `bytes` to memory at `address` with plain stores, lowest address first.
///
/// # Safety
/// The range is writable and the caller's; where it is not writable, as [`load`].
pub unsafe fn store(address: usize, bytes: &[u8]) {
    for (offset, byte) in bytes.iter().enumerate() {
        // SAFETY: the caller's promise. Volatile as in `load`.
        unsafe { (address as *mut u8).wrapping_add(offset).write_volatile(*byte) };
    }
}

/// Fills `bytes` from memory at `address` through `process_vm_readv(2)` on this process.
///
/// # Errors
/// `EFAULT` where any of it is not readable; `EPERM` or `ENOSYS` where the call is forbidden.
pub fn peek(address: usize, bytes: &mut [u8]) -> Result<()> {
    let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: bytes.len() };
    // SAFETY: the kernel writes to `bytes` only, and checks every page of the other range.
    let read = unsafe { libc::process_vm_readv(libc::getpid(), &raw const local, 1, &raw const remote, 1, 0) };
    whole(read, bytes.len())
}

/// Writes `bytes` to memory at `address` through `process_vm_writev(2)` on this process.
///
/// # Errors
/// `EFAULT` where any of it is not writable: what lies before may have been written. `EPERM`, `ENOSYS` as [`peek`].
///
/// # Safety
/// The range is the caller's.
pub unsafe fn poke(address: usize, bytes: &[u8]) -> Result<()> {
    let local = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: bytes.len() };
    // SAFETY: the kernel only reads `bytes` and checks every page of the other range, which is the caller's.
    let written = unsafe { libc::process_vm_writev(libc::getpid(), &raw const local, 1, &raw const remote, 1, 0) };
    whole(written, bytes.len())
}

fn whole(returned: isize, length: usize) -> Result<()> {
    // The kernel reports a page it could not reach as a short count, unless it is the first.
    if answer(returned as libc::c_long)? == length { Ok(()) } else { Err(libc::EFAULT) }
}
