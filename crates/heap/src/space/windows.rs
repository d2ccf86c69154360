//! The heap's memory: a memfd for each window, seen through the view and, during a move, through the shadow.
//!
//! ```text
//!            slots window          leaves window
//! view     |rrrrrrrrrrrrrrrrrrr..|llllllllllll......|   every reference points here
//! shadow   |                     |                  |   inaccessible, but during a move
//! memfds   |rrrrrrrrrrrrrrrrrrr| |llllllllllll|         as long as what was ever resident
//! ```
//!
//! The files grow with what is resident: a process that locks all its memory then fills the holes among it, not the windows.
//!
//! All raw access to heap memory is in this file: everything else works with offsets and a [`Base`]. All system calls
//! about it are in `mapping.rs`.

use std::ops::Range;
use std::os::fd::RawFd;
use std::sync::atomic::AtomicU64;

use subduct_kernel::Result;
use subduct_kernel::memfd::Memfd;
use subduct_kernel::memory::Reservation;

use super::layout::{Geometry, Window};

/// Words copied with one call of `memcpy`: for more, the C library takes an instruction that copies whole strings, which is three
/// times slower on some processors when source and destination lie differently within their pages.
const COPY_WORDS: usize = 128;

/// Where offset 0 of the heap lies in one of its two ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base(usize);

impl Base {
    /// Address of a byte.
    #[inline]
    #[must_use]
    pub fn address(self, offset: u64) -> usize {
        self.0 + offset as usize
    }
}

/// The memory of one heap.
pub struct Windows {
    // Declared first: the mapping goes before the files.
    pub(super) reservation: Reservation,
    memfds: [Memfd; 2],
    geometry: Geometry,
    /// What stands for the kernel, in a simulation.
    #[cfg(feature = "simulate")]
    pub(super) simulated: Option<crate::simulator::kernel::Pages>,
}

impl Windows {
    /// Creates the files and maps the view.
    ///
    /// # Errors
    /// As [`Memfd::new`] and [`Reservation::new`].
    pub fn new(name: &str, geometry: Geometry) -> Result<Self> {
        let total = geometry.total_bytes() as usize;
        #[cfg(not(feature = "simulate"))]
        let create = Memfd::growing;
        // A simulated kernel makes nothing resident.
        #[cfg(feature = "simulate")]
        let create = Memfd::new;
        let memfd = |window| create(name, geometry.window_bytes(window) as usize);
        let memfds = [memfd(Window::Slots)?, memfd(Window::Leaves)?];
        let reservation = Reservation::new(2 * total, geometry.unit_bytes() as usize)?;
        #[cfg(feature = "simulate")]
        let simulated = crate::simulator::scheduler::is_running()
            .then(|| crate::simulator::kernel::Pages::new(geometry.total_bytes(), geometry.page_bytes()));
        let windows = Self {
            reservation,
            memfds,
            geometry,
            #[cfg(feature = "simulate")]
            simulated,
        };
        // [kernel.memfd.two-views] [kernel.uffd.sigbus.system-call]
        for window in Window::ALL {
            let Range { start, end } = geometry.range(window);
            windows.map(windows.view(), start, end)?;
        }
        Ok(windows)
    }

    /// Maps a range of one window where it belongs below `base`.
    ///
    /// # Errors
    /// As [`Reservation::map_file`].
    pub(super) fn map(&self, base: Base, start: u64, end: u64) -> Result<()> {
        let (memfd, offset) = self.part(start, end);
        let length = (end - start) as usize;
        self.reservation.map_file(base.address(start), length, memfd.ours("mmap(memfd)", offset, length)?, offset)
    }

    /// The file that holds a range of one window, and where in it the range begins.
    pub(super) fn part(&self, start: u64, end: u64) -> (&Memfd, usize) {
        let window = self.geometry.window_of(start);
        let range = self.geometry.range(window);
        debug_assert!(start < end && end <= range.end, "a range of one window");
        (&self.memfds[window.index()], (start - range.start) as usize)
    }

    /// Unmaps both ranges and closes the files.
    ///
    /// # Safety
    /// Nobody uses an offset of the heap any more.
    pub unsafe fn release(&self) {
        // SAFETY: by this function's contract.
        unsafe { self.reservation.release() };
        for memfd in &self.memfds {
            // Somebody else may hold the file, too: a child that was forked when its table of descriptors was full.
            let _ = memfd.punch(0, memfd.length());
            memfd.close();
        }
    }

    /// The heap's sizes.
    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The files' descriptors.
    #[must_use]
    pub fn descriptors(&self) -> [RawFd; 2] {
        self.memfds.each_ref().map(Memfd::raw)
    }

    /// Bytes of memory that the files hold right now, asked from the kernel.
    ///
    /// # Errors
    /// As [`Memfd::resident_bytes`].
    pub fn resident_bytes(&self) -> Result<u64> {
        self.memfds.iter().map(Memfd::resident_bytes).sum()
    }

    /// Where every reference points.
    #[inline]
    #[must_use]
    pub fn view(&self) -> Base {
        Base(self.reservation.base())
    }

    /// The collector's own way to the same pages.
    #[inline]
    #[must_use]
    pub fn shadow(&self) -> Base {
        #[cfg(feature = "simulate")]
        if self.simulated.is_some() {
            // The pages of a simulated view are always within reach.
            return self.view();
        }
        Base(self.reservation.base() + self.geometry.total_bytes() as usize)
    }

    #[inline]
    fn check(&self, base: Base, offset: u64, bytes: u64) {
        let total = self.geometry.total_bytes();
        if bytes > total || offset > total - bytes {
            outside(offset, bytes);
        }
        debug_assert!(base == self.view() || base == self.shadow());
    }

    /// The word at `offset`, a multiple of 8.
    ///
    /// # Panics
    /// When it lies outside the heap: a reference is broken.
    #[inline]
    #[must_use]
    pub fn word(&self, base: Base, offset: u64) -> &AtomicU64 {
        self.check(base, offset, 8);
        debug_assert!(offset & 7 == 0);
        // SAFETY: the range is inside the view or shadow (checked), aligned, and mapped: the view always is, the shadow
        // during a move, which is when `shadow()` is used. The mapping lives as long as `self`. All words of the
        // heap are accessed as atomics, or as bytes of leaves that nobody writes.
        unsafe { &*(base.address(offset) as *const AtomicU64) }
    }

    /// The `count` words at `offset`, a multiple of 8.
    ///
    /// # Panics
    /// As [`Windows::word`].
    #[inline]
    #[must_use]
    pub fn words(&self, base: Base, offset: u64, count: usize) -> &[AtomicU64] {
        self.check(base, offset, count as u64 * 8);
        debug_assert!(offset & 7 == 0);
        // SAFETY: as for `word`, for the whole range.
        unsafe { std::slice::from_raw_parts(base.address(offset) as *const AtomicU64, count) }
    }

    /// Asks for the line that holds a byte.
    #[inline]
    pub fn prefetch(&self, base: Base, offset: u64) {
        prefetch_address(base.address(offset));
    }

    /// The bytes of an immutable leaf.
    ///
    /// # Panics
    /// As [`Windows::word`].
    #[inline]
    #[must_use]
    pub fn bytes(&self, offset: u64, length: usize) -> &[u8] {
        self.check(self.view(), offset, length as u64);
        // SAFETY: inside the view (checked) and mapped as for `word`. Callers pass the raw bytes of a leaf, which are
        // written once before the leaf is published and never again; when the leaf moves, the old bytes stay until
        // every operation that could hold this slice has ended.
        unsafe { std::slice::from_raw_parts(self.view().address(offset) as *const u8, length) }
    }

    /// Copies `source` into the heap.
    ///
    /// # Panics
    /// As [`Windows::word`].
    pub fn write_bytes(&self, offset: u64, source: &[u8]) {
        self.check(self.view(), offset, source.len() as u64);
        // SAFETY: inside the view (checked), mapped, and part of an object that is not published yet (callers write
        // leaves that only they know), so nobody reads it; a slice cannot overlap it, since no safe reference
        // to unpublished memory exists.
        unsafe {
            std::ptr::copy_nonoverlapping(source.as_ptr(), self.view().address(offset) as *mut u8, source.len());
        }
    }

    /// Zeroes `words` words that nobody else uses yet.
    ///
    /// # Panics
    /// As [`Windows::word`].
    #[inline]
    pub fn zero_words(&self, offset: u64, words: usize) {
        self.check(self.view(), offset, words as u64 * 8);
        // SAFETY: inside the view (checked), mapped, and just taken from the allocating thread's own chunk.
        unsafe { std::ptr::write_bytes(self.view().address(offset) as *mut u64, 0, words) };
    }

    /// Copies words between two places that do not overlap and that no other thread writes.
    ///
    /// # Panics
    /// As [`Windows::word`].
    #[inline]
    pub fn copy_words(&self, (from_base, from): (Base, u64), (to_base, to): (Base, u64), words: usize) {
        self.check(from_base, from, words as u64 * 8);
        self.check(to_base, to, words as u64 * 8);
        let (source, destination) = (from_base.address(from) as *const u64, to_base.address(to) as *mut u64);
        for done in (0..words).step_by(COPY_WORDS) {
            // SAFETY: both ranges are inside the heap (checked) and mapped as for `word`. They are a source and a
            // destination region, which differ. Nobody writes the source (it is reachable through no reference
            // after the flip) and only the thread that claimed the destination page writes it.
            unsafe {
                let (source, destination) = (source.add(done), destination.add(done));
                std::ptr::copy_nonoverlapping(source, destination, COPY_WORDS.min(words - done));
            }
        }
    }
}

/// Out of the way, and by value: a message with the figures in place would keep them out of registers.
#[cold]
fn outside(offset: u64, bytes: u64) -> ! {
    panic!("offset {offset:#x}+{bytes} lies outside the heap");
}

/// Asks the processor for the line at an address.
#[inline]
pub fn prefetch_address(address: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: prefetching any address is harmless: it neither faults nor changes anything a program can see.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address as *const i8);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
