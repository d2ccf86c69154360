//! Address ranges: reservations that hold a place, views of a memfd, and moving page tables.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{DESCRIPTORS, FORBIDDEN};
use crate::inject::{self, Call};
use crate::{KernelError, Result, is_forbidden};

const RESERVE: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
const READ_WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;

/// An address range that belongs to us until dropped. Parts of it are replaced by views and private memory; the
/// range as a whole is never unmapped before, so that no other mapping of the process can land in it.
#[derive(Debug)]
pub struct Reservation {
    /// What was mapped, alignment slack included.
    mapped: (usize, usize),
    base: usize,
    length: usize,
    is_released: AtomicBool,
}

impl Reservation {
    /// Reserves `length` bytes at a multiple of `alignment` (a power of two), inaccessible and free of charge.
    ///
    /// # Errors
    /// `ENOMEM` when the address space is limited (`RLIMIT_AS`) or `max_map_count` is reached; `EAGAIN` when the process locks
    /// all its future memory (`mlockall`) and may not lock as much.
    pub fn new(length: usize, alignment: usize) -> Result<Self> {
        let total = length + alignment;
        // [kernel.mmap.reservation]
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches no existing memory.
        let start = unsafe { map(Call::Reserve, ptr::null_mut(), total, libc::PROT_NONE, RESERVE, -1, 0) }
            .map_err(|errno| failed("mmap(PROT_NONE)", 0, total, errno))?;
        unlock(start, total);
        let base = (start + alignment - 1) & !(alignment - 1);
        Ok(Self { mapped: (start, total), base, length, is_released: AtomicBool::new(false) })
    }

    /// First address, aligned as asked.
    #[must_use]
    pub fn base(&self) -> usize {
        self.base
    }

    /// Usable length in bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    fn check(&self, address: usize, length: usize) {
        assert!(
            address >= self.base && length <= self.length && address - self.base <= self.length - length,
            "range {address:#x}+{length:#x} lies outside its reservation"
        );
    }

    /// Maps `length` bytes of `file` from `offset` at `address`, shared, readable and writable. Forked children do not get it,
    /// core dumps leave it out; where a filter on system calls forbids that, they do.
    ///
    /// # Errors
    /// As [`Reservation::new`]; the range keeps what it had, or is inaccessible.
    pub fn map_file(&self, address: usize, length: usize, file: BorrowedFd<'_>, offset: usize) -> Result<()> {
        self.check(address, length);
        let flags = libc::MAP_SHARED | libc::MAP_FIXED;
        // [kernel.mmap.fixed-replaces]
        // SAFETY: the range lies in our own reservation (checked above), so MAP_FIXED replaces only what is ours.
        unsafe { map(Call::Map, address as *mut _, length, libc::PROT_NONE, flags, file.as_raw_fd(), offset) }
            .map_err(|errno| failed("mmap(memfd)", address, length, errno))?;
        self.make_accessible(address, length)?;
        // [kernel.madvise.dontfork] [kernel.madvise.dontdump] [kernel.madvise.part-splits]
        // [kernel.uffd.fork.child-not-registered]
        for (advice, call) in MAPPED_ADVICE {
            match advise(address, length, advice, call) {
                Err(error) if !is_forbidden(error.errno) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Maps a range of `file` anew where it is mapped already, which ends a registration with userfaultfd. 0 or the errno.
    /// Fault path.
    #[must_use]
    pub fn map_again(&self, address: usize, length: usize, file: BorrowedFd<'_>, offset: usize) -> i32 {
        self.check(address, length);
        let flags = libc::MAP_SHARED | libc::MAP_FIXED;
        // SAFETY: as in `map_file`.
        let mapped = unsafe { map(Call::Map, address as *mut _, length, READ_WRITE, flags, file.as_raw_fd(), offset) };
        for (advice, call) in MAPPED_ADVICE {
            // Refused, it costs a mapping more, and children the memory.
            let _ = advise(address, length, advice, call);
        }
        mapped.err().unwrap_or(0)
    }

    /// Maps private zeroed memory at `address`, not charged until touched.
    ///
    /// # Errors
    /// As [`Reservation::new`].
    pub fn map_private(&self, address: usize, length: usize) -> Result<()> {
        self.check(address, length);
        // SAFETY: as in `map_file`: only our own reservation is replaced.
        unsafe { map(Call::Map, address as *mut _, length, libc::PROT_NONE, RESERVE | libc::MAP_FIXED, -1, 0) }
            .map_err(|errno| failed("mmap(private)", address, length, errno))?;
        self.make_accessible(address, length)
    }

    /// Makes a range that was just mapped without access readable and writable. In two steps, because a process may lock all its
    /// future memory: the kernel would make a mapping resident as a whole that is accessible from the start.
    fn make_accessible(&self, address: usize, length: usize) -> Result<()> {
        unlock(address, length);
        // SAFETY: the range lies in our own reservation, and nobody uses it yet.
        if unsafe { libc::mprotect(address as *mut _, length, READ_WRITE) } != 0 {
            return Err(failed("mprotect", address, length, crate::errno()));
        }
        Ok(())
    }

    /// Turns a range back into a bare reservation: one call, whatever was mapped there.
    ///
    /// # Errors
    /// `ENOMEM` when splitting a mapping passes `vm.max_map_count`; the range keeps what it had.
    pub fn retire(&self, address: usize, length: usize) -> Result<()> {
        self.check(address, length);
        // [kernel.mmap.reservation-whole-again]
        // SAFETY: as in `map_file`: only our own reservation is replaced; callers own the memory that goes.
        unsafe { map(Call::Retire, address as *mut _, length, libc::PROT_NONE, RESERVE | libc::MAP_FIXED, -1, 0) }
            .map_err(|errno| failed("mmap(PROT_NONE, MAP_FIXED)", address, length, errno))?;
        unlock(address, length);
        Ok(())
    }

    /// Unlocks a range that the process has locked. What is not locked stays as it is, and costs one call.
    pub fn unlock(&self, address: usize, length: usize) {
        self.check(address, length);
        unlock(address, length);
    }

    /// Moves the page tables of `[from, from + length)` to `to` and leaves `from` mapped and empty
    /// (`MREMAP_DONTUNMAP`, on shared memory since Linux 5.13). With both on a 1 GiB boundary the kernel moves one
    /// pointer for each GiB. The destination must be a bare reservation.
    ///
    /// # Errors
    /// `EINVAL` before Linux 5.13; `ENOMEM` by `RLIMIT_AS`; `EFAULT` when `from` is not one mapping.
    pub fn move_page_tables(&self, from: usize, to: usize, length: usize) -> Result<()> {
        self.check(from, length);
        self.check(to, length);
        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED | libc::MREMAP_DONTUNMAP;
        if let Some(errno) = inject::refusal(Call::Move) {
            return Err(unmoved(from, length, errno));
        }
        // [kernel.mremap.dontunmap.memfd-shared.fixed] [kernel.mremap.dontunmap.memfd-shared.contents]
        // [kernel.mremap.einval.overlap] [kernel.mremap.step.gib]
        // SAFETY: both ranges lie in our own reservation (checked) and do not overlap (the kernel checks: EINVAL).
        let moved = unsafe { libc::mremap(from as *mut _, length, length, flags, to) };
        if moved == libc::MAP_FAILED {
            return Err(unmoved(from, length, crate::errno()));
        }
        Ok(())
    }

    /// Drops the page-table entries of a range of a shared mapping; the file keeps its pages. A locked range is unlocked.
    ///
    /// # Errors
    /// None expected on a range that is mapped, but for filters on system calls.
    pub fn drop_entries(&self, address: usize, length: usize) -> Result<()> {
        self.check(address, length);
        // [kernel.memfd.dontneed-keeps-pages] [kernel.madvise.dontneed-locked]
        unlocked(address, length, || advise(address, length, libc::MADV_DONTNEED, "madvise(MADV_DONTNEED)"))
    }

    /// Fills the page-table entries of a writable range in one call, which costs a fraction of a fault for each page.
    ///
    /// # Errors
    /// `EINVAL` before Linux 5.14; `ENOMEM`. The entries are then filled by faults.
    pub fn fill_entries(&self, address: usize, length: usize) -> Result<()> {
        self.check(address, length);
        // [kernel.madvise.populate-write]
        advise(address, length, libc::MADV_POPULATE_WRITE, "madvise(MADV_POPULATE_WRITE)")
    }

    /// Takes the pages of a range of a shared mapping out of its file. A locked range is unlocked.
    ///
    /// # Errors
    /// None expected on a writable mapping of a memfd, but for filters on system calls.
    pub fn remove_pages(&self, address: usize, length: usize) -> Result<()> {
        self.check(address, length);
        // [kernel.memfd.remove]
        unlocked(address, length, || advise(address, length, libc::MADV_REMOVE, "madvise(MADV_REMOVE)"))
    }

    /// Unmaps the whole range before the reservation is dropped.
    ///
    /// # Safety
    /// Nobody uses an address of the range any more.
    pub unsafe fn release(&self) {
        if !self.is_released.swap(true, Ordering::AcqRel) {
            // SAFETY: the mapping was made by `new`, covers nothing else, and nobody uses it, by this function's contract.
            unsafe { libc::munmap(self.mapped.0 as *mut _, self.mapped.1) };
        }
    }
}

/// What the kernel is told about every mapping of a heap's file.
const MAPPED_ADVICE: [(i32, &str); 2] =
    [(libc::MADV_DONTFORK, "madvise(MADV_DONTFORK)"), (libc::MADV_DONTDUMP, "madvise(MADV_DONTDUMP)")];

/// `mmap`, with its errno. Fault path.
///
/// # Safety
/// As `mmap`: with `MAP_FIXED` the range must be the caller's.
unsafe fn map(
    call: Call,
    address: *mut libc::c_void,
    length: usize,
    prot: i32,
    flags: i32,
    file: i32,
    offset: usize,
) -> std::result::Result<usize, i32> {
    if let Some(errno) = inject::refusal(call) {
        return Err(errno);
    }
    // SAFETY: by this function's contract.
    let mapped = unsafe { libc::mmap(address, length, prot, flags, file, offset as libc::off_t) };
    if mapped == libc::MAP_FAILED { Err(crate::errno()) } else { Ok(mapped as usize) }
}

/// Unlocks a range. A refusal only means that it stays locked, which whoever minds finds out.
fn unlock(address: usize, length: usize) {
    // SAFETY: munlock changes no content.
    unsafe { libc::munlock(address as *const _, length) };
}

/// Runs a call that the kernel refuses on locked memory, again after unlocking it.
fn unlocked(address: usize, length: usize, run: impl Fn() -> Result<()>) -> Result<()> {
    match run() {
        Err(error) if error.errno == libc::EINVAL => {
            unlock(address, length);
            run()
        }
        result => result,
    }
}

fn failed(call: &'static str, address: usize, length: usize, errno: i32) -> KernelError {
    let remedy = match errno {
        libc::EAGAIN => "the process locks its future memory (mlockall) and may not lock as much: raise ulimit -l",
        libc::ENOMEM => "raise the limit on address space (ulimit -v) or data (ulimit -d), or vm.max_map_count",
        libc::EMFILE | libc::ENFILE => DESCRIPTORS,
        _ if is_forbidden(errno) => FORBIDDEN,
        _ => "",
    };
    KernelError { call, address, length, errno, remedy }
}

/// A refused move of page tables.
fn unmoved(address: usize, length: usize, errno: i32) -> KernelError {
    let remedy = match errno {
        libc::EINVAL => "moving shared memory needs Linux 5.13; delivery=\"software\" works without",
        libc::ENOMEM => {
            "both places count: raise the limit on address space (ulimit -v) or vm.max_map_count; delivery=\"software\" works without"
        }
        _ if is_forbidden(errno) => {
            "a filter on system calls (a container's seccomp profile) forbids it: allow it; delivery=\"software\" works without"
        }
        _ => "delivery=\"software\" works without",
    };
    KernelError { call: "mremap(MREMAP_DONTUNMAP)", address, length, errno, remedy }
}

fn advise(address: usize, length: usize, advice: i32, call: &'static str) -> Result<()> {
    let refused = match advice {
        libc::MADV_DONTNEED => inject::refusal(Call::Drop),
        libc::MADV_POPULATE_WRITE => inject::refusal(Call::Fill),
        libc::MADV_REMOVE => inject::refusal(Call::Remove),
        _ => None,
    };
    if let Some(errno) = refused {
        return Err(KernelError { call, address, length, errno, remedy: "refused by a test" });
    }
    // [kernel.madvise.dontneed-private]
    // SAFETY: callers pass ranges of a reservation they own; none of the advices used here frees data that is still needed:
    // DONTNEED is used on shared memory and on side tables that are done with, REMOVE on pages that are free.
    if unsafe { libc::madvise(address as *mut _, length, advice) } != 0 {
        return Err(KernelError::last(call, address, length, ""));
    }
    Ok(())
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // SAFETY: nothing refers to the range any more: the owner is being dropped.
        unsafe { self.release() };
    }
}
