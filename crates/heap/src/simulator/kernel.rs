//! What the simulated kernel knows about the pages of a heap's view, and what it says to calls about them.

use std::sync::atomic::{AtomicU8, Ordering};

use subduct_kernel::uffd::Continued;
use subduct_kernel::{KernelError, Result};

use super::scheduler::{once_in, point, random};

/// The page is in the page table.
const MAPPED: u8 = 1;
/// Its range is registered.
const ARMED: u8 = 2;
/// The file has it.
const PRESENT: u8 = 4;

/// Of this many calls one is refused.
const REFUSED_EVERY: u64 = 40;

/// What an access to a page comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It goes through.
    Through,
    /// It is a fault of ours.
    Fault,
}

/// The pages of one heap's view.
pub struct Pages {
    states: Box<[AtomicU8]>,
    page_bytes: u64,
}

// Relaxed throughout: only one thread of a simulation runs at a time, and the scheduler's lock orders them.
impl Pages {
    /// `bytes` of view, mapped nowhere, in an empty file.
    #[must_use]
    pub fn new(bytes: u64, page_bytes: u64) -> Self {
        let states = (0..bytes / page_bytes).map(|_| AtomicU8::new(0)).collect();
        Self { states, page_bytes }
    }

    fn range(&self, start: u64, end: u64) -> &[AtomicU8] {
        let whole = start.is_multiple_of(self.page_bytes) && end.is_multiple_of(self.page_bytes);
        assert!(whole, "{start:#x}..{end:#x} is no run of pages");
        &self.states[(start / self.page_bytes) as usize..(end / self.page_bytes) as usize]
    }

    fn set(&self, start: u64, end: u64, bits: u8) {
        for page in self.range(start, end) {
            page.fetch_or(bits, Ordering::Relaxed);
        }
    }

    fn clear(&self, start: u64, end: u64, bits: u8) {
        for page in self.range(start, end) {
            page.fetch_and(!bits, Ordering::Relaxed);
        }
    }

    /// Refuses a call now and then.
    fn may_refuse(call: &'static str, errnos: &[i32]) -> Result<()> {
        point();
        if !once_in(REFUSED_EVERY) {
            return Ok(());
        }
        let errno = errnos[random().unwrap_or(0) as usize % errnos.len()];
        Err(KernelError { call, address: 0, length: 0, errno, remedy: "refused by the simulator" })
    }

    /// `fallocate`.
    ///
    /// # Errors
    /// When the seed wants it.
    pub fn populate(&self, start: u64, end: u64) -> Result<()> {
        Self::may_refuse("fallocate", &[libc::ENOMEM])?;
        self.set(start, end, PRESENT);
        Ok(())
    }

    /// `fallocate(FALLOC_FL_PUNCH_HOLE)`, which takes the pages out of every page table.
    pub fn punch(&self, start: u64, end: u64) {
        point();
        self.clear(start, end, PRESENT | MAPPED);
    }

    /// `mremap(MREMAP_DONTUNMAP)` away from a range.
    ///
    /// # Errors
    /// When the seed wants it.
    pub fn move_away(&self, start: u64, end: u64) -> Result<()> {
        Self::may_refuse("mremap", &[libc::ENOMEM, libc::EAGAIN])?;
        self.clear(start, end, MAPPED);
        Ok(())
    }

    /// `madvise(MADV_POPULATE_WRITE)` of what is present.
    pub fn fill_entries(&self, start: u64, end: u64) {
        point();
        self.set(start, end, MAPPED);
    }

    /// `madvise(MADV_DONTNEED)`.
    pub fn drop_entries(&self, start: u64, end: u64) {
        point();
        self.clear(start, end, MAPPED);
    }

    /// `UFFDIO_REGISTER`.
    ///
    /// # Errors
    /// When the seed wants it.
    pub fn arm(&self, start: u64, end: u64) -> Result<()> {
        Self::may_refuse("UFFDIO_REGISTER", &[libc::ENOMEM, libc::EBUSY])?;
        self.set(start, end, ARMED);
        Ok(())
    }

    /// `UFFDIO_UNREGISTER`.
    ///
    /// # Errors
    /// When the seed wants it.
    pub fn disarm(&self, start: u64, end: u64) -> Result<()> {
        Self::may_refuse("UFFDIO_UNREGISTER", &[libc::ENOMEM])?;
        self.clear(start, end, ARMED);
        Ok(())
    }

    /// Closing the descriptor.
    pub fn disarm_all(&self) {
        self.clear(0, self.states.len() as u64 * self.page_bytes, ARMED);
    }

    /// Ending the registration of some pages when nothing else is left: never refused.
    pub fn expose(&self, start: u64, end: u64) {
        self.clear(start, end, ARMED);
    }

    /// `UFFDIO_CONTINUE`: stops where the kernel would, and sometimes earlier.
    #[must_use]
    pub fn install(&self, start: u64, end: u64) -> Continued {
        if let Err(refused) = Self::may_refuse(
            "UFFDIO_CONTINUE",
            &[libc::EAGAIN, libc::EAGAIN, libc::EAGAIN, libc::ENOMEM, libc::EBADF, libc::EFAULT],
        ) {
            return Continued { mapped: 0, errno: refused.errno };
        }
        let mut mapped = 0;
        let stop = |mapped: u64, errno: i32| Continued {
            mapped: mapped as usize,
            errno: if mapped > 0 { libc::EAGAIN } else { errno },
        };
        for page in self.range(start, end) {
            let seen = page.load(Ordering::Relaxed);
            match seen {
                _ if seen & ARMED == 0 => return stop(mapped, libc::ENOENT),
                _ if seen & MAPPED != 0 => return stop(mapped, libc::EEXIST),
                _ if seen & PRESENT == 0 => return stop(mapped, libc::EFAULT),
                _ if once_in(REFUSED_EVERY) => return stop(mapped, libc::EAGAIN),
                _ => page.store(seen | MAPPED, Ordering::Relaxed),
            }
            mapped += self.page_bytes;
            point();
        }
        Continued { mapped: mapped as usize, errno: 0 }
    }

    /// An access to the view.
    ///
    /// # Panics
    /// When it would make a page of a hole: memory that nobody has charged.
    #[must_use]
    pub fn access(&self, offset: u64) -> Access {
        point();
        let page = &self.states[(offset / self.page_bytes) as usize];
        let seen = page.load(Ordering::Relaxed);
        if seen & MAPPED != 0 {
            return Access::Through;
        }
        if seen & ARMED != 0 {
            return Access::Fault;
        }
        assert!(seen & PRESENT != 0, "an access at {offset:#x} makes a page that nobody has charged");
        page.store(seen | MAPPED, Ordering::Relaxed);
        Access::Through
    }

    /// Has the kernel take a page out of the page table by itself, as it may at any time under memory pressure.
    pub fn forget_one(&self) {
        let page = random().unwrap_or(0) as usize % self.states.len();
        self.states[page].fetch_and(!MAPPED, Ordering::Relaxed);
    }
}
