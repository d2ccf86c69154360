//! Side tables: one entry for each block, page or region of the heap, in private memory that is charged when touched.
//!
//! A table never faults in a registered range and needs no lock, so the fault path may use it.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64};

use subduct_kernel::memory::Reservation;

/// Types that are valid when all their bytes are zero, hold no pointer, and may be shared by threads.
///
/// # Safety
/// All of that must hold.
pub unsafe trait ZeroIsValid: Sync {}

// SAFETY: integers; zero is one of their values; atomics are Sync.
unsafe impl ZeroIsValid for AtomicU32 {}
// SAFETY: as above.
unsafe impl ZeroIsValid for AtomicU16 {}
// SAFETY: as above.
unsafe impl ZeroIsValid for AtomicU64 {}

/// An array of `T`, zero at first.
pub struct SideTable<T> {
    memory: Reservation,
    length: usize,
    entries: PhantomData<T>,
}

impl<T: ZeroIsValid> SideTable<T> {
    /// A table of `length` zeroed entries. No memory is used until an entry is touched.
    ///
    /// # Errors
    /// As [`Reservation::new`].
    pub fn new(length: usize) -> subduct_kernel::Result<Self> {
        let page = subduct_kernel::page_size();
        let bytes = (length * size_of::<T>()).next_multiple_of(page).max(page);
        let memory = Reservation::new(bytes, page)?;
        memory.map_private(memory.base(), bytes)?;
        Ok(Self { memory, length, entries: PhantomData })
    }

    /// Entry `index`.
    ///
    /// # Panics
    /// When there is none.
    #[inline]
    #[must_use]
    pub fn get(&self, index: usize) -> &T {
        &self.entries()[index]
    }

    /// All entries.
    #[inline]
    #[must_use]
    pub fn entries(&self) -> &[T] {
        // SAFETY: the mapping has that length, is page-aligned, lives as long as `self`, and was zeroed by the kernel;
        // `ZeroIsValid` makes that valid, shareable Ts.
        unsafe { std::slice::from_raw_parts(self.memory.base() as *const T, self.length) }
    }

    /// Gives the memory of a range of entries back to the machine, as far as it fills pages; those entries are zero then.
    ///
    /// # Panics
    /// When the range lies outside the table.
    pub fn give_back(&self, range: Range<usize>) {
        assert!(range.start <= range.end && range.end <= self.length);
        let page = subduct_kernel::page_size();
        let start = (self.memory.base() + range.start * size_of::<T>()).next_multiple_of(page);
        let end = (self.memory.base() + range.end * size_of::<T>()) & !(page - 1);
        if start < end {
            // Refused only for locked memory, which stays resident then, and keeps what is in it.
            let _ = self.memory.drop_entries(start, end - start);
        }
    }

    /// Unmaps the table before it is dropped.
    ///
    /// # Safety
    /// Nobody uses the table any more.
    pub unsafe fn release(&self) {
        // SAFETY: by this function's contract.
        unsafe { self.memory.release() };
    }

    /// Makes a range of entries zero again.
    ///
    /// # Panics
    /// When the range lies outside the table.
    pub fn clear(&self, range: Range<usize>) {
        assert!(range.start <= range.end && range.end <= self.length);
        let bytes = range.len() * size_of::<T>();
        let start = self.memory.base() + range.start * size_of::<T>();
        // SAFETY: the range is inside the mapping (checked) and T is a plain integer underneath. No other thread uses
        // entries that are being cleared: callers clear regions that no thread marks or forwards at that time.
        unsafe { std::ptr::write_bytes(start as *mut u8, 0, bytes) };
    }
}
