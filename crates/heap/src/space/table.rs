//! Side tables: one entry for each block, page or region of the heap, in private memory that is charged when touched.
//!
//! A table never faults in a registered range and needs no lock, so the fault path may use it.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::marker::PhantomData;
use std::ops::{Deref, Range};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64};

use subduct_kernel::memory::Reservation;

use crate::memory::Refused;

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

/// An array of `T`, zero at first, for as long as anything refers to its heap: a [`SideTable`] is unmapped when the heap is closed.
/// The C library takes a long one from the kernel, which charges it when it is touched.
pub struct Zeroed<T> {
    entries: NonNull<T>,
    length: usize,
}

impl<T: ZeroIsValid> Zeroed<T> {
    /// `length` zeroed entries.
    ///
    /// # Errors
    /// [`Refused`].
    ///
    /// # Panics
    /// When there are none, or they do not fit any memory.
    pub fn new(length: usize) -> Result<Self, Refused> {
        const { assert!(!std::mem::needs_drop::<T>()) };
        let layout = Self::layout(length);
        assert!(layout.size() > 0, "a table without entries");
        // SAFETY: the layout has a size.
        let memory = unsafe { alloc_zeroed(layout) };
        let entries = NonNull::new(memory.cast::<T>()).ok_or(Refused { bytes: layout.size() as u64 })?;
        Ok(Self { entries, length })
    }
}

impl<T> Zeroed<T> {
    fn layout(length: usize) -> Layout {
        Layout::array::<T>(length).expect("a table that fits the address space")
    }
}

impl<T: ZeroIsValid> Deref for Zeroed<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: the memory has that length and alignment, lives as long as `self`, and was zeroed; `ZeroIsValid` makes that valid,
        // shareable Ts.
        unsafe { std::slice::from_raw_parts(self.entries.as_ptr(), self.length) }
    }
}

impl<T> Drop for Zeroed<T> {
    fn drop(&mut self) {
        // SAFETY: allocated by `new` with this layout, and nobody refers to it any more. `new` takes only types that need no drop.
        unsafe { dealloc(self.entries.as_ptr().cast(), Self::layout(self.length)) };
    }
}

// SAFETY: it owns its memory, and hands out shared references only, to types that threads may share.
unsafe impl<T: ZeroIsValid> Send for Zeroed<T> {}
// SAFETY: as above.
unsafe impl<T: ZeroIsValid> Sync for Zeroed<T> {}

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
