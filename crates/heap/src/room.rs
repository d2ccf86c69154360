//! Making room: what a thread does when an operation found no memory, between two attempts at it.
//!
//! An attempt that fails leaves what it allocated as garbage, so the next one needs all of it again. Most attempts fail at
//! their first allocation, or keep what they had made by then (a list that has grown), so at first only what was lacking is
//! asked for. `[inv.room.whole]` From the third failure in a row on, the next attempt begins when there is room for all that
//! the last one was given and for what it lacked besides: each attempt gets further than the one before, and an operation ends,
//! or the heap is too full for it. What such an attempt needs in all is reckoned on the side of more, so after a packing collection
//! the operation is tried once whatever the reckoning says: only its own failure means that the heap is full.

use std::sync::atomic::Ordering;

use crate::clock;
use crate::collector::control::Kind;
use crate::error::Error;
use crate::heap::{Heap, ROUNDS_MAX};
use crate::memory;
use crate::mutator::thread::Given;
use crate::mutator::{Mutator, Request, Retry};
use crate::object::RAW_MAX;
use crate::space::layout::{LARGE_BYTES, POPULATE_BYTES};
use crate::space::{Limit, Shortage, Window};
use crate::sync::{lock, rest};

/// Failures in a row from which on the room for a whole attempt is asked for.
const SHORTAGES_MIN: u32 = 3;
/// Allocating this share of the budget may make packing come out otherwise.
const FEW_SHARE: u64 = 128;
/// What more handles need.
const HANDLES: Request = Request { window: Window::Slots, bytes: POPULATE_BYTES, limit: Limit::Reader };

impl Heap {
    /// Makes what an operation lacked: waits for another thread, reserves regions for large objects, or collects. Blocks;
    /// the caller holds no lock that other users of the heap need.
    ///
    /// # Errors
    /// [`Error::Full`] when even a full collection does not help, [`Error::TooLarge`], [`Error::Closed`],
    /// [`Error::Kernel`] when the machine itself has no memory left.
    pub fn make_room(&self, retry: &Retry) -> Result<(), Error> {
        let shared = self.shared();
        let mutator = self.mutator()?;
        let mut wish_declined = false;
        let result = match retry {
            Retry::Busy => {
                rest(mutator.refusals.fetch_add(1, Ordering::Relaxed));
                Ok(())
            }
            Retry::Refused(refused) => Err((*refused).into()),
            Retry::Long => Ok(()),
            Retry::Space(request) if request.bytes > RAW_MAX as u64 + 8 => Err(Error::TooLarge),
            Retry::Space(request) => self.make_space(mutator, *request, |given| self.reserve(mutator, *request, given)),
            Retry::Handles => self.make_space(mutator, HANDLES, |given| {
                self.reserve_given(mutator, HANDLES, given)?;
                shared.handles.make_room(&shared.mover.space)
            }),
            Retry::Wish(request) => {
                wish_declined = self.reserve(mutator, *request, &mut failed(mutator)).is_err();
                Ok(())
            }
        };
        // Relaxed, here and below: read by this thread.
        mutator.wish_declined.store(wish_declined, Ordering::Relaxed);
        if matches!(result, Err(Error::Full { .. })) {
            shared.fullness.note_refused();
            // For those, too, that will find memory without asking for room.
            shared.mover.space.withhold_margin(true);
        }
        if result.is_err() {
            mutator.shortages.store(0, Ordering::Relaxed);
            mutator.is_last_try.store(false, Ordering::Relaxed);
            shared.release_prepared(mutator);
        }
        result
    }

    /// Reserves with `reserve`, and collects where that cannot be done: a stall.
    fn make_space(
        &self,
        mutator: &Mutator,
        request: Request,
        mut reserve: impl FnMut(&mut Given) -> Result<(), Shortage>,
    ) -> Result<(), Error> {
        let shared = self.shared();
        let mut given = failed(mutator);
        shared.mover.space.withhold_margin(shared.fullness.has_refused());
        let Err(shortage) = reserve(&mut given) else { return Ok(()) };
        // Relaxed, here and below: read and written by this thread.
        if mutator.is_last_try.load(Ordering::Relaxed) && shared.fullness.settled().is_some() {
            return Err(self.full(request.bytes, &shortage)?);
        }
        let began = clock::ticks();
        let wanted_bytes = self.wanted_bytes(request, &given);
        let mut result = self.collect_for(request, wanted_bytes, shortage, || reserve(&mut given));
        if matches!(result, Err(Error::Full { .. })) && self.may_fit(mutator, request, &given) {
            mutator.is_last_try.store(true, Ordering::Relaxed);
            result = Ok(());
        }
        Mutator::raise(&mutator.longest_stall_ticks, clock::ticks().wrapping_sub(began));
        lock(&shared.figures).stalls += 1;
        result
    }

    /// Collects until `reserve` finds its memory, `wanted_bytes` at most: after the cycle under way, after a cycle of our own, after
    /// some that pack, until those give nothing back any more. Ends earlier where none of that can help
    /// ([`Fullness`](crate::collector::fullness::Fullness)).
    fn collect_for(
        &self,
        request: Request,
        wanted_bytes: u64,
        mut shortage: Shortage,
        mut reserve: impl FnMut() -> Result<(), Shortage>,
    ) -> Result<(), Error> {
        let shared = self.shared();
        let space = &shared.mover.space;
        let collect = |kind| shared.collect(kind).map(drop).ok_or_else(|| self.closed());
        for attempt in 0..2 + ROUNDS_MAX {
            if self.is_full_for(request, &shortage) {
                return Err(self.full(request.bytes, &shortage)?);
            }
            let used_bytes = space.used_bytes();
            match attempt {
                0 => shared.wait_running(),
                1 => collect(Kind::Ordinary)?,
                _ => {
                    let limit_bytes = space.limit_bytes(request.limit) - space.lent_bytes(request.limit);
                    shared.fullness.want_used(limit_bytes.saturating_sub(wanted_bytes));
                    collect(Kind::Packing)?;
                }
            }
            match reserve() {
                Ok(()) => return Ok(()),
                Err(why) => shortage = why,
            }
            if attempt >= 2 && space.used_bytes() >= used_bytes && shared.fullness.settled().is_some() {
                break;
            }
        }
        shared.fullness.end_packing(shared.sparse_bytes(), space.allocated_bytes());
        match &shortage {
            Shortage::Kernel(error) => return Err(error.clone().into()),
            Shortage::Closed => return Err(self.closed()),
            Shortage::Fragmented => shared.fullness.note_fragmented(request.bytes),
            Shortage::Budget => {}
        }
        Err(self.full(request.bytes, &shortage)?)
    }

    /// What has to be free for what a thread lacks and for what its last attempts were given, in bytes.
    fn wanted_bytes(&self, request: Request, given: &Given) -> u64 {
        let geometry = self.shared().mover.space.geometry();
        let large = given.large.iter().map(|(_, bytes)| geometry.round_to_pages(*bytes)).sum::<u64>();
        // As `Space::make_room` reckons.
        large + geometry.round_to_pages(request.bytes + given.carved_bytes) + geometry.page_bytes()
    }

    /// Whether an operation may find its memory although there is not room for all that its last attempts were given: it has not
    /// been tried after a collection, and what is lacking first is there.
    fn may_fit(&self, mutator: &Mutator, request: Request, given: &Given) -> bool {
        let space = &self.shared().mover.space;
        // Relaxed: read and written by this thread.
        !mutator.is_last_try.load(Ordering::Relaxed)
            && given.large.is_empty()
            && given.carved_bytes > 0
            && request.bytes <= LARGE_BYTES
            && space.make_room(request.window, request.bytes, 0, request.limit).is_ok()
    }

    /// Whether no collection can find the memory.
    fn is_full_for(&self, request: Request, shortage: &Shortage) -> bool {
        let shared = self.shared();
        let (space, fullness) = (&shared.mover.space, &shared.fullness);
        match shortage {
            Shortage::Budget => {
                let Some(settled) = fullness.settled() else { return false };
                let Some(garbage) = fullness.garbage_bytes_max() else { return false };
                // What is lent has been tried.
                let garbage = garbage.saturating_sub(space.lent_bytes(request.limit));
                let few_bytes = space.budget_bytes() / FEW_SHARE;
                let moved = fullness.moved_bytes_max(shared.sparse_bytes(), space.allocated_bytes(), few_bytes);
                let gain = garbage + moved;
                space.geometry().round_to_pages(request.bytes) > space.room_bytes(request.limit) + gain
                    && fullness.settled() == Some(settled)
            }
            Shortage::Fragmented => fullness.is_fragmented_for(request.bytes),
            Shortage::Kernel(_) | Shortage::Closed => false,
        }
    }

    fn full(&self, requested: u64, shortage: &Shortage) -> Result<Error, Error> {
        let shared = self.shared();
        let space = &shared.mover.space;
        Ok(Error::Full {
            requested,
            live: shared.fullness.live_estimate(space.allocated_bytes(), space.charged_bytes()).likely_bytes,
            resident: space.resident_bytes()?,
            budget: shared.options.budget_bytes,
            reserve: shared.options.budget_bytes - space.mutator_bytes(),
            is_fragmented: matches!(shortage, Shortage::Fragmented),
        })
    }

    /// Makes room for what this thread's next attempt needs: reserves large objects, and has what the first chunk needs.
    fn reserve(&self, mutator: &Mutator, request: Request, given: &mut Given) -> Result<(), Shortage> {
        self.reserve_given(mutator, request, given)?;
        if request.bytes > LARGE_BYTES {
            return self.reserve_large(mutator, request);
        }
        self.shared().mover.space.make_room(request.window, request.bytes, given.carved_bytes, request.limit)
    }

    /// Reserves the large objects that the last attempt was given. What was reserved is no longer in `given`, and stays
    /// reserved if there is no room for the rest.
    fn reserve_given(&self, mutator: &Mutator, request: Request, given: &mut Given) -> Result<(), Shortage> {
        while let Some((window, bytes)) = given.large.last() {
            self.reserve_large(mutator, Request { window: *window, bytes: *bytes, ..request })?;
            given.large.pop();
        }
        Ok(())
    }

    fn reserve_large(&self, mutator: &Mutator, request: Request) -> Result<(), Shortage> {
        let prepared = &mut *lock(&mutator.prepared);
        memory::reserve(prepared, 1).map_err(|refused| Shortage::Kernel(refused.into()))?;
        let chunk = self.shared().mover.space.reserve_large(request.window, request.bytes, request.limit)?;
        prepared.push((request.window, chunk));
        self.shared().note_allocation();
        Ok(())
    }
}

/// What the next attempt needs besides what the last one lacked: see `[inv.room.whole]`.
fn failed(mutator: &Mutator) -> Given {
    let given = std::mem::take(&mut *lock(&mutator.failed));
    // Relaxed: read and written by this thread.
    let shortages = mutator.shortages.load(Ordering::Relaxed) + 1;
    mutator.shortages.store(shortages, Ordering::Relaxed);
    if shortages < SHORTAGES_MIN { Given::default() } else { given }
}
