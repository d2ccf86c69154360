//! A twin of a heap's slots window: another mapping of the same pages of the same file, laid out alike, to do to it what
//! the heap does to its own, and what else could be done. It takes page tables, no memory.

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Instant;

use subduct_kernel::memory::Reservation;
use subduct_kernel::uffd::{FEATURE_MINOR_SHMEM, FEATURE_MISSING_SHMEM, FEATURE_SIGBUS, Userfaultfd, continue_pages};
use subduct_kernel::{GIB, KernelError, page_size};

use crate::error::Result;

/// Linux 5.14: maps what is there, without touching it.
const MADV_POPULATE_READ: i32 = 22;

/// Another view of a file, and room to move its page tables to.
pub struct Twin {
    file: File,
    // Dropped before the file is closed, which a mapping does not mind.
    range: Reservation,
    userfaultfd: Userfaultfd,
    window_bytes: usize,
    /// What the file holds, as offsets: the rest are holes.
    extents: Vec<(usize, usize)>,
}

impl Twin {
    /// A twin of the first `window_bytes`, whole GiB, of this process's memfd `name`; every page that the file holds is
    /// mapped.
    ///
    /// # Errors
    /// The first system call that fails; `ENOENT` when no descriptor has that name.
    pub fn new(name: &str, window_bytes: usize) -> Result<Self> {
        let file = open(name)?;
        // A page and a region more than twice the window: for destinations that are not aligned.
        let range = Reservation::new(2 * window_bytes + GIB, GIB)?;
        let userfaultfd = Userfaultfd::new(FEATURE_SIGBUS | FEATURE_MINOR_SHMEM | FEATURE_MISSING_SHMEM)?;
        let extents = extents(&file, window_bytes)?;
        let twin = Self { file, range, userfaultfd, window_bytes, extents };
        twin.map()?;
        twin.populate()?;
        Ok(twin)
    }

    /// First address of the view.
    #[must_use]
    pub fn view(&self) -> usize {
        self.range.base()
    }

    /// First address that the page tables are moved to.
    #[must_use]
    pub fn shadow(&self) -> usize {
        self.range.base() + self.window_bytes
    }

    /// Bytes of the window, holes included.
    #[must_use]
    pub fn window_bytes(&self) -> usize {
        self.window_bytes
    }

    /// The pages the file held when the twin was made, as runs of offsets.
    #[must_use]
    pub fn extents(&self) -> &[(usize, usize)] {
        &self.extents
    }

    /// Bytes of pages that the file held when the twin was made.
    #[must_use]
    pub fn resident_bytes(&self) -> usize {
        self.extents.iter().map(|(start, end)| end - start).sum()
    }

    /// The descriptor that pages are installed through.
    #[must_use]
    pub fn descriptor(&self) -> RawFd {
        self.userfaultfd.raw()
    }

    /// Maps the file over whatever the view has.
    ///
    /// # Errors
    /// As [`Reservation::map_file`].
    pub fn map(&self) -> Result<()> {
        Ok(self.range.map_file(self.view(), self.window_bytes, self.file.as_fd(), 0)?)
    }

    /// Maps every page that the file holds into the view.
    ///
    /// # Errors
    /// `EINVAL` before Linux 5.14.
    pub fn populate(&self) -> Result<()> {
        for (start, end) in &self.extents {
            // SAFETY: the range is a mapping of our own; populating changes no content.
            let failed =
                unsafe { libc::madvise((self.view() + start) as *mut _, end - start, MADV_POPULATE_READ) } != 0;
            if failed {
                let remedy = "this measurement needs Linux 5.14";
                return Err(KernelError::last("madvise(MADV_POPULATE_READ)", *start, end - start, remedy).into());
            }
        }
        Ok(())
    }

    /// What a flip does, and nothing else: page tables to the shadow, then the registration. Microseconds.
    ///
    /// # Errors
    /// Those of the two calls.
    pub fn flip(&self) -> Result<f64> {
        let began = Instant::now();
        self.move_to(self.shadow())?;
        self.register()?;
        Ok(began.elapsed().as_secs_f64() * 1e6)
    }

    /// Moves the view's page tables to an address behind the view.
    ///
    /// # Errors
    /// As [`Reservation::move_page_tables`].
    pub fn move_to(&self, address: usize) -> Result<()> {
        Ok(self.range.move_page_tables(self.view(), address, self.window_bytes)?)
    }

    /// Registers the view.
    ///
    /// # Errors
    /// As [`Userfaultfd::register`].
    pub fn register(&self) -> Result<()> {
        Ok(self.userfaultfd.register(self.view(), self.window_bytes)?)
    }

    /// Ends the view's registration.
    ///
    /// # Errors
    /// As [`Userfaultfd::unregister`].
    pub fn unregister(&self) -> Result<()> {
        Ok(self.userfaultfd.unregister(self.view(), self.window_bytes)?)
    }

    /// Undoes [`Twin::flip`] at its price: moves the page tables back.
    ///
    /// # Errors
    /// The first call that fails.
    pub fn unflip(&self) -> Result<()> {
        self.unregister()?;
        self.range.move_page_tables(self.shadow(), self.view(), self.window_bytes)?;
        self.clear_behind()
    }

    /// Makes everything behind the view an empty reservation again.
    ///
    /// # Errors
    /// As [`Reservation::retire`].
    pub fn clear_behind(&self) -> Result<()> {
        Ok(self.range.retire(self.shadow(), self.window_bytes + GIB)?)
    }

    /// Drops the view's page-table entries.
    ///
    /// # Errors
    /// As [`Reservation::drop_entries`].
    pub fn drop_entries(&self) -> Result<()> {
        Ok(self.range.drop_entries(self.view(), self.window_bytes)?)
    }

    /// Installs all pages that the file holds into the registered, empty view, `pages` at a time. Pages installed.
    pub fn install(&self, pages: usize) -> u64 {
        let mut installed = 0;
        for (start, end) in &self.extents {
            let mut at = *start;
            while at < *end {
                let length = (pages * page_size()).min(end - at);
                let done = continue_pages(self.descriptor(), self.view() + at, length);
                installed += (done.mapped / page_size()) as u64;
                // Where another thread was first, one page is stepped over.
                at += if done.errno == libc::EEXIST { done.mapped + page_size() } else { done.mapped };
                if done.errno != 0 && done.errno != libc::EEXIST && done.errno != libc::EAGAIN {
                    return installed;
                }
            }
        }
        installed
    }

    /// The byte at an offset of the view.
    ///
    /// # Panics
    /// When it lies outside.
    #[inline]
    #[must_use]
    pub fn touch(&self, offset: usize) -> u8 {
        assert!(offset < self.window_bytes);
        // SAFETY: inside the view, which is mapped and readable as long as `self`. Other threads write the page as
        // atomics; the value is not used for anything but its being read.
        unsafe { ((self.view() + offset) as *const u8).read_volatile() }
    }

    /// Copies `[start, end)` of the view to memory of the caller.
    ///
    /// # Panics
    /// When it lies outside or does not fit.
    pub fn copy_out(&self, start: usize, to: &mut [u8]) {
        assert!(to.len() <= self.window_bytes && start <= self.window_bytes - to.len());
        // SAFETY: the source is mapped as in `touch`, the destination is exclusive; they are different mappings.
        unsafe { std::ptr::copy_nonoverlapping((self.view() + start) as *const u8, to.as_mut_ptr(), to.len()) };
    }
}

/// Opens this process's memfd once more, with a file position of its own.
fn open(name: &str) -> Result<File> {
    let wanted = format!("/memfd:{name} (deleted)");
    let fail = |error: &std::io::Error| KernelError {
        call: "open(/proc/self/fd)",
        address: 0,
        length: 0,
        errno: error.raw_os_error().unwrap_or(libc::ENOENT),
        remedy: "measuring beside a heap needs /proc",
    };
    for entry in fs::read_dir("/proc/self/fd").map_err(|error| fail(&error))?.flatten() {
        if fs::read_link(entry.path()).is_ok_and(|target| target.as_os_str() == wanted.as_str()) {
            let opened = fs::OpenOptions::new().read(true).write(true).custom_flags(libc::O_CLOEXEC).open(entry.path());
            return Ok(opened.map_err(|error| fail(&error))?);
        }
    }
    Err(fail(&std::io::Error::from_raw_os_error(libc::ENOENT)).into())
}

/// The runs of pages that the file holds below `end`.
fn extents(file: &File, end: usize) -> Result<Vec<(usize, usize)>> {
    let seek = |from: usize, whence| {
        // SAFETY: a plain call on a descriptor of our own.
        let at = unsafe { libc::lseek(file.as_raw_fd(), from as libc::off_t, whence) };
        if at >= 0 {
            return Ok(Some(at as usize));
        }
        let error = KernelError::last("lseek(SEEK_DATA)", from, 0, "");
        if error.errno == libc::ENXIO { Ok(None) } else { Err(error) }
    };
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(start) = seek(from, libc::SEEK_DATA)?.filter(|start| *start < end) {
        let stop = seek(start, libc::SEEK_HOLE)?.unwrap_or(end).min(end);
        found.push((start, stop));
        from = stop;
    }
    Ok(found)
}
