//! Anonymous files. Descriptors are plain numbers here: who owns them is the caller's business.

use std::ffi::CStr;

use super::{Result, answer, done};

/// `memfd_create(2)`.
///
/// # Errors
/// The errno of the call.
pub fn create(name: &CStr, flags: u32) -> Result<i32> {
    // SAFETY: the name is a C string for the length of the call.
    answer(unsafe { libc::syscall(libc::SYS_memfd_create, name.as_ptr(), flags) }).map(|fd| fd as i32)
}

/// `ftruncate(2)`.
///
/// # Errors
/// The errno of the call.
pub fn ftruncate(fd: i32, length: i64) -> Result<()> {
    // SAFETY: the call takes two integers. An access behind the new end raises SIGBUS, which is no undefined behaviour.
    done(unsafe { libc::syscall(libc::SYS_ftruncate, libc::c_long::from(fd), length) })
}

/// `fallocate(2)`. `EINTR` is returned like any other errno.
///
/// # Errors
/// The errno of the call.
pub fn fallocate(fd: i32, mode: i32, offset: i64, length: i64) -> Result<()> {
    let (fd, mode) = (libc::c_long::from(fd), libc::c_long::from(mode));
    // SAFETY: the call takes integers and changes a file, as a write would.
    done(unsafe { libc::syscall(libc::SYS_fallocate, fd, mode, offset, length) })
}

/// `fcntl(F_ADD_SEALS)`.
///
/// # Errors
/// The errno of the call.
pub fn add_seals(fd: i32, seals: u32) -> Result<()> {
    // SAFETY: the call takes integers.
    done(libc::c_long::from(unsafe { libc::fcntl(fd, libc::F_ADD_SEALS, seals) }))
}

/// `fcntl(F_GET_SEALS)`.
///
/// # Errors
/// The errno of the call.
pub fn get_seals(fd: i32) -> Result<u32> {
    // SAFETY: the call takes integers.
    answer(libc::c_long::from(unsafe { libc::fcntl(fd, libc::F_GET_SEALS) })).map(|seals| seals as u32)
}

/// `lseek(2)`.
///
/// # Errors
/// The errno of the call.
pub fn seek(fd: i32, offset: i64, whence: i32) -> Result<u64> {
    // SAFETY: the call takes integers.
    answer(unsafe { libc::syscall(libc::SYS_lseek, libc::c_long::from(fd), offset, libc::c_long::from(whence)) })
        .map(|position| position as u64)
}

/// `pread(2)`: how many bytes it read.
///
/// # Errors
/// The errno of the call.
pub fn read_at(fd: i32, bytes: &mut [u8], offset: u64) -> Result<usize> {
    // SAFETY: the kernel writes to `bytes` only.
    let read = unsafe { libc::pread(fd, bytes.as_mut_ptr().cast(), bytes.len(), offset.cast_signed()) };
    answer(read as libc::c_long)
}
