//! In which units a mapping can be: the kernel rounds lengths up to whole huge pages, over whatever lies behind.

use crate::page_size;
use crate::probe::machine::memory_figure;

const HUGETLB: u64 = libc::MAP_HUGETLB as u64;
const SIZE_SHIFT: u32 = libc::MAP_HUGE_SHIFT as u32;
const SIZE_MASK: u64 = libc::MAP_HUGE_MASK as u64;

/// Bytes of a page of what `mmap(2)` would map with these flags, from this file if it is not negative. `None` where that is a huge page of the
/// default size, which `/proc/meminfo` does not tell.
#[must_use]
pub fn unit(flags: u64, fd: i32) -> Option<usize> {
    if fd >= 0 {
        return Some(file_unit(fd).unwrap_or_else(page_size));
    }
    if flags & HUGETLB == 0 {
        return Some(page_size());
    }
    match u32::try_from((flags >> SIZE_SHIFT) & SIZE_MASK).unwrap_or(0) {
        0 => default_size(),
        size => 1_usize.checked_shl(size),
    }
}

/// The size of the pages of a file in memory that has huge ones.
fn file_unit(fd: i32) -> Option<usize> {
    // SAFETY: an all-zero statfs is a valid value to be overwritten.
    let mut found: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: `found` outlives the call.
    if unsafe { libc::fstatfs(fd, &raw mut found) } != 0 || found.f_type != libc::HUGETLBFS_MAGIC {
        return None;
    }
    usize::try_from(found.f_bsize).ok()
}

fn default_size() -> Option<usize> {
    usize::try_from(memory_figure("Hugepagesize:")?).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn sizes_are_those_of_the_flags_or_of_the_file() {
        assert_eq!(unit(0, -1), Some(page_size()));
        assert_eq!(unit(HUGETLB | 30 << SIZE_SHIFT, -1), Some(1 << 30));
        assert_eq!(unit(HUGETLB | 21 << SIZE_SHIFT, -1), Some(2 << 20));
        assert_eq!(unit(HUGETLB, -1), default_size());
        let plain = fs::File::open("/proc/self/exe").expect("a file");
        assert_eq!(unit(HUGETLB, plain.as_raw_fd()), Some(page_size()));
    }
}
