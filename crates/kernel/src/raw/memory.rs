//! Address ranges. Nothing here knows whose memory it is told to change.

use super::{Result, answer, done};
use crate::page_size;

/// mseal has one number on every architecture this crate runs on (Linux 6.10).
const SYS_MSEAL: libc::c_long = 462;

/// `mmap(2)`.
///
/// # Errors
/// The errno of the call.
///
/// # Safety
/// With `MAP_FIXED` the caller owns the range, and nothing refers to what it held.
pub unsafe fn mmap(address: usize, length: usize, prot: u64, flags: u64, fd: i32, offset: i64) -> Result<usize> {
    // SAFETY: the caller's promise.
    answer(unsafe { libc::syscall(libc::SYS_mmap, address, length, prot, flags, libc::c_long::from(fd), offset) })
}

/// `munmap(2)`.
///
/// # Errors
/// The errno of the call.
///
/// # Safety
/// The caller owns the range, and nothing refers to it any more.
pub unsafe fn munmap(address: usize, length: usize) -> Result<()> {
    // SAFETY: the caller's promise.
    done(unsafe { libc::syscall(libc::SYS_munmap, address, length) })
}

/// `mremap(2)`, with all five arguments.
///
/// # Errors
/// The errno of the call.
///
/// # Safety
/// The caller owns both ranges; nothing refers to the old one unless it stays mapped, nor to the new one.
pub unsafe fn mremap(
    old_address: usize,
    old_length: usize,
    new_length: usize,
    flags: u64,
    new_address: usize,
) -> Result<usize> {
    // SAFETY: the caller's promise.
    answer(unsafe { libc::syscall(libc::SYS_mremap, old_address, old_length, new_length, flags, new_address) })
}

/// `madvise(2)`.
///
/// # Errors
/// The errno of the call.
///
/// # Safety
/// The caller owns the range: some advices throw its content away.
pub unsafe fn madvise(address: usize, length: usize, advice: i32) -> Result<()> {
    // SAFETY: the caller's promise.
    done(unsafe { libc::syscall(libc::SYS_madvise, address, length, libc::c_long::from(advice)) })
}

/// `mprotect(2)`.
///
/// # Errors
/// The errno of the call.
///
/// # Safety
/// The caller owns the range, and nobody accesses it in a way that `prot` forbids.
pub unsafe fn mprotect(address: usize, length: usize, prot: u64) -> Result<()> {
    // SAFETY: the caller's promise.
    done(unsafe { libc::syscall(libc::SYS_mprotect, address, length, prot) })
}

/// `mlock(2)`.
///
/// # Errors
/// The errno of the call.
pub fn mlock(address: usize, length: usize) -> Result<()> {
    // SAFETY: locking changes when memory is resident, never what it holds.
    done(unsafe { libc::syscall(libc::SYS_mlock, address, length) })
}

/// `munlock(2)`.
///
/// # Errors
/// The errno of the call.
pub fn munlock(address: usize, length: usize) -> Result<()> {
    // SAFETY: as `mlock`.
    done(unsafe { libc::syscall(libc::SYS_munlock, address, length) })
}

/// `mseal(2)`, Linux 6.10: the range can be neither unmapped nor changed until the process ends.
///
/// # Errors
/// The errno of the call; `ENOSYS` before 6.10.
pub fn mseal(address: usize, length: usize) -> Result<()> {
    // SAFETY: sealing refuses later changes; it makes none.
    done(unsafe { libc::syscall(SYS_MSEAL, address, length, 0_u64) })
}

/// `mincore(2)`: a byte for each page, its lowest bit set where the page is resident.
///
/// # Errors
/// The errno of the call; `ENOMEM` also where there is no memory for the answer.
pub fn mincore(address: usize, length: usize) -> Result<Vec<u8>> {
    let pages = length.div_ceil(page_size());
    let mut resident = Vec::new();
    resident.try_reserve_exact(pages).map_err(|_| libc::ENOMEM)?;
    resident.resize(pages, 0);
    // SAFETY: the kernel writes one byte for each page of the range, for which there is room.
    done(unsafe { libc::syscall(libc::SYS_mincore, address, length, resident.as_mut_ptr()) })?;
    Ok(resident)
}
