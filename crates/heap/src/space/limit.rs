//! How much of the budget who may use.
//!
//! Mutators may use the budget less the *reserve*, which only evacuation may use: a full heap can always compact. A little more
//! they may use until they have been refused memory: the *margin*. What a collection gives back depends by some pages on how
//! objects happen to lie, and an operation that was refused memory for want of one page could find it when it is tried again.
//! `[inv.full.again]` So from a refusal on, until something is released, the margin is withheld: what was refused with it is lacking
//! more than those pages without it.

use std::sync::atomic::Ordering;

use super::allocator::{Space, WindowState};
use super::layout::POPULATE_BYTES;

/// What users of memory may charge up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Limit {
    /// Budget less reserve, and what is lent of that.
    #[default]
    Mutator,
    /// A part of the reserve besides: for what a thread needs to read a full heap, and soon gives back.
    Reader,
    /// The whole budget.
    Collector,
}

/// Where less room than this is left, chunks and steps are small, and nothing becomes resident ahead of use: what one thread
/// holds and does not use, another lacks.
const SHORT_BYTES: u64 = 8 * POPULATE_BYTES;
/// The share of the reserve that may be lent: to attempts that come after failed ones, and to readers.
const LENT_SHARE: u64 = 4;
const READER_SHARE: u64 = 2;
/// The share of the reserve that is the margin.
const MARGIN_SHARE: u64 = 16;

impl Space {
    /// What mutators may use of it.
    #[must_use]
    pub fn mutator_bytes(&self) -> u64 {
        self.budget_bytes - self.reserve_bytes
    }

    /// Lets mutators use up to `bytes` of the reserve, a part of it at most: as much as attempts at operations that failed
    /// have left behind. That is garbage, so that what is alive stays within [`Space::mutator_bytes`], and the next attempt
    /// has the same room as the one before without a collection in between.
    pub fn lend(&self, bytes: u64) {
        // Relaxed: the limit needs no order with what it limits.
        self.lent_bytes.store(bytes.min(self.reserve_bytes / LENT_SHARE), Ordering::Relaxed);
    }

    /// What of it users of this limit may use.
    #[must_use]
    pub fn lent_bytes(&self, limit: Limit) -> u64 {
        if limit == Limit::Mutator { self.lent_bytes.load(Ordering::Relaxed) } else { 0 }
    }

    /// A thread was refused memory, and nothing has been released since; or that is no longer so.
    pub fn withhold_margin(&self, withhold: bool) {
        // Relaxed, here and below: as in `lend`.
        self.is_margin_withheld.store(withhold, Ordering::Relaxed);
    }

    fn margin_bytes(&self) -> u64 {
        if self.is_margin_withheld.load(Ordering::Relaxed) { 0 } else { self.reserve_bytes / MARGIN_SHARE }
    }

    /// Whether so much is in use that users of this limit get nothing, resident or not: what they were refused with the margin they
    /// would find in the rests of pages without it.
    pub(super) fn is_over(&self, state: &[WindowState; 2], limit: Limit) -> bool {
        let used_bytes = self.charged_bytes().saturating_sub(Self::pooled_bytes(state));
        self.is_margin_withheld.load(Ordering::Relaxed) && used_bytes > self.limit_bytes(limit)
    }

    /// Bytes that may be charged now.
    #[must_use]
    pub fn limit_bytes(&self, limit: Limit) -> u64 {
        match limit {
            Limit::Mutator => self.mutator_bytes() + self.margin_bytes() + self.lent_bytes(limit),
            Limit::Reader => self.mutator_bytes() + self.reserve_bytes / READER_SHARE,
            Limit::Collector => self.budget_bytes,
        }
    }

    /// Whether little is left for mutators.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.charged_bytes() + SHORT_BYTES > self.mutator_bytes()
    }

    /// In which steps memory becomes resident: large ones cost fewer system calls, small ones waste less.
    #[must_use]
    pub fn step_bytes(&self) -> u64 {
        if self.is_short() { self.geometry().page_bytes() } else { POPULATE_BYTES }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::Windows;
    use crate::space::layout::{Geometry, WINDOW_UNIT_BYTES};

    #[test]
    fn the_reserve_lends_what_failed_attempts_left_behind_and_gives_a_margin_until_it_is_withheld() {
        let geometry = Geometry::new(4096, WINDOW_UNIT_BYTES, WINDOW_UNIT_BYTES);
        let space = Space::new(Windows::new("test", geometry).unwrap(), 64 << 20).unwrap();
        let [mutator, reader, collector] =
            [Limit::Mutator, Limit::Reader, Limit::Collector].map(|limit| space.limit_bytes(limit));
        assert_eq!(collector, 64 << 20);
        assert!(space.mutator_bytes() < mutator && mutator < reader && reader < collector);
        space.lend(12_345);
        assert_eq!(space.limit_bytes(Limit::Mutator), mutator + 12_345);
        space.withhold_margin(true);
        assert_eq!(space.limit_bytes(Limit::Mutator), space.mutator_bytes() + 12_345);
        space.lend(u64::MAX);
        assert_eq!(space.limit_bytes(Limit::Mutator), space.mutator_bytes() + space.reserve_bytes / LENT_SHARE);
        space.lend(0);
        space.withhold_margin(false);
        assert_eq!(
            [Limit::Mutator, Limit::Reader, Limit::Collector].map(|limit| space.limit_bytes(limit)),
            [mutator, reader, collector]
        );
    }
}
