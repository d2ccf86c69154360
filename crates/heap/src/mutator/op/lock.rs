//! The lock of an object that threads share: its first raw word, which moves with it.
//!
//! ```text
//! bit 0   held      a thread reads or changes the object right now
//! bit 1   claimed   a thread prepares a long change, or copies: others read, and change nothing
//! above             how often the object was changed
//! ```
//!
//! Short operations hold the lock ([`Op::locked`], [`Op::reading`]). A long one claims it, builds its result beside the old one while
//! others go on reading that, and holds the lock only to put the result in its place ([`Op::claimed`], [`Op::commit`];
//! `[inv.claim.unseen]`).
//! To hold a lock that is claimed is for readers, and for the claimant.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Op;
use crate::mutator::Retry;
use crate::object::Ref;

const HELD: u64 = 1;
const CLAIMED: u64 = 2;
/// What is added for a change.
const CHANGE: u64 = 4;

/// Attempts to hold a lock that readers hold, before the claimant sleeps between two.
const SPINS: u32 = 256;

impl Op<'_> {
    #[inline]
    fn lock_word(&self, object: Ref) -> &AtomicU64 {
        let start = self.raw_start(object);
        self.touch(start, 8);
        let windows = &self.shared.mover.space.windows;
        windows.word(windows.view(), start)
    }

    /// Sets `bits` in an object's lock unless one of `excluded` is set. What the lock was before, if that was done.
    #[inline]
    fn set_lock(&self, object: Ref, bits: u64, excluded: u64) -> Option<u64> {
        let word = self.lock_word(object);
        // Relaxed: the exchange below orders.
        let before = word.load(Ordering::Relaxed);
        // Acquire pairs with the releases below: whoever gets the lock sees what the last owner did.
        if before & excluded != 0
            || word.compare_exchange(before, before | bits, Ordering::Acquire, Ordering::Relaxed).is_err()
        {
            return None;
        }
        Some(before)
    }

    /// Runs `f`, which may change the object, while no other thread reads or changes it. The lock may be held over a poll.
    /// Never waits; not reentrant. The object counts as changed if `f` succeeds.
    ///
    /// # Errors
    /// [`Retry::Busy`] when another thread uses the object, and those of `f`.
    #[inline]
    pub fn locked<T>(
        &mut self,
        object: &mut Ref,
        f: impl FnOnce(&mut Self, &mut Ref) -> Result<T, Retry>,
    ) -> Result<T, Retry> {
        self.holding(object, f, |_| true)
    }

    /// As [`Op::locked`], but the object counts as changed only if `f` returns something.
    ///
    /// # Errors
    /// As [`Op::locked`].
    #[inline]
    pub fn locked_if<T>(
        &mut self,
        object: &mut Ref,
        f: impl FnOnce(&mut Self, &mut Ref) -> Result<Option<T>, Retry>,
    ) -> Result<Option<T>, Retry> {
        self.holding(object, f, Option::is_some)
    }

    #[inline]
    fn holding<T>(
        &mut self,
        object: &mut Ref,
        f: impl FnOnce(&mut Self, &mut Ref) -> Result<T, Retry>,
        is_changed: impl FnOnce(&T) -> bool,
    ) -> Result<T, Retry> {
        let before = self.set_lock(*object, HELD, HELD | CLAIMED).ok_or(Retry::Busy)?;
        let result = f(self, object);
        debug_assert!(self.load_word(self.raw_start(*object)) & HELD != 0, "[inv.lock.followed] {object:?}");
        let change = if result.as_ref().is_ok_and(is_changed) { CHANGE } else { 0 };
        // Nobody else has written the word: who finds it held leaves it.
        self.store_word(self.raw_start(*object), before.wrapping_add(change));
        result
    }

    /// Runs `f`, which only reads the object, while no other thread changes it. As [`Op::locked`], but possible also while
    /// another thread prepares a change.
    ///
    /// # Errors
    /// [`Retry::Busy`] when another thread reads or changes the object right now, and those of `f`.
    #[inline]
    pub fn reading<T>(
        &mut self,
        object: &mut Ref,
        f: impl FnOnce(&mut Self, &mut Ref) -> Result<T, Retry>,
    ) -> Result<T, Retry> {
        let before = self.set_lock(*object, HELD, HELD).ok_or(Retry::Busy)?;
        let result = f(self, object);
        if before & CLAIMED == 0 {
            self.store_word(self.raw_start(*object), before);
        } else {
            // The claimant may have ended its claim meanwhile.
            self.lock_word(*object).fetch_and(!HELD, Ordering::Release);
        }
        result
    }

    /// Runs `f` while no other thread changes the object, though others may read it. `f` may poll, and changes what others can see only
    /// in [`Op::commit`]. Never waits to begin.
    ///
    /// # Errors
    /// [`Retry::Busy`] when another thread uses the object, and those of `f`.
    pub fn claimed<T>(
        &mut self,
        object: &mut Ref,
        f: impl FnOnce(&mut Self, &mut Ref) -> Result<T, Retry>,
    ) -> Result<T, Retry> {
        self.set_lock(*object, CLAIMED, HELD | CLAIMED).ok_or(Retry::Busy)?;
        let result = f(self, object);
        let lock = self.lock_word(*object).fetch_and(!CLAIMED, Ordering::Release);
        // [inv.lock.followed] Somebody else's word was changed otherwise, and the object's claim never ends.
        assert!(lock & CLAIMED != 0, "[inv.lock.followed] {object:?}");
        result
    }

    /// In [`Op::claimed`], runs `f`, which may change the first of `refs`, which is claimed, while no other thread reads it. Waits until
    /// no reader is left, which may let the collector in: `refs` are kept up to date.
    pub fn commit<T, const N: usize>(
        &mut self,
        refs: &mut [Ref; N],
        f: impl FnOnce(&mut Self, &mut [Ref; N]) -> T,
    ) -> T {
        let mut attempt = 0;
        let before = loop {
            match self.set_lock(refs[0], HELD, HELD) {
                Some(before) => break before,
                None => self.pause(refs, attempt),
            }
            attempt += 1;
        };
        let result = f(self, refs);
        self.store_word(self.raw_start(refs[0]), before.wrapping_add(CHANGE));
        result
    }

    /// Lets others go on, among them a reader that waits for the collector.
    fn pause(&mut self, refs: &mut [Ref], attempt: u32) {
        if attempt < SPINS {
            crate::sync::relax(attempt);
            self.poll(refs);
        } else {
            self.leave_for(refs, || crate::sync::rest(attempt - SPINS));
        }
    }

    /// How often the object was changed. Of use while its lock is held or claimed.
    #[must_use]
    pub fn changes(&self, object: Ref) -> u64 {
        self.load_word(self.raw_start(object)) / CHANGE
    }

    /// Says that the operation is about to read or write that many slots, before it has done anything.
    ///
    /// # Errors
    /// [`Retry::Long`] where that would take longer than its caller wants to wait.
    #[inline]
    pub fn about_to_touch(&self, slots: usize) -> Result<(), Retry> {
        if slots > LONG_MIN && self.mutator.is_brief.load(Ordering::Relaxed) { Err(Retry::Long) } else { Ok(()) }
    }
}

/// More slots than this take too long for a caller that has others wait: a few hundred microseconds.
const LONG_MIN: usize = 32 * 1024;

#[cfg(test)]
mod tests;
