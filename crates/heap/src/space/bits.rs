//! A set of numbers from 0, one bit each, in zeroed memory: what it costs is what was ever in it.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use super::table::Zeroed;
use crate::memory::Refused;

const WORD_BITS: u32 = u64::BITS;

/// The set. Changed by one thread at a time, read by any.
pub struct Bits {
    words: Zeroed<AtomicU64>,
}

impl Bits {
    /// The empty set, for numbers below `end`.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn new(end: u32) -> Result<Self, Refused> {
        Ok(Self { words: Zeroed::new(end.div_ceil(WORD_BITS) as usize)? })
    }

    /// Whether `number` is in it.
    #[must_use]
    pub fn contains(&self, number: u32) -> bool {
        self.word(number) & bit(number) != 0
    }

    /// Adds `number`; whether it is new.
    pub fn insert(&self, number: u32) -> bool {
        // Relaxed, here and below: who has to see a change is ordered after it by a lock, or by a rendezvous.
        self.at(number).fetch_or(bit(number), Ordering::Relaxed) & bit(number) == 0
    }

    /// Removes `number`; whether it was in it.
    pub fn remove(&self, number: u32) -> bool {
        self.at(number).fetch_and(!bit(number), Ordering::Relaxed) & bit(number) != 0
    }

    /// The least number in `range` that is in the set. O(length / 64).
    #[must_use]
    pub fn first(&self, range: Range<u32>) -> Option<u32> {
        self.search(range, |word| word)
    }

    /// The least number in `range` that is not. O(length / 64).
    #[must_use]
    pub fn first_missing(&self, range: Range<u32>) -> Option<u32> {
        self.search(range, |word| !word)
    }

    /// The greatest number in `range` that is in the set. O(length / 64).
    #[must_use]
    pub fn last(&self, range: Range<u32>) -> Option<u32> {
        self.search_back(range, |word| word)
    }

    /// The greatest number in `range` that is not. O(length / 64).
    #[must_use]
    pub fn last_missing(&self, range: Range<u32>) -> Option<u32> {
        self.search_back(range, |word| !word)
    }

    /// All numbers in `range` that are in the set.
    pub fn iter(&self, range: Range<u32>) -> impl Iterator<Item = u32> {
        let mut rest = range;
        std::iter::from_fn(move || {
            let found = self.first(rest.clone())?;
            rest.start = found + 1;
            Some(found)
        })
    }

    fn search(&self, range: Range<u32>, wanted: impl Fn(u64) -> u64) -> Option<u32> {
        let mut start = range.start;
        while start < range.end {
            let found = wanted(self.word(start)) & (u64::MAX << (start % WORD_BITS));
            let base = start - start % WORD_BITS;
            if found != 0 {
                let number = base + found.trailing_zeros();
                return (number < range.end).then_some(number);
            }
            start = base + WORD_BITS;
        }
        None
    }

    fn search_back(&self, range: Range<u32>, wanted: impl Fn(u64) -> u64) -> Option<u32> {
        let mut end = range.end;
        while range.start < end {
            let last = end - 1;
            let base = last - last % WORD_BITS;
            let found = wanted(self.word(last)) & (u64::MAX >> (WORD_BITS - 1 - last % WORD_BITS));
            if found != 0 {
                let number = base + (WORD_BITS - 1 - found.leading_zeros());
                return (number >= range.start).then_some(number);
            }
            end = base;
        }
        None
    }

    fn at(&self, number: u32) -> &AtomicU64 {
        &self.words[(number / WORD_BITS) as usize]
    }

    fn word(&self, number: u32) -> u64 {
        self.at(number).load(Ordering::Relaxed)
    }
}

fn bit(number: u32) -> u64 {
    1 << (number % WORD_BITS)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_set_of_bits_is_a_set(
            changes in proptest::collection::vec((any::<bool>(), 0_u32..200), 0..150),
            ranges in proptest::collection::vec((0_u32..200, 0_u32..=200), 20),
        ) {
            let (bits, mut oracle) = (Bits::new(200).unwrap(), BTreeSet::new());
            for (add, number) in changes {
                if add {
                    prop_assert_eq!(bits.insert(number), oracle.insert(number));
                } else {
                    prop_assert_eq!(bits.remove(number), oracle.remove(&number));
                }
                prop_assert_eq!(bits.contains(number), oracle.contains(&number));
            }
            for (start, end) in ranges {
                let range = start.min(end)..end;
                let within: Vec<_> = oracle.range(range.clone()).copied().collect();
                prop_assert_eq!(bits.first(range.clone()), within.first().copied());
                prop_assert_eq!(bits.last(range.clone()), within.last().copied());
                prop_assert_eq!(bits.first_missing(range.clone()), range.clone().find(|number| !oracle.contains(number)));
                prop_assert_eq!(bits.last_missing(range.clone()), range.clone().rfind(|number| !oracle.contains(number)));
                prop_assert_eq!(bits.iter(range).collect::<Vec<_>>(), within);
            }
        }
    }
}
