//! Opening userfaultfd in its several ways; registering memory and mapping a page of it.

use std::fs::OpenOptions;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};

use super::Attempt;
use crate::memfd::Memfd;
use crate::memory::Reservation;
use crate::uffd::{FEATURE_MINOR_SHMEM, FEATURE_MISSING_SHMEM, Userfaultfd, continue_pages};
use crate::{Result, page_size};

const MARK: u8 = 0x5d;

/// userfaultfd without `UFFD_USER_MODE_ONLY`.
pub(super) fn open_full() -> Attempt {
    // SAFETY: the call takes one integer and returns a new descriptor or -1.
    let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | libc::O_NONBLOCK) };
    if fd < 0 {
        return Attempt::last("userfaultfd");
    }
    // SAFETY: the descriptor was just created, is owned by nobody else, and is closed here.
    drop(unsafe { OwnedFd::from_raw_fd(fd as RawFd) });
    Attempt::Works
}

/// The device that gives out userfaultfds to whom its file mode lets.
pub(super) fn open_device() -> Attempt {
    match OpenOptions::new().read(true).write(true).open("/dev/userfaultfd") {
        Ok(_) => Attempt::Works,
        Err(error) => Attempt::Refused { call: "open(/dev/userfaultfd)", errno: error.raw_os_error().unwrap_or(0) },
    }
}

/// Registers a page of a memfd for missing and minor faults, maps it with `UFFDIO_CONTINUE`, and reads it.
pub(super) fn attempt() -> Attempt {
    register_and_continue().unwrap_or_else(|error| Attempt::from(&error))
}

fn register_and_continue() -> Result<Attempt> {
    let page = page_size();
    let memfd = Memfd::new("subduct-probe", page)?;
    let view = Reservation::new(page, page)?;
    view.map_file(view.base(), page, memfd.as_fd(), 0)?;
    let mark = [MARK];
    // SAFETY: `mark` outlives the call, which reads it.
    if unsafe { libc::pwrite(memfd.raw(), mark.as_ptr().cast(), mark.len(), 0) } != 1 {
        return Ok(Attempt::last("pwrite(memfd)"));
    }
    let uffd = Userfaultfd::new(FEATURE_MISSING_SHMEM | FEATURE_MINOR_SHMEM)?;
    uffd.register(view.base(), page)?;
    let continued = continue_pages(uffd.raw(), view.base(), page);
    if continued.errno != 0 {
        return Ok(Attempt::Refused { call: "ioctl(UFFDIO_CONTINUE)", errno: continued.errno });
    }
    // SAFETY: the page is mapped, readable and has just been made present, so that reading it does not fault.
    let seen = unsafe { (view.base() as *const u8).read_volatile() };
    uffd.unregister(view.base(), page)?;
    Ok(if seen == MARK {
        Attempt::Works
    } else {
        Attempt::Misbehaves("UFFDIO_CONTINUE mapped another page than the file's")
    })
}
