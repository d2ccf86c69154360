//! Mappings that own their place: nothing here can replace memory that somebody else mapped.
//!
//! `MAP_FIXED` and `MREMAP_FIXED` destroy whatever they hit. A [`Plot`] is put only where the kernel found room, where
//! `MAP_FIXED_NOREPLACE` found the range free, or into a [`Holding`], an address range that was reserved before and knows
//! which of its parts are taken. A move always goes onto a claim of its own, an inaccessible mapping made just before.
//! Lengths are whole pages of the kind that is mapped ([`crate::huge`]); callers see to that.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::raw;
use crate::raw::memory::{madvise, mmap, mremap, munmap};

const CLAIM: u64 = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE) as u64;
const FIXED: u64 = libc::MAP_FIXED as u64;
const NOREPLACE: u64 = libc::MAP_FIXED_NOREPLACE as u64;
const NO_ACCESS: u64 = libc::PROT_NONE as u64;
const MOVE: u64 = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED) as u64;
const KEEP_SOURCE: u64 = libc::MREMAP_DONTUNMAP as u64;

/// Where a mapping shall be.
#[derive(Debug, Clone)]
pub enum Place {
    /// Where the kernel likes, at this address if it is free and not 0.
    Anywhere(usize),
    /// At this address, if nothing is there.
    At(usize),
    /// At any multiple of this power of two.
    Aligned(usize),
    /// In a reservation, at this offset.
    In(Arc<Holding>, usize),
}

/// Why there is no mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// That part of the reservation is taken, or lies outside it.
    Taken,
    /// The kernel refused, with this errno.
    Refused(i32),
}

impl From<i32> for Failure {
    fn from(errno: i32) -> Self {
        Self::Refused(errno)
    }
}

/// A reserved address range, inaccessible and free of charge. Unmapped when it and all [`Plot`]s in it are dropped.
#[derive(Debug)]
pub struct Holding {
    address: usize,
    length: usize,
    process: i32,
    /// Offsets of the parts that are taken, and their lengths.
    taken: Mutex<BTreeMap<usize, Part>>,
}

#[derive(Debug, Clone, Copy)]
struct Part {
    length: usize,
    /// Somebody else's mapping may have come in after a failed call had emptied the range: never touched again.
    lost: bool,
}

impl Holding {
    /// Reserves a range.
    ///
    /// # Errors
    /// `ENOMEM` by `RLIMIT_AS` or `vm.max_map_count`; `EEXIST` where [`Place::At`] is not free.
    ///
    /// # Panics
    /// For [`Place::In`]: a reservation has no other around it.
    pub fn new(length: usize, place: &Place) -> raw::Result<Self> {
        assert!(!matches!(place, Place::In(..)), "a reservation inside a reservation");
        let claim = Claim::new(place, length).map_err(|failure| match failure {
            Failure::Refused(errno) => errno,
            Failure::Taken => libc::EEXIST,
        })?;
        Ok(Self { address: claim.settle(), length, process: process(), taken: Mutex::default() })
    }

    /// First address.
    #[must_use]
    pub fn address(&self) -> usize {
        self.address
    }

    /// Length in bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// How many parts are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.parts().values().filter(|part| !part.lost).count()
    }

    fn parts(&self) -> std::sync::MutexGuard<'_, BTreeMap<usize, Part>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, offset: usize, length: usize) -> bool {
        let Some(end) = offset.checked_add(length).filter(|end| *end <= self.length) else { return false };
        let mut parts = self.parts();
        let before = parts.range(..end).next_back();
        if before.is_some_and(|(start, part)| start + part.length > offset) {
            return false;
        }
        parts.insert(offset, Part { length, lost: false });
        true
    }

    /// Makes a part inaccessible and free again. In one call, so that no other mapping can land in it.
    fn give_back(&self, address: usize, length: usize) -> raw::Result<()> {
        // SAFETY: the part belongs to the plot that gives it back, which nobody uses any more.
        unsafe { mmap(address, length, NO_ACCESS, CLAIM | FIXED, -1, 0) }?;
        let offset = address - self.address;
        let mut parts = self.parts();
        // A plot that shrank gives back its tail; then the entry is shortened.
        if parts.remove(&offset).is_none() {
            let owner = parts.range_mut(..offset).next_back();
            if let Some((start, part)) = owner {
                part.length = offset - start;
            }
        }
        Ok(())
    }

    /// After a call with FIXED failed: the range may be empty now.
    fn mend(&self, address: usize, length: usize, errno: i32, emptied_early: bool) {
        let offset = address - self.address;
        // mmap checks everything but memory before it empties the range; mremap empties it first.
        if !emptied_early && errno != libc::ENOMEM {
            self.parts().remove(&offset);
            return;
        }
        // SAFETY: NOREPLACE replaces nothing.
        let again = unsafe { mmap(address, length, NO_ACCESS, CLAIM | NOREPLACE, -1, 0) };
        if again.is_ok() {
            self.parts().remove(&offset);
        } else {
            // Either the range was never emptied, or somebody was quicker. Nothing tells which, so it stays out of use.
            self.parts().insert(offset, Part { length, lost: true });
        }
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        // A forked child may lack parts of it (MADV_DONTFORK), and have mapped something of its own there since.
        if self.process != process() {
            return;
        }
        let mut from = self.address;
        for (offset, part) in self.parts().iter().filter(|(_, part)| part.lost) {
            let start = self.address + offset;
            unmap(from, start - from);
            from = start + part.length;
        }
        unmap(from, self.address + self.length - from);
    }
}

/// A range that a mapping is about to be put into, inaccessible until then.
struct Claim {
    address: usize,
    length: usize,
    /// All that was mapped for it, alignment slack included. Not used in a reservation.
    mapped: (usize, usize),
    home: Option<Arc<Holding>>,
}

impl Claim {
    fn new(place: &Place, length: usize) -> Result<Self, Failure> {
        let (hint, slack, flags) = match place {
            Place::Anywhere(hint) => (*hint, 0, CLAIM),
            Place::At(address) => (*address, 0, CLAIM | NOREPLACE),
            Place::Aligned(alignment) => (0, *alignment, CLAIM),
            Place::In(holding, offset) => {
                if !holding.take(*offset, length) {
                    return Err(Failure::Taken);
                }
                let home = Some(Arc::clone(holding));
                return Ok(Self { address: holding.address + offset, length, mapped: (0, 0), home });
            }
        };
        let total = length.checked_add(slack).ok_or(libc::ENOMEM)?;
        // SAFETY: a new mapping that replaces nothing: without FIXED, or with NOREPLACE.
        let start = unsafe { mmap(hint, total, NO_ACCESS, flags, -1, 0) }?;
        let address = if slack == 0 { start } else { start.next_multiple_of(slack) };
        Ok(Self { address, length, mapped: (start, total), home: None })
    }

    /// The mapping is in place: lets go of the slack.
    fn settle(&self) -> usize {
        if self.home.is_none() {
            self.trim();
        }
        self.address
    }

    fn trim(&self) {
        let (start, total) = self.mapped;
        unmap(start, self.address - start);
        let end = self.address + self.length;
        unmap(end, start + total - end);
    }

    /// The call that should have filled it failed.
    fn abandon(&self, errno: i32, emptied_early: bool) {
        if let Some(home) = &self.home {
            home.mend(self.address, self.length, errno, emptied_early);
            return;
        }
        self.trim();
        if emptied_early || errno == libc::ENOMEM {
            // SAFETY: NOREPLACE replaces nothing.
            let again = unsafe { mmap(self.address, self.length, NO_ACCESS, CLAIM | NOREPLACE, -1, 0) };
            // Taken: by the claim itself, or by somebody who was quicker. Unmapping the wrong one would be worse than keeping
            // a range of addresses that costs nothing.
            if again.is_err() {
                return;
            }
        }
        unmap(self.address, self.length);
    }
}

/// A mapping with one owner. Dropped, it is unmapped, or its part of a reservation is given back.
#[derive(Debug)]
pub struct Plot {
    address: usize,
    length: usize,
    home: Option<Arc<Holding>>,
    /// The process that made it, or that withheld it from its children.
    process: AtomicI32,
    inherited: AtomicBool,
}

impl Plot {
    /// Maps `length` bytes. `flags` say what kind of mapping; where it goes is `place`'s business.
    ///
    /// # Errors
    /// The errno of `mmap(2)`, or [`Failure::Taken`].
    ///
    /// # Panics
    /// When `flags` hold `MAP_FIXED` or `MAP_FIXED_NOREPLACE`.
    pub fn map(place: &Place, length: usize, prot: u64, flags: u64, fd: i32, offset: i64) -> Result<Self, Failure> {
        assert!(flags & (FIXED | NOREPLACE) == 0, "the place decides");
        if let Place::Anywhere(address) | Place::At(address) = place {
            let strict = if matches!(place, Place::At(_)) { NOREPLACE } else { 0 };
            // SAFETY: without FIXED, or with NOREPLACE, nothing is replaced.
            let address = unsafe { mmap(*address, length, prot, flags | strict, fd, offset) }?;
            return Ok(Self::owner_of(address, length, None));
        }
        let claim = Claim::new(place, length)?;
        // SAFETY: FIXED onto our own claim, which nobody uses.
        if let Err(errno) = unsafe { mmap(claim.address, length, prot, flags | FIXED, fd, offset) } {
            claim.abandon(errno, false);
            return Err(errno.into());
        }
        Ok(Self::owner_of(claim.settle(), length, claim.home))
    }

    /// Moves the page tables to a new mapping at `place` and leaves this one mapped (`MREMAP_DONTUNMAP`).
    ///
    /// # Errors
    /// The errno of `mremap(2)`, or [`Failure::Taken`].
    pub fn move_out(&self, place: &Place) -> Result<Self, Failure> {
        let claim = Claim::new(place, self.length)?;
        self.send(&claim, KEEP_SOURCE)?;
        // The kernel copies the mapping's flags, MADV_DONTFORK among them.
        let moved = Self::owner_of(claim.settle(), self.length, claim.home);
        moved.inherited.store(self.is_inherited(), Ordering::Relaxed);
        Ok(moved)
    }

    /// Moves the whole mapping to `place`.
    ///
    /// # Errors
    /// The errno of `mremap(2)`, or [`Failure::Taken`]. The mapping is where it was.
    pub fn move_to(&mut self, place: &Place) -> Result<(), Failure> {
        let claim = Claim::new(place, self.length)?;
        // In a reservation the old range must never be free for others, not for a moment.
        let keep = if self.home.is_some() { KEEP_SOURCE } else { 0 };
        self.send(&claim, keep)?;
        if let Some(home) = &self.home {
            // Its failure (no memory for a mapping's description) leaves an empty mapping of the old kind, still taken.
            let _ = home.give_back(self.address, self.length);
        }
        self.address = claim.settle();
        self.home.clone_from(&claim.home);
        Ok(())
    }

    fn send(&self, claim: &Claim, keep: u64) -> Result<(), Failure> {
        // SAFETY: both ranges are our own: the source is this plot, the destination a fresh claim.
        let moved = unsafe { mremap(self.address, self.length, self.length, MOVE | keep, claim.address) };
        moved.map(drop).map_err(|errno| {
            claim.abandon(errno, true);
            errno.into()
        })
    }

    /// Changes the length, and the place if it must and `may_move`.
    ///
    /// # Errors
    /// The errno of `mremap(2)`; [`Failure::Taken`] for a mapping in a reservation that would grow.
    pub fn resize(&mut self, length: usize, may_move: bool) -> Result<(), Failure> {
        if let Some(home) = &self.home {
            if length > self.length {
                return Err(Failure::Taken);
            }
            if length < self.length {
                home.give_back(self.address + length, self.length - length)?;
            }
        } else {
            let flags = if may_move { libc::MREMAP_MAYMOVE as u64 } else { 0 };
            // SAFETY: the range is our own; without FIXED the kernel puts it where nothing is.
            self.address = unsafe { mremap(self.address, self.length, length, flags, 0) }?;
        }
        self.length = length;
        Ok(())
    }

    /// `madvise(2)` on a part. Remembers whether forked children have the mapping.
    ///
    /// # Errors
    /// The errno of the call.
    ///
    /// # Panics
    /// When the part lies outside.
    pub fn advise(&self, offset: usize, length: usize, advice: i32) -> raw::Result<()> {
        assert!(offset <= self.length && length <= self.length - offset, "outside");
        // SAFETY: the range is our own; what advice does to its content is what the caller asks for.
        unsafe { madvise(self.address + offset, length, advice) }?;
        // A child has it if it has all of it.
        if advice == libc::MADV_DONTFORK || advice == libc::MADV_DOFORK && length == self.length {
            // A child that has it from its parent keeps it, and withholds it from its own children.
            self.process.store(process(), Ordering::Relaxed);
            self.inherited.store(advice == libc::MADV_DOFORK, Ordering::Relaxed);
        }
        Ok(())
    }

    /// First address.
    #[must_use]
    pub fn address(&self) -> usize {
        self.address
    }

    /// Length in bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// Whether this process has it: a child forked after `MADV_DONTFORK` does not.
    #[must_use]
    pub fn is_here(&self) -> bool {
        self.is_inherited() || self.process.load(Ordering::Relaxed) == process()
    }

    /// Whether children that are forked from now on have it, too.
    #[must_use]
    pub fn is_inherited(&self) -> bool {
        self.inherited.load(Ordering::Relaxed)
    }

    fn owner_of(address: usize, length: usize, home: Option<Arc<Holding>>) -> Self {
        Self { address, length, home, process: AtomicI32::new(process()), inherited: AtomicBool::new(true) }
    }

    /// Unmaps it, as dropping does, and says whether that worked.
    ///
    /// # Errors
    /// `EPERM` for a sealed range, `ENOMEM` when a split passes `vm.max_map_count`; it stays mapped until the process ends.
    pub fn close(self) -> raw::Result<()> {
        std::mem::ManuallyDrop::new(self).release()
    }

    fn release(&mut self) -> raw::Result<()> {
        if !self.is_here() {
            return Ok(());
        }
        match self.home.take() {
            Some(home) => home.give_back(self.address, self.length),
            // SAFETY: the mapping is ours and its owner goes: nothing refers to it.
            None => unsafe { munmap(self.address, self.length) },
        }
    }
}

impl Drop for Plot {
    fn drop(&mut self) {
        let _ = self.release();
    }
}

fn unmap(address: usize, length: usize) {
    if length != 0 {
        // SAFETY: callers pass what they mapped themselves, and nobody else knows of.
        let _ = unsafe { munmap(address, length) };
    }
}

fn process() -> i32 {
    // SAFETY: getpid has no preconditions.
    unsafe { libc::getpid() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page_size;

    const ANONYMOUS: u64 = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
    const READ_WRITE: u64 = (libc::PROT_READ | libc::PROT_WRITE) as u64;

    fn map(place: &Place, pages: usize) -> Result<Plot, Failure> {
        Plot::map(place, pages * page_size(), READ_WRITE, ANONYMOUS, -1, 0)
    }

    fn write(plot: &Plot, byte: u8) {
        // SAFETY: the first byte of a writable mapping of this test.
        unsafe { raw::access::store(plot.address(), &[byte]) };
    }

    fn read(plot: &Plot) -> u8 {
        let mut byte = [0];
        raw::access::peek(plot.address(), &mut byte).unwrap();
        byte[0]
    }

    #[test]
    fn foreign_memory_is_never_replaced() {
        let owner = map(&Place::Anywhere(0), 1).unwrap();
        write(&owner, 7);
        let there = Place::At(owner.address());
        assert_eq!(map(&there, 1).unwrap_err(), Failure::Refused(libc::EEXIST));
        let mut other = map(&Place::Anywhere(0), 1).unwrap();
        assert_eq!(other.move_to(&there).unwrap_err(), Failure::Refused(libc::EEXIST));
        assert_eq!(other.move_out(&there).unwrap_err(), Failure::Refused(libc::EEXIST));
        assert_ne!(map(&Place::Anywhere(owner.address()), 1).unwrap().address(), owner.address());
        assert_eq!(read(&owner), 7);
    }

    #[test]
    fn a_holding_gives_each_part_to_one() {
        let page = page_size();
        let holding = Arc::new(Holding::new(8 * page, &Place::Aligned(8 * page)).unwrap());
        assert_eq!(holding.address() % (8 * page), 0);
        let part = |at: usize| Place::In(Arc::clone(&holding), at * page);
        let first = map(&part(2), 2).unwrap();
        for (at, pages) in [(2, 1), (3, 1), (1, 2), (0, 8), (7, 2), (8, 1), (usize::MAX / page, 1)] {
            assert_eq!(map(&part(at), pages).unwrap_err(), Failure::Taken, "{pages} pages at {at}");
        }
        let second = map(&part(4), 1).unwrap();
        assert_eq!(holding.taken(), 2);
        drop(first);
        assert_eq!(holding.taken(), 1);
        let again = map(&part(1), 3).unwrap();
        write(&again, 1);
        write(&second, 2);
        assert_eq!((read(&again), read(&second)), (1, 2));
    }

    #[test]
    fn a_plot_that_shrinks_in_a_holding_frees_its_tail() {
        let page = page_size();
        let holding = Arc::new(Holding::new(4 * page, &Place::Anywhere(0)).unwrap());
        let mut plot = map(&Place::In(Arc::clone(&holding), 0), 3).unwrap();
        assert_eq!(plot.resize(4 * page, true).unwrap_err(), Failure::Taken);
        plot.resize(page, true).unwrap();
        write(&plot, 5);
        let behind = map(&Place::In(Arc::clone(&holding), page), 3).unwrap();
        assert_eq!((read(&plot), read(&behind)), (5, 0));
        assert_eq!(behind.address(), plot.address() + page);
    }

    #[test]
    fn a_move_takes_the_content_and_frees_the_place() {
        let page = page_size();
        let holding = Arc::new(Holding::new(2 * page, &Place::Anywhere(0)).unwrap());
        let mut plot = map(&Place::In(Arc::clone(&holding), 0), 1).unwrap();
        write(&plot, 9);
        plot.move_to(&Place::In(Arc::clone(&holding), page)).unwrap();
        assert_eq!((read(&plot), plot.address()), (9, holding.address() + page));
        drop(map(&Place::In(Arc::clone(&holding), 0), 1).unwrap());
        plot.move_to(&Place::Anywhere(0)).unwrap();
        assert_eq!((read(&plot), holding.taken()), (9, 0));
        let copy = plot.move_out(&Place::Aligned(4 * page)).unwrap();
        assert_eq!((read(&plot), read(&copy), copy.address() % (4 * page)), (0, 9, 0));
    }
}
