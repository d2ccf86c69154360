//! Address ranges: reservations that hold a place, views of a memfd, and moving page tables.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use crate::{KernelError, Result, inject};

const RESERVE: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;

/// An address range that belongs to us until dropped. Parts of it are replaced by views and private memory; the
/// range as a whole is never unmapped before, so that no other mapping of the process can land in it.
#[derive(Debug)]
pub struct Reservation {
    /// What was mapped, alignment slack included.
    mapped: (usize, usize),
    base: usize,
    length: usize,
}

impl Reservation {
    /// Reserves `length` bytes at a multiple of `alignment` (a power of two), inaccessible and free of charge.
    ///
    /// # Errors
    /// `ENOMEM` when the address space is limited (`RLIMIT_AS`) or `max_map_count` is reached.
    pub fn new(length: usize, alignment: usize) -> Result<Self> {
        let total = length + alignment;
        // [kernel.mmap.reservation]
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches no existing memory.
        let start = unsafe { libc::mmap(ptr::null_mut(), total, libc::PROT_NONE, RESERVE, -1, 0) };
        if start == libc::MAP_FAILED {
            let remedy = "raise the address-space limit (ulimit -v) or vm.max_map_count, or use a smaller budget";
            return Err(KernelError::last("mmap(PROT_NONE)", 0, total, remedy));
        }
        let start = start as usize;
        let base = (start + alignment - 1) & !(alignment - 1);
        Ok(Self { mapped: (start, total), base, length })
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

    /// Maps `length` bytes of `file` from `offset` at `address`, shared, readable and writable. Forked children do not get it, core dumps leave it out.
    ///
    /// # Errors
    /// `ENOMEM` as for [`Reservation::new`]; the range keeps what it had.
    pub fn map_file(&self, address: usize, length: usize, file: BorrowedFd<'_>, offset: usize) -> Result<()> {
        self.check(address, length);
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_FIXED;
        // [kernel.mmap.fixed-replaces]
        // SAFETY: the range lies in our own reservation (checked above), so MAP_FIXED replaces only what is ours.
        let mapped =
            unsafe { libc::mmap(address as *mut _, length, prot, flags, file.as_raw_fd(), offset as libc::off_t) };
        if mapped == libc::MAP_FAILED {
            return Err(KernelError::last("mmap(memfd)", address, length, "see vm.max_map_count and ulimit -v"));
        }
        // [kernel.madvise.dontfork] [kernel.madvise.dontdump] [kernel.madvise.part-splits]
        // [kernel.uffd.fork.child-not-registered]
        advise(address, length, libc::MADV_DONTFORK, "madvise(MADV_DONTFORK)")?;
        advise(address, length, libc::MADV_DONTDUMP, "madvise(MADV_DONTDUMP)")
    }

    /// Maps private zeroed memory at `address`, not charged until touched.
    ///
    /// # Errors
    /// `ENOMEM` as for [`Reservation::new`].
    pub fn map_private(&self, address: usize, length: usize) -> Result<()> {
        self.check(address, length);
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: as in `map_file`: only our own reservation is replaced.
        let mapped = unsafe { libc::mmap(address as *mut _, length, prot, RESERVE | libc::MAP_FIXED, -1, 0) };
        if mapped == libc::MAP_FAILED {
            return Err(KernelError::last("mmap(private)", address, length, "see vm.max_map_count and ulimit -v"));
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
        let mapped =
            unsafe { libc::mmap(address as *mut _, length, libc::PROT_NONE, RESERVE | libc::MAP_FIXED, -1, 0) };
        if mapped == libc::MAP_FAILED {
            return Err(KernelError::last("mmap(PROT_NONE, MAP_FIXED)", address, length, "see vm.max_map_count"));
        }
        Ok(())
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
        if let Some(errno) = inject::refusal(inject::Call::Move) {
            let remedy = "refused by a test";
            return Err(KernelError { call: "mremap(MREMAP_DONTUNMAP)", address: from, length, errno, remedy });
        }
        // [kernel.mremap.dontunmap.memfd-shared.fixed] [kernel.mremap.dontunmap.memfd-shared.contents]
        // [kernel.mremap.einval.overlap] [kernel.mremap.step.gib]
        // SAFETY: both ranges lie in our own reservation (checked) and do not overlap (the kernel checks: EINVAL).
        let moved = unsafe { libc::mremap(from as *mut _, length, length, flags, to) };
        if moved == libc::MAP_FAILED {
            let remedy = match crate::errno() {
                libc::EINVAL => "moving shared memory needs Linux 5.13; delivery=\"software\" works without",
                libc::ENOMEM => {
                    "both places count: raise the address-space limit (ulimit -v) or vm.max_map_count; delivery=\"software\" works without"
                }
                _ => "delivery=\"software\" works without",
            };
            return Err(KernelError::last("mremap(MREMAP_DONTUNMAP)", from, length, remedy));
        }
        Ok(())
    }

    /// Drops the page-table entries of a range of a shared mapping; the file keeps its pages.
    ///
    /// # Errors
    /// `EINVAL` for a locked range.
    pub fn drop_entries(&self, address: usize, length: usize) -> Result<()> {
        self.check(address, length);
        // [kernel.memfd.dontneed-keeps-pages] [kernel.madvise.dontneed-locked]
        advise(address, length, libc::MADV_DONTNEED, "madvise(MADV_DONTNEED)")
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
}

fn advise(address: usize, length: usize, advice: i32, call: &'static str) -> Result<()> {
    // [kernel.madvise.dontneed-private]
    // SAFETY: callers pass ranges of a reservation they own; none of the advices used here frees anonymous data that
    // is still needed (DONTNEED is used on shared memory and on side tables that are done with).
    if unsafe { libc::madvise(address as *mut _, length, advice) } != 0 {
        return Err(KernelError::last(call, address, length, ""));
    }
    Ok(())
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new`, covers nothing else, and nothing refers to it any more: the owner
        // is being dropped.
        unsafe { libc::munmap(self.mapped.0 as *mut _, self.mapped.1) };
    }
}
