//! userfaultfd, as far as a collector needs it: shared memory, minor and missing faults, delivered as SIGBUS or read from
//! the descriptor.
//!
//! Works unprivileged (`UFFD_USER_MODE_ONLY`). The calls used on the fault path allocate nothing and report errors as
//! plain numbers.

use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{DESCRIPTORS, FORBIDDEN};
use crate::kept::{FileId, OwnTable};
use crate::{KernelError, Result, errno, inject, is_forbidden};

const UFFD_USER_MODE_ONLY: i32 = 1;
const UFFD_API: u64 = 0xAA;
/// The call that makes a descriptor, in messages.
const OPEN: &str = "userfaultfd(UFFD_USER_MODE_ONLY)";

/// A fault in a registered range raises SIGBUS on the thread that touched it (Linux 4.14).
pub const FEATURE_SIGBUS: u64 = 1 << 7;
/// Missing faults on shared memory (Linux 4.11).
pub const FEATURE_MISSING_SHMEM: u64 = 1 << 5;
/// Minor faults on shared memory (Linux 5.14): the page is in the file, but not in the page table.
pub const FEATURE_MINOR_SHMEM: u64 = 1 << 10;

const REGISTER_MODE_MISSING: u64 = 1;
const REGISTER_MODE_MINOR: u64 = 4;

/// Directions of the kernel's ioctl numbering.
const READ: usize = 2;
const READ_WRITE: usize = 3;

const fn number(direction: usize, index: usize, size: usize) -> libc::c_ulong {
    ((direction << 30) | (size << 16) | (0xAA << 8) | index) as libc::c_ulong
}

#[repr(C)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Range {
    start: u64,
    len: u64,
}

#[repr(C)]
struct Register {
    range: Range,
    mode: u64,
    ioctls: u64,
}

#[repr(C)]
struct Continue {
    range: Range,
    mode: u64,
    mapped: i64,
}

/// `struct uffd_msg`: packed to 32 bytes, of which we use what a page fault has.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Message {
    event: u8,
    reserved: [u8; 7],
    flags: u64,
    address: u64,
    thread: u64,
}

const EVENT_PAGEFAULT: u8 = 0x12;
/// Faults that are read at a time.
pub const FAULTS_MAX: usize = 16;

const API: libc::c_ulong = number(READ_WRITE, 0x3f, size_of::<Api>());
const REGISTER: libc::c_ulong = number(READ_WRITE, 0, size_of::<Register>());
/// UNREGISTER and WAKE are numbered as if they wrote something back; the kernel's headers say it is too late to mend.
const UNREGISTER: libc::c_ulong = number(READ, 1, size_of::<Range>());
const WAKE: libc::c_ulong = number(READ, 2, size_of::<Range>());
const CONTINUE: libc::c_ulong = number(READ_WRITE, 7, size_of::<Continue>());

/// What `UFFDIO_CONTINUE` did: how far it got, and why it stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Continued {
    /// Bytes mapped by this call, from the start of the range.
    pub mapped: usize,
    /// 0 when the whole range is mapped; else why it stopped (`EEXIST`: the next page is mapped already).
    pub errno: i32,
}

/// An open userfaultfd, with a spare number for it: registrations end when the last number is closed, so a stray
/// `close()` elsewhere in the process must not be the last.
#[derive(Debug)]
pub struct Userfaultfd {
    numbers: [RawFd; 2],
    /// The file behind both.
    id: Option<FileId>,
    /// Which of the two is used. 2: both are lost.
    current: AtomicUsize,
}

impl Userfaultfd {
    /// Opens a descriptor that needs no privilege and asks for `features`. The features can be asked for only once
    /// on a descriptor: to find out which there are, use a throw-away one.
    ///
    /// # Errors
    /// `ENOSYS` or `EPERM` where the call is filtered (containers), `EINVAL` for a feature this kernel lacks, `EMFILE`.
    pub fn new(features: u64) -> Result<Self> {
        // [kernel.uffd.user-mode-only] [kernel.uffd.features]
        let fd = open()?;
        let mut api = Api { api: UFFD_API, features, ioctls: 0 };
        // SAFETY: `api` is the structure UFFDIO_API reads and writes.
        if unsafe { libc::ioctl(fd.as_raw_fd(), API, &raw mut api) } != 0 {
            return Err(failed("ioctl(UFFDIO_API)", 0, 0, errno()));
        }
        let spare = fd
            .try_clone()
            .map_err(|error| failed("fcntl(F_DUPFD_CLOEXEC)", 0, 0, error.raw_os_error().unwrap_or(0)))?;
        let id = FileId::of(fd.as_raw_fd()).ok();
        Ok(Self { numbers: [fd.into_raw_fd(), spare.into_raw_fd()], id, current: AtomicUsize::new(0) })
    }

    /// One that is connected to nothing, for kernels that are simulated.
    #[cfg(feature = "inject")]
    #[must_use]
    pub fn detached() -> Self {
        Self { numbers: [RawFd::MAX - 1, RawFd::MAX], id: None, current: AtomicUsize::new(0) }
    }

    /// Registers a range for missing and minor faults. Both: with minor faults alone the kernel fills a hole with
    /// zeros and says nothing, with missing faults alone it maps pages of the file and says nothing.
    ///
    /// # Errors
    /// `EINVAL` for a range that is not shared memory, `EBUSY` when another descriptor has it, `ENOMEM`.
    pub fn register(&self, address: usize, length: usize) -> Result<()> {
        let range = Range { start: address as u64, len: length as u64 };
        // [kernel.uffd.minor.with-missing] [kernel.uffd.minor.alone-fills-holes]
        // [kernel.uffd.missing.alone-maps-cached] [kernel.uffd.register.mapped-pages]
        let mut register = Register { range, mode: REGISTER_MODE_MISSING | REGISTER_MODE_MINOR, ioctls: 0 };
        self.control(inject::Call::Register, |fd| {
            // SAFETY: `register` is the structure UFFDIO_REGISTER reads and writes.
            unsafe { libc::ioctl(fd, REGISTER, &raw mut register) }
        })
        .map_err(|errno| failed("ioctl(UFFDIO_REGISTER)", address, length, errno))
    }

    /// Ends the registration of a range and wakes whoever sleeps in it: the kernel wakes missing faults by itself,
    /// minor faults only when told.
    ///
    /// # Errors
    /// `EINVAL` for an unaligned range, `ENOMEM` when mappings cannot be merged or split.
    pub fn unregister(&self, address: usize, length: usize) -> Result<()> {
        self.control(inject::Call::Unregister, |fd| unregister_pages(fd, address, length))
            .map_err(|errno| failed("ioctl(UFFDIO_UNREGISTER)", address, length, errno))
    }

    /// Runs a call with the number in use, and again with the spare one when the first turns out to be lost.
    fn control(&self, call: inject::Call, mut ioctl: impl FnMut(RawFd) -> i32) -> std::result::Result<(), i32> {
        loop {
            let fd = self.raw();
            let errno = match inject::refusal(call) {
                Some(errno) => errno,
                // The kernel would take another userfaultfd for it, and registrations would end with that one.
                None if !self.is_at(fd) => libc::EBADF,
                None if ioctl(fd) == 0 => return Ok(()),
                None => errno(),
            };
            if !is_lost(errno) || !self.lose(fd) {
                return Err(errno);
            }
        }
    }

    /// Whether a number leads to the file, as those of one that is simulated always do.
    fn is_at(&self, fd: RawFd) -> bool {
        self.id.is_none() || FileId::is_at(self.id, fd)
    }

    /// Whether both numbers lead to the file.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.current.load(Ordering::Relaxed) == 0 && self.numbers.iter().all(|number| self.is_at(*number))
    }

    /// The number in use; -1 when both are lost. For the fault path, which cannot hold the object.
    #[must_use]
    pub fn raw(&self) -> RawFd {
        // Relaxed: the numbers never change.
        self.numbers.get(self.current.load(Ordering::Relaxed)).copied().unwrap_or(-1)
    }

    /// Both numbers, for tables that a fork handler reads.
    #[must_use]
    pub fn numbers(&self) -> [RawFd; 2] {
        self.numbers
    }

    /// The number in use and the one to go over to; the same where only one is left.
    #[must_use]
    pub fn usable(&self) -> [RawFd; 2] {
        [self.raw(), self.numbers[1]]
    }

    /// Keeps the file open in a descriptor table that only the calling thread has: registrations stay while that lives, though every
    /// number is closed. Waking who sleeps in a fault, and ending registrations, is still for a number.
    ///
    /// # Errors
    /// As [`OwnTable::with`]; `EBADF` if both numbers were lost before.
    pub fn keep(&self) -> std::result::Result<OwnTable, i32> {
        let number = self.raw();
        let table = OwnTable::with(vec![number])?;
        if FileId::is_at(self.id, number) { Ok(table) } else { Err(libc::EBADF) }
    }

    /// Gives a number up that somebody else has closed, whatever is open under it now. False when it was the last one.
    /// Fault path.
    pub fn lose(&self, lost: RawFd) -> bool {
        let Some(index) = self.numbers.iter().position(|number| *number == lost) else { return false };
        // Relaxed: a thread that still uses the lost number finds out by itself.
        let _ = self.current.compare_exchange(index, index + 1, Ordering::Relaxed, Ordering::Relaxed);
        self.raw() >= 0
    }

    /// Waits until faults can be read, or another descriptor can, for so many milliseconds at most: whether it was the other one.
    /// A negative `other` is none, a negative `limit_ms` no limit.
    ///
    /// # Errors
    /// The errno of `poll`; a filter on system calls may forbid it.
    pub fn wait_faults(&self, other: RawFd, limit_ms: i32) -> std::result::Result<bool, i32> {
        let poll = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mut both = [poll(self.raw()), poll(other)];
        // SAFETY: two valid entries.
        if unsafe { libc::poll(both.as_mut_ptr(), 2, limit_ms) } < 0 {
            return Err(errno());
        }
        if both[0].revents & libc::POLLNVAL != 0 {
            self.lose(both[0].fd);
        }
        Ok(both[1].revents != 0)
    }

    /// Wakes threads that sleep in the page at `address`: a page that was mapped before its fault was read wakes nobody.
    pub fn wake_page(&self, address: usize) {
        let page = crate::page_size();
        wake(self.raw(), address & !(page - 1), page);
    }

    /// The addresses of faults that wait to be served, at most as many as there is room for. No allocation, no lock.
    pub fn read_faults(&self, addresses: &mut [usize; FAULTS_MAX]) -> usize {
        let fd = self.raw();
        if !FileId::is_at(self.id, fd) {
            self.lose(fd);
            return 0;
        }
        let mut messages = [Message::default(); FAULTS_MAX];
        // [kernel.uffd.missing.event] [kernel.uffd.minor.event]
        // SAFETY: the buffer is valid for its length; the kernel writes whole messages.
        let bytes = unsafe { libc::read(fd, messages.as_mut_ptr().cast(), size_of_val(&messages)) };
        let read = usize::try_from(bytes).unwrap_or(0) / size_of::<Message>();
        let faults = messages[..read].iter().filter(|message| message.event == EVENT_PAGEFAULT);
        let mut count = 0;
        for message in faults {
            addresses[count] = message.address as usize;
            count += 1;
        }
        count
    }
}

impl Drop for Userfaultfd {
    fn drop(&mut self) {
        for fd in &self.numbers[self.current.load(Ordering::Relaxed).min(2)..] {
            if FileId::is_at(self.id, *fd) {
                // [kernel.uffd.close-ends-registrations] [kernel.uffd.close-wakes]
                // SAFETY: ours, and not lost.
                unsafe { libc::close(*fd) };
            }
        }
    }
}

fn failed(call: &'static str, address: usize, length: usize, errno: i32) -> KernelError {
    let remedy = match errno {
        libc::EMFILE | libc::ENFILE => DESCRIPTORS,
        libc::ENOSYS if call == OPEN => "this kernel was built without userfaultfd, or a seccomp profile hides it",
        libc::EINVAL if call == OPEN => "UFFD_USER_MODE_ONLY needs Linux 5.11",
        libc::EINVAL if call == "ioctl(UFFDIO_API)" => "minor faults on shared memory need Linux 5.14",
        _ if is_forbidden(errno) => FORBIDDEN,
        _ => "",
    };
    KernelError { call, address, length, errno, remedy }
}

/// Whether a call failed because its descriptor is no userfaultfd any more.
#[must_use]
pub fn is_lost(errno: i32) -> bool {
    matches!(errno, libc::EBADF | libc::ENOTTY)
}

/// Ends the registration of a range; 0 or -1, with the errno of the thread. Fault path.
#[must_use]
pub fn unregister_pages(fd: RawFd, address: usize, length: usize) -> i32 {
    let mut range = Range { start: address as u64, len: length as u64 };
    // [kernel.uffd.unregister.ends-faults] [kernel.uffd.unregister-wakes-missing]
    // SAFETY: `range` is the structure UFFDIO_UNREGISTER reads.
    let ended = unsafe { libc::ioctl(fd, UNREGISTER, &raw mut range) };
    if ended == 0 {
        // [kernel.uffd.unregister-then-wake-minor]
        wake(fd, address, length);
    }
    ended
}

/// Wakes threads that sleep in a range. Fault path.
pub fn wake(fd: RawFd, address: usize, length: usize) {
    let mut range = Range { start: address as u64, len: length as u64 };
    // [kernel.uffd.wake.nobody-waits]
    // SAFETY: `range` is the structure UFFDIO_WAKE reads; a failure would only mean that nobody waits.
    unsafe { libc::ioctl(fd, WAKE, &raw mut range) };
}

/// Maps pages that are in the file into a registered range (`UFFDIO_CONTINUE`, Linux 5.14 for shared memory): about
/// 0.3 us a page in batches. Fault path: no allocation, no lock; errno of the thread is changed.
#[must_use]
pub fn continue_pages(fd: RawFd, address: usize, length: usize) -> Continued {
    let range = Range { start: address as u64, len: length as u64 };
    // `mapped` starts at 0: before Linux 6.15 the kernel leaves it alone in some errors.
    let mut arguments = Continue { range, mode: 0, mapped: 0 };
    if let Some(errno) = inject::refusal(inject::Call::Continue) {
        return Continued { mapped: 0, errno };
    }
    // [kernel.uffd.continue.same-page] [kernel.uffd.continue.sees-alias] [kernel.uffd.continue.batch]
    // SAFETY: `arguments` is the structure UFFDIO_CONTINUE reads and writes.
    if unsafe { libc::ioctl(fd, CONTINUE, &raw mut arguments) } == 0 {
        return Continued { mapped: length, errno: 0 };
    }
    let errno = errno();
    // [kernel.uffd.continue.partial]
    // A negative count repeats the errno: nothing was mapped.
    Continued { mapped: usize::try_from(arguments.mapped).unwrap_or(0), errno }
}

/// Features this kernel offers to an unprivileged descriptor, found with a throw-away one.
///
/// # Errors
/// As [`Userfaultfd::new`].
pub fn features() -> Result<u64> {
    // [kernel.uffd.api-once] [kernel.uffd.api-unknown-feature]
    let fd = open()?;
    let mut api = Api { api: UFFD_API, features: 0, ioctls: 0 };
    // SAFETY: `api` is the structure UFFDIO_API reads and writes.
    if unsafe { libc::ioctl(fd.as_raw_fd(), API, &raw mut api) } != 0 {
        return Err(failed("ioctl(UFFDIO_API)", 0, 0, errno()));
    }
    Ok(api.features)
}

fn open() -> Result<OwnedFd> {
    if let Some(errno) = inject::refusal(inject::Call::Open) {
        return Err(failed(OPEN, 0, 0, errno));
    }
    let flags = libc::O_CLOEXEC | libc::O_NONBLOCK | UFFD_USER_MODE_ONLY;
    // SAFETY: the call takes one integer and returns a new descriptor or -1.
    let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, flags) };
    if fd < 0 {
        return Err(failed(OPEN, 0, 0, errno()));
    }
    // SAFETY: the descriptor was just created and is owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_follows_from_what_the_kernel_said() {
        for (call, errno, part) in [
            (OPEN, libc::EMFILE, "ulimit -n"),
            (OPEN, libc::ENFILE, "fs.file-max"),
            (OPEN, libc::EPERM, "seccomp"),
            (OPEN, libc::ENOSYS, "built without"),
            (OPEN, libc::EINVAL, "Linux 5.11"),
            ("ioctl(UFFDIO_API)", libc::EINVAL, "Linux 5.14"),
            ("ioctl(UFFDIO_API)", libc::EPERM, "seccomp"),
            ("ioctl(UFFDIO_API)", libc::EACCES, "seccomp"),
            ("fcntl(F_DUPFD_CLOEXEC)", libc::EMFILE, "ulimit -n"),
            ("ioctl(UFFDIO_REGISTER)", libc::EPERM, "seccomp"),
        ] {
            let said = failed(call, 0, 0, errno).to_string();
            assert!(said.starts_with(call) && said.contains(part), "{said}");
        }
        assert_eq!(failed("ioctl(UFFDIO_REGISTER)", 0, 0, libc::EBUSY).remedy, "");
    }
}
