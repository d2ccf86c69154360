//! Units of the heap and the arithmetic between them. Every cast between them is here.
//!
//! The heap's address range is counted in byte offsets from its base: the slots window first, the leaves window after
//! it. An offset means the same byte in the view, in the shadow and in the file.

use std::ops::Range;

use subduct_kernel::GIB;

const REGION_SHIFT: u32 = 21;
/// Windows are whole multiples of this where there are addresses enough: what the kernel moves by one pointer. Elsewhere they are
/// multiples of a region, and the kernel moves a pointer for each. Simulated kernels move anything.
pub const WINDOW_UNIT_BYTES: u64 = if cfg!(feature = "simulate") { 1 << REGION_SHIFT } else { 1 << 30 };
/// Bytes of a region: the unit of allocation and evacuation.
pub const REGION_BYTES: u64 = 1 << REGION_SHIFT;
/// Objects above this size in bytes get regions of their own and do not move.
pub const LARGE_BYTES: u64 = 256 << 10;
/// Bytes a mutator takes from a region at a time.
pub const CHUNK_BYTES: u64 = 32 << 10;
/// The same where room is short.
pub const SHORT_CHUNK_BYTES: u64 = 4 << 10;
/// Regions become resident in steps of this many bytes.
pub const POPULATE_BYTES: u64 = 64 << 10;

const BLOCK_SHIFT: u32 = 9;
/// Bytes described by one word of the mark bitmap, and by one entry of the forwarding table.
pub const BLOCK_BYTES: u64 = 1 << BLOCK_SHIFT;

/// The two windows whose objects move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// Objects with slots, and the handle table. Flipped.
    Slots,
    /// Objects without. Never flipped.
    Leaves,
}

impl Window {
    /// Both, in address order.
    pub const ALL: [Self; 2] = [Self::Slots, Self::Leaves];

    /// Position in tables of two.
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

/// A region, by number from the heap's base.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionId(pub u32);

impl RegionId {
    /// The region that holds a byte.
    #[must_use]
    pub fn of(offset: u64) -> Self {
        Self((offset >> REGION_SHIFT) as u32)
    }

    /// Offset of its first byte.
    #[must_use]
    pub fn start(self) -> u64 {
        u64::from(self.0) << REGION_SHIFT
    }

    /// Offset behind its last byte.
    #[must_use]
    pub fn end(self) -> u64 {
        self.start() + REGION_BYTES
    }

    /// Position in a table of regions.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }

    /// The region `count` further on.
    #[must_use]
    pub fn offset_by(self, count: u32) -> Self {
        Self(self.0 + count)
    }
}

/// An OS page, by number from the heap's base.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PageId(pub u32);

impl PageId {
    /// Position in a table of pages.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }

    /// The next page.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Number of the 512-byte block that holds a byte.
#[must_use]
pub fn block_of(offset: u64) -> usize {
    (offset >> BLOCK_SHIFT) as usize
}

/// Number of a word within its block: its bit in the mark bitmap.
#[must_use]
pub fn bit_of(offset: u64) -> u32 {
    (offset >> 3 & 63) as u32
}

/// Sizes of one heap.
#[derive(Clone, Copy, Debug)]
pub struct Geometry {
    page_shift: u32,
    window_bytes: [u64; 2],
}

impl Geometry {
    /// Geometry for OS pages of `page_bytes` and windows of whole regions.
    ///
    /// # Panics
    /// When a window is no multiple of that, or there are more pages than a page number counts.
    #[must_use]
    pub fn new(page_bytes: usize, slots_bytes: u64, leaves_bytes: u64) -> Self {
        let page_shift = page_bytes.trailing_zeros();
        assert!(page_bytes.is_power_of_two() && u64::from(page_shift) <= u64::from(REGION_SHIFT));
        assert!((slots_bytes | leaves_bytes) & (REGION_BYTES - 1) == 0, "windows are whole regions");
        assert!((slots_bytes + leaves_bytes) >> page_shift <= u64::from(u32::MAX), "too many pages");
        Self { page_shift, window_bytes: [slots_bytes, leaves_bytes] }
    }

    /// Bytes of an OS page.
    #[must_use]
    pub fn page_bytes(&self) -> u64 {
        1 << self.page_shift
    }

    /// OS pages in a region.
    #[must_use]
    pub fn pages_per_region(&self) -> u32 {
        1 << (REGION_SHIFT - self.page_shift)
    }

    /// What windows are whole multiples of, and begin at: the larger, the fewer pointers a flip moves.
    #[must_use]
    pub fn unit_bytes(&self) -> u64 {
        let are_whole_units = self.window_bytes.iter().all(|bytes| bytes.is_multiple_of(GIB as u64));
        if are_whole_units { GIB as u64 } else { REGION_BYTES }
    }

    /// Bytes of a window.
    #[must_use]
    pub fn window_bytes(&self, window: Window) -> u64 {
        self.window_bytes[window.index()]
    }

    /// Bytes of all windows.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.window_bytes.iter().sum()
    }

    /// The window that holds a byte.
    #[must_use]
    pub fn window_of(&self, offset: u64) -> Window {
        if offset < self.window_bytes[0] { Window::Slots } else { Window::Leaves }
    }

    /// The bytes of a window.
    #[must_use]
    pub fn range(&self, window: Window) -> Range<u64> {
        match window {
            Window::Slots => 0..self.window_bytes[0],
            Window::Leaves => self.window_bytes[0]..self.total_bytes(),
        }
    }

    /// Regions of a window.
    #[must_use]
    pub fn regions(&self, window: Window) -> Range<u32> {
        let Range { start, end } = self.range(window);
        RegionId::of(start).0..RegionId::of(end).0
    }

    /// Regions of all windows.
    #[must_use]
    pub fn all_regions(&self) -> Range<u32> {
        0..RegionId::of(self.total_bytes()).0
    }

    /// The page that holds a byte.
    #[must_use]
    pub fn page_of(&self, offset: u64) -> PageId {
        PageId((offset >> self.page_shift) as u32)
    }

    /// Offset of a page's first byte.
    #[must_use]
    pub fn page_start(&self, page: PageId) -> u64 {
        u64::from(page.0) << self.page_shift
    }

    /// The region of a page.
    #[must_use]
    pub fn region_of_page(&self, page: PageId) -> RegionId {
        RegionId::of(self.page_start(page))
    }

    /// The pages that hold `[start, end)`.
    #[must_use]
    pub fn pages(&self, start: u64, end: u64) -> Range<u32> {
        self.page_of(start).0..self.page_of(end + self.page_bytes() - 1).0
    }

    /// Smallest number of whole pages, in bytes, that hold `bytes`.
    #[must_use]
    pub fn round_to_pages(&self, bytes: u64) -> u64 {
        (bytes + self.page_bytes() - 1) & !(self.page_bytes() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_follow_each_other_without_a_gap() {
        let geometry = Geometry::new(4096, 2 << 30, 1 << 30);
        assert_eq!(geometry.regions(Window::Slots), 0..1024);
        assert_eq!(geometry.regions(Window::Leaves), 1024..1536);
        assert_eq!(geometry.window_of((2 << 30) - 8), Window::Slots);
        assert_eq!(geometry.window_of(2 << 30), Window::Leaves);
        assert_eq!(geometry.pages(4095, 4097), 0..2);
        assert_eq!(geometry.pages(4096, 8192), 1..2);
    }
}
