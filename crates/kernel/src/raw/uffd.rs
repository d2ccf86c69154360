//! userfaultfd: every ioctl of Linux 6.18. Each of its structures is a row of 64-bit words, the last of which the kernel
//! fills in; so a call is its number and its words.

use super::{Result, answer};
use crate::errno;

/// The only version of the interface there is.
pub const API: u64 = 0xAA;

/// Directions in an ioctl number, as the kernel's headers have them for this interface.
const NONE: usize = 0;
const READ: usize = 2;
const READ_WRITE: usize = 3;

/// Length of a message in bytes.
const MESSAGE: usize = 32;
/// Messages that one read takes at most.
const MESSAGES: usize = 64;

/// `userfaultfd(2)`.
///
/// # Errors
/// The errno of the call.
pub fn create(flags: i32) -> Result<i32> {
    // SAFETY: the call takes one integer and returns a new descriptor.
    answer(unsafe { libc::syscall(libc::SYS_userfaultfd, libc::c_long::from(flags)) }).map(|fd| fd as i32)
}

/// `ioctl(USERFAULTFD_IOC_NEW)` on an open `/dev/userfaultfd` (Linux 6.1).
///
/// # Errors
/// The errno of the call.
pub fn create_from_device(device: i32, flags: i32) -> Result<i32> {
    let request = number(NONE, 0, 0);
    // SAFETY: the call takes one integer and returns a new descriptor.
    answer(libc::c_long::from(unsafe { libc::ioctl(device, request, libc::c_long::from(flags)) })).map(|fd| fd as i32)
}

/// `UFFDIO_API`: asks for features, returns what the kernel has: (features, ioctls).
///
/// # Errors
/// The errno of the call.
pub fn api(fd: i32, api: u64, features: u64) -> Result<(u64, u64)> {
    let mut words = [api, features, 0];
    // SAFETY: the structure is three words: version, features, ioctls.
    unsafe { ioctl(fd, READ_WRITE, 0x3f, &mut words) }?;
    Ok((words[1], words[2]))
}

/// `UFFDIO_REGISTER`: returns the ioctls that the range allows.
///
/// # Errors
/// The errno of the call.
pub fn register(fd: i32, address: u64, length: u64, mode: u64) -> Result<u64> {
    let mut words = [address, length, mode, 0];
    // SAFETY: the structure is a range, a mode, and the ioctls. It changes who is told of a fault, not memory.
    unsafe { ioctl(fd, READ_WRITE, 0, &mut words) }?;
    Ok(words[3])
}

/// `UFFDIO_UNREGISTER`.
///
/// # Errors
/// The errno of the call.
pub fn unregister(fd: i32, address: u64, length: u64) -> Result<()> {
    // SAFETY: the structure is a range. Numbered as if it were written to; the kernel keeps it so.
    unsafe { ioctl(fd, READ, 1, &mut [address, length]) }
}

/// `UFFDIO_WAKE`.
///
/// # Errors
/// The errno of the call.
pub fn wake(fd: i32, address: u64, length: u64) -> Result<()> {
    // SAFETY: as `unregister`.
    unsafe { ioctl(fd, READ, 2, &mut [address, length]) }
}

/// `UFFDIO_COPY`: returns the bytes that were copied, fewer than `length` where it stopped early.
///
/// # Errors
/// The errno of the call, if it did nothing.
///
/// # Safety
/// The destination is memory that may be written, in whichever process the descriptor is of.
pub unsafe fn copy(fd: i32, destination: u64, source: u64, length: u64, mode: u64) -> Result<u64> {
    // SAFETY: the structure is destination, source, length, mode, and the bytes done; the rest is the caller's promise.
    unsafe { counted(fd, 3, [destination, source, length, mode, 0], length) }
}

/// `UFFDIO_ZEROPAGE`: returns the bytes that were done, as [`copy`].
///
/// # Errors
/// The errno of the call, if it did nothing.
///
/// # Safety
/// As [`copy`].
pub unsafe fn zeropage(fd: i32, address: u64, length: u64, mode: u64) -> Result<u64> {
    // SAFETY: the structure is a range, a mode, and the bytes done; the rest is the caller's promise.
    unsafe { counted(fd, 4, [address, length, mode, 0], length) }
}

/// `UFFDIO_MOVE` (Linux 6.8): returns the bytes that were moved, as [`copy`].
///
/// # Errors
/// The errno of the call, if it did nothing.
///
/// # Safety
/// As [`copy`], and nothing refers to the content of the source.
pub unsafe fn relink(fd: i32, destination: u64, source: u64, length: u64, mode: u64) -> Result<u64> {
    // SAFETY: the structure is destination, source, length, mode, and the bytes done; the rest is the caller's promise.
    unsafe { counted(fd, 5, [destination, source, length, mode, 0], length) }
}

/// `UFFDIO_WRITEPROTECT`.
///
/// # Errors
/// The errno of the call.
pub fn writeprotect(fd: i32, address: u64, length: u64, mode: u64) -> Result<()> {
    // SAFETY: the structure is a range and a mode. A write then waits for a handler; nothing is changed.
    unsafe { ioctl(fd, READ_WRITE, 6, &mut [address, length, mode]) }
}

/// `UFFDIO_CONTINUE` (Linux 5.14 for shared memory): returns the bytes that were mapped, as [`copy`].
///
/// # Errors
/// The errno of the call, if it did nothing.
pub fn resume(fd: i32, address: u64, length: u64, mode: u64) -> Result<u64> {
    // SAFETY: the structure is a range, a mode, and the bytes done. It maps pages that the file has already.
    unsafe { counted(fd, 7, [address, length, mode, 0], length) }
}

/// `UFFDIO_POISON` (Linux 6.6): returns the bytes that were done, as [`copy`].
///
/// # Errors
/// The errno of the call, if it did nothing.
pub fn poison(fd: i32, address: u64, length: u64, mode: u64) -> Result<u64> {
    // SAFETY: the structure is a range, a mode, and the bytes done. An access then raises SIGBUS; pages that exist stay.
    unsafe { counted(fd, 8, [address, length, mode, 0], length) }
}

/// Reads messages of 32 bytes each, at most 64 of them; none where nothing waits on a descriptor that does not block.
///
/// # Errors
/// The errno of the call, `EAGAIN` apart.
pub fn read(fd: i32) -> Result<Vec<u8>> {
    let mut messages = vec![0_u8; MESSAGE * MESSAGES];
    // SAFETY: the buffer has as many bytes as the call is told.
    match answer(unsafe { libc::read(fd, messages.as_mut_ptr().cast(), messages.len()) } as libc::c_long) {
        Ok(length) => messages.truncate(length),
        Err(libc::EAGAIN) => messages.clear(),
        Err(errno) => return Err(errno),
    }
    Ok(messages)
}

/// An ioctl whose last word counts bytes. Partial work is a result; only a call that did nothing is an error.
///
/// # Safety
/// As [`ioctl`].
unsafe fn counted<const WORDS: usize>(fd: i32, index: usize, mut words: [u64; WORDS], length: u64) -> Result<u64> {
    // SAFETY: the caller's promise. The last word is 0 before the call: before Linux 6.15 some errors leave it alone.
    match unsafe { ioctl(fd, READ_WRITE, index, &mut words) } {
        Ok(()) => Ok(length),
        // A negative count repeats the errno: nothing was done.
        Err(errno) => match words[WORDS - 1].cast_signed() {
            bytes @ 1.. => Ok(bytes.cast_unsigned()),
            _ => Err(errno),
        },
    }
}

/// # Safety
/// `words` is the structure that the ioctl reads and writes, and the caller may ask for what it does.
unsafe fn ioctl<const WORDS: usize>(fd: i32, direction: usize, index: usize, words: &mut [u64; WORDS]) -> Result<()> {
    let request = number(direction, index, size_of_val(words));
    // SAFETY: the number says how long the structure is: exactly `words`.
    if unsafe { libc::ioctl(fd, request, words.as_mut_ptr()) } == -1 { Err(errno()) } else { Ok(()) }
}

const fn number(direction: usize, index: usize, size: usize) -> libc::c_ulong {
    ((direction << 30) | (size << 16) | (API as usize) << 8 | index) as libc::c_ulong
}
