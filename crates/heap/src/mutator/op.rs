//! A heap operation: one short critical section in which no object moves.
//!
//! An operation is restartable. It allocates everything it needs before it changes anything that others can see; when
//! memory is short it returns [`Retry`], the caller leaves the critical section, makes room, and runs it again.

mod barrier;
mod hold;
mod lock;

use std::ops::Range;
use std::sync::atomic::Ordering;

use subduct_kernel::signal;

use crate::clock;
use crate::memory::{self, Refused};
use crate::mutator::thread::{Local, Mutator, POLL_ROOTS};
use crate::object::{Header, Kind, Ref, Value};
use crate::shared::{BARRIER_LOG, BARRIER_PAGES, BARRIER_RELEASE, BARRIER_SIGNAL, BARRIER_TRACK, Interned, Shared};
use crate::space::layout::LARGE_BYTES;
use crate::space::{Chunk, Limit, Window};
use crate::sync::lock;

/// Memory that an operation needs before it can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Where.
    pub window: Window,
    /// How much, in bytes.
    pub bytes: u64,
    /// Out of what.
    pub limit: Limit,
}

/// Why an operation must leave the critical section and be run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It needs memory.
    Space(Request),
    /// It would use memory if that is to be had at once, and goes on without if not.
    Wish(Request),
    /// It needs handles.
    Handles,
    /// Another thread is using the same object.
    Busy,
    /// It takes long, and was to be brief: see [`Heap::attempt_briefly`](crate::Heap::attempt_briefly).
    Long,
    /// The process has no memory of its own left: it fails.
    Refused(Refused),
}

impl From<Refused> for Retry {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

/// A heap operation under way.
pub struct Op<'h> {
    shared: &'h Shared,
    mutator: &'h Mutator,
    local: &'h mut Local,
    /// What the collector wants to hear of; changes only while this thread is outside or polls.
    barrier: u32,
}

impl<'h> Op<'h> {
    /// Begins an operation of a thread.
    ///
    /// # Safety
    /// This thread owns `mutator`, has just entered the gate, and holds no other `Op` of this heap.
    pub unsafe fn begin(shared: &'h Shared, mutator: &'h Mutator) -> Self {
        // SAFETY: the owning thread, inside, by this function's contract.
        let local = unsafe { mutator.local() };
        local.operations += 1;
        local.began_at_bytes = local.allocated_bytes;
        Self { shared, mutator, local, barrier: barrier(shared) }
    }

    /// Ends an attempt at an operation. What one that failed was given is kept for [`Heap::make_room`](crate::Heap::make_room).
    pub fn end(self, succeeded: bool) {
        if !succeeded && self.barrier & BARRIER_RELEASE != 0 {
            // Counted once: not again as a part of what a longer work of this thread has allocated.
            let failed_bytes = self.local.allocated_bytes - self.local.began_at_bytes;
            self.local.allocated_bytes = self.local.began_at_bytes;
            self.shared.note_garbage(failed_bytes);
        }
        // Relaxed: read by this thread.
        self.mutator.allocated_bytes.store(self.local.allocated_bytes, Ordering::Relaxed);
        for (left, chunk) in self.mutator.left.iter().zip(&self.local.chunks) {
            left.note_start(chunk.start);
        }
        let given = &mut self.local.given;
        if !succeeded {
            *lock(&self.mutator.failed) = std::mem::take(given);
            return;
        }
        if !given.is_empty() {
            given.carved_bytes = 0;
            given.large.clear();
        }
        // Relaxed, here and below: written by this thread.
        if self.mutator.refusals.load(Ordering::Relaxed) > 0 {
            self.mutator.refusals.store(0, Ordering::Relaxed);
        }
        if self.mutator.shortages.load(Ordering::Relaxed) > 0 {
            self.mutator.shortages.store(0, Ordering::Relaxed);
            self.mutator.is_last_try.store(false, Ordering::Relaxed);
            // The last attempt may have needed less than those before.
            self.shared.release_prepared(self.mutator);
        }
    }

    /// With `software` delivery, makes the pages of a range ready before they are touched.
    #[inline]
    fn touch(&self, offset: u64, bytes: u64) {
        #[cfg(feature = "simulate")]
        self.shared.mover.access(offset, bytes);
        if self.barrier & BARRIER_PAGES != 0 {
            self.shared.mover.ensure_ready(offset, bytes);
        }
    }

    #[inline]
    fn load_word(&self, offset: u64) -> u64 {
        self.touch(offset, 8);
        let windows = &self.shared.mover.space.windows;
        // Acquire: pairs with the release in `store_word`, so that what a reference leads to is complete.
        windows.word(windows.view(), offset).load(Ordering::Acquire)
    }

    #[inline]
    fn store_word(&self, offset: u64, word: u64) {
        self.touch(offset, 8);
        let windows = &self.shared.mover.space.windows;
        // Release: whoever loads the reference sees the object it leads to.
        windows.word(windows.view(), offset).store(word, Ordering::Release);
    }

    /// An object's header.
    #[inline]
    #[must_use]
    pub fn header(&self, object: Ref) -> Header {
        Header::from_bits(self.load_word(object.offset()))
    }

    #[inline]
    fn slot(&self, object: Ref, slot: usize) -> u64 {
        debug_assert!(slot < self.header(object).slots(), "slot {slot} of {:?}", self.header(object));
        object.offset() + 8 + slot as u64 * 8
    }

    #[inline]
    fn raw_start(&self, object: Ref) -> u64 {
        object.offset() + 8 + self.header(object).slots() as u64 * 8
    }

    /// A new object: slots empty, raw bytes zero.
    ///
    /// # Errors
    /// [`Retry::Space`]: nothing was allocated.
    pub fn alloc(&mut self, kind: Kind, slots: usize, raw_len: usize) -> Result<Ref, Retry> {
        let window = if kind.is_leaf() { Window::Leaves } else { Window::Slots };
        let Some(header) = Header::new(kind, slots, raw_len) else {
            return Err(Retry::Space(self.request(window, u64::MAX)));
        };
        let bytes = header.bytes();
        let offset = if bytes > LARGE_BYTES {
            // Fresh pages: zero already.
            self.take_prepared(window, bytes)?
        } else {
            let offset = self.bump(window, bytes)?;
            self.touch(offset, bytes);
            self.shared.mover.space.windows.zero_words(offset + 8, header.words() - 1);
            offset
        };
        self.local.allocated_bytes += bytes;
        self.store_word(offset, header.bits());
        let object = Ref::at(offset);
        if self.barrier & (BARRIER_LOG | BARRIER_TRACK) != 0 {
            self.born_marked(object, header);
        }
        Ok(object)
    }

    /// As [`Op::alloc`], for an object that the operation can do without. `None` when there is no room for it right now.
    ///
    /// # Errors
    /// [`Retry::Wish`]: a large object's regions are reserved outside the operation, if they can be.
    pub fn alloc_optional(&mut self, kind: Kind, slots: usize, raw_len: usize) -> Result<Option<Ref>, Retry> {
        match self.alloc(kind, slots, raw_len) {
            Ok(object) => Ok(Some(object)),
            // Relaxed: written by this thread, see `Heap::make_room`.
            Err(Retry::Space(request))
                if request.bytes > LARGE_BYTES && !self.mutator.wish_declined.swap(false, Ordering::Relaxed) =>
            {
                Err(Retry::Wish(request))
            }
            Err(_) => Ok(None),
        }
    }

    #[cold]
    fn born_marked(&mut self, object: Ref, header: Header) {
        let mover = &self.shared.mover;
        mover.marks.mark(&mover.space.regions, object, header);
        if header.slots() > 0 {
            let slots = object.offset() + 8;
            mover.marks.note_any_reference(slots, slots + header.slots() as u64 * 8);
        }
        self.local.born += 1;
    }

    fn request(&self, window: Window, bytes: u64) -> Request {
        Request { window, bytes, limit: self.local.limit }
    }

    /// Does something whose memory is soon given back, and that a full heap must not refuse: it may borrow from the reserve.
    ///
    /// # Errors
    /// Those of `f`.
    pub fn borrowing<T>(&mut self, f: impl FnOnce(&mut Self) -> Result<T, Retry>) -> Result<T, Retry> {
        let limit = std::mem::replace(&mut self.local.limit, Limit::Reader);
        let result = f(self);
        self.local.limit = limit;
        result
    }

    #[inline]
    fn bump(&mut self, window: Window, bytes: u64) -> Result<u64, Retry> {
        let chunk = &mut self.local.chunks[window.index()];
        if chunk.bytes() < bytes {
            return self.refill(window, bytes);
        }
        let offset = chunk.start;
        chunk.start += bytes;
        Ok(offset)
    }

    #[cold]
    fn refill(&mut self, window: Window, bytes: u64) -> Result<u64, Retry> {
        let (chunk_bytes, inside_bytes_max) = self.shared.chunk_bytes();
        let own = bytes > inside_bytes_max;
        let wanted = if own { bytes } else { chunk_bytes };
        let carved = self.shared.mover.space.carve(window, bytes, wanted, self.local.limit);
        let Ok(chunk) = carved else { return Err(Retry::Space(self.request(window, bytes))) };
        self.shared.note_allocation();
        self.local.given.carved_bytes += chunk.bytes();
        // Relaxed: read by this thread.
        self.mutator.has_refilled.store(true, Ordering::Relaxed);
        if window == Window::Slots && self.shared.mover.is_moving() {
            self.shared.mover.prepare(chunk.start, chunk.end);
        }
        if !own {
            let rest = Chunk { start: chunk.start + bytes, end: chunk.end };
            self.mutator.left[window.index()].note_end(rest.end);
            let left = std::mem::replace(&mut self.local.chunks[window.index()], rest);
            if left.bytes() > 0 {
                self.shared.mover.space.regions.of(left.start).add_dead_bytes(left.bytes());
            }
        }
        Ok(chunk.start)
    }

    /// Whether such an object can be allocated right now, as far as large ones are concerned: for operations that need several.
    ///
    /// # Errors
    /// [`Retry::Space`] where it is large and its regions are not reserved yet.
    pub fn is_prepared(&self, kind: Kind, slots: usize, raw_len: usize) -> Result<(), Retry> {
        let window = if kind.is_leaf() { Window::Leaves } else { Window::Slots };
        let bytes = Header::new(kind, slots, raw_len).map_or(u64::MAX, Header::bytes);
        let request = self.request(window, bytes);
        let is_there = |of: &(Window, Chunk)| of.0 == window && of.1.bytes() == bytes;
        let lacks = bytes > LARGE_BYTES && !lock(&self.mutator.prepared).iter().any(is_there);
        if lacks { Err(Retry::Space(request)) } else { Ok(()) }
    }

    fn take_prepared(&mut self, window: Window, bytes: u64) -> Result<u64, Retry> {
        let mut prepared = lock(&self.mutator.prepared);
        let fitting = prepared.iter().position(|(of, chunk)| *of == window && chunk.bytes() == bytes);
        let Some(fitting) = fitting else { return Err(Retry::Space(self.request(window, bytes))) };
        let (_, chunk) = prepared.swap_remove(fitting);
        self.shared.mover.space.commit_large(chunk);
        // Without a note of it the next attempt asks for it again by itself.
        let _ = memory::push(&mut self.local.given.large, (window, bytes));
        Ok(chunk.start)
    }

    /// A slot's value.
    #[inline]
    #[must_use]
    pub fn load(&self, object: Ref, slot: usize) -> Value {
        Value::from_bits(self.load_word(self.slot(object, slot)))
    }

    /// The bytes of an immutable leaf.
    #[inline]
    #[must_use]
    pub fn raw(&self, object: Ref) -> &[u8] {
        let header = self.header(object);
        debug_assert!(matches!(header.kind(), Kind::Str | Kind::Bytes | Kind::BigInt | Kind::Float));
        self.touch(self.raw_start(object), header.raw_len() as u64);
        self.shared.mover.space.windows.bytes(self.raw_start(object), header.raw_len())
    }

    /// Some bytes of an immutable leaf.
    ///
    /// # Panics
    /// When it does not have them.
    #[must_use]
    pub fn raw_range(&self, object: Ref, range: Range<usize>) -> &[u8] {
        assert!(range.start <= range.end && range.end <= self.header(object).raw_len());
        let start = self.raw_start(object) + range.start as u64;
        self.touch(start, range.len() as u64);
        self.shared.mover.space.windows.bytes(start, range.len())
    }

    /// Writes the bytes of a leaf that this operation allocated.
    ///
    /// # Panics
    /// When they are more than the leaf has.
    pub fn write_raw(&mut self, object: Ref, bytes: &[u8]) {
        self.write_raw_at(object, 0, bytes);
    }

    /// Writes bytes of a leaf that only this thread knows, from its byte `start` on.
    ///
    /// # Panics
    /// When they are more than the leaf has.
    pub fn write_raw_at(&mut self, object: Ref, start: usize, bytes: &[u8]) {
        assert!(start.checked_add(bytes.len()).is_some_and(|end| end <= self.header(object).raw_len()));
        let start = self.raw_start(object) + start as u64;
        self.touch(start, bytes.len() as u64);
        self.shared.mover.space.windows.write_bytes(start, bytes);
    }

    /// A word of an object's raw part.
    #[inline]
    #[must_use]
    pub fn word(&self, object: Ref, index: usize) -> u64 {
        debug_assert!(index < self.header(object).raw_words());
        self.load_word(self.raw_start(object) + index as u64 * 8)
    }

    /// Changes a word of an object's raw part.
    #[inline]
    pub fn set_word(&mut self, object: Ref, index: usize, word: u64) {
        debug_assert!(index < self.header(object).raw_words());
        self.store_word(self.raw_start(object) + index as u64 * 8, word);
    }

    /// Lets the collector in if it waits. Objects may move: `refs`, at most eight, are brought up to date, all others
    /// are invalid afterwards.
    ///
    /// # Panics
    /// When there are more than eight.
    #[inline]
    pub fn poll(&mut self, refs: &mut [Ref]) {
        if self.shared.gate.is_closed() {
            self.poll_slow(refs);
        }
    }

    #[cold]
    fn poll_slow(&mut self, refs: &mut [Ref]) {
        self.leave_for(refs, || ());
    }

    /// Is outside for as long as `away` takes, as in a poll.
    fn leave_for(&mut self, refs: &mut [Ref], away: impl FnOnce()) {
        assert!(refs.len() <= POLL_ROOTS, "a poll keeps at most {POLL_ROOTS} references");
        for (i, object) in refs.iter().enumerate() {
            let slot = self.shared.handles.slot(self.local.roots[i]);
            self.store_uncounted_at(slot, Value::reference(*object));
        }
        // Relaxed: the gate orders it for those who read it in a rendezvous.
        self.mutator.is_polling.store(true, Ordering::Relaxed);
        self.mutator.presence.exit(&self.shared.gate);
        away();
        self.mutator.presence.enter(&self.shared.gate);
        self.mutator.is_polling.store(false, Ordering::Relaxed);
        // What follows changes the heap like an operation that begins now.
        self.local.operations += 1;
        self.barrier = barrier(self.shared);
        for (i, object) in refs.iter_mut().enumerate() {
            let slot = self.shared.handles.slot(self.local.roots[i]);
            *object = Value::from_bits(self.load_word(slot)).as_ref().expect("[inv.poll.roots]");
            self.store_uncounted_at(slot, Value::EMPTY);
        }
    }

    /// Identity of an object until [`Op::move_epoch`] changes.
    #[must_use]
    pub fn address(&self, object: Ref) -> u64 {
        object.offset()
    }

    /// Changes whenever objects may have moved.
    #[must_use]
    pub fn move_epoch(&self) -> u64 {
        self.shared.move_epoch()
    }

    /// The heap's random key for hashing.
    #[must_use]
    pub fn hash_key(&self) -> [u64; 2] {
        self.shared.hash_key
    }

    /// The cache of strings that are keys, or values.
    #[must_use]
    pub fn interner(&self, which: Interned) -> Ref {
        self.handle_get(self.shared.interner(which))
    }
}

/// What the collector wants to hear of from here on. `[inv.signal.open]` While an access may meet a page that is not ready, SIGBUS is not
/// blocked in a thread that is inside; only the thread itself can block it, and it runs nobody else's code there.
#[inline]
fn barrier(shared: &Shared) -> u32 {
    let barrier = shared.barrier();
    if barrier & BARRIER_SIGNAL != 0 {
        signal::unblock(libc::SIGBUS);
    }
    barrier & !BARRIER_SIGNAL
}

/// Leaves an operation, also by a panic, and measures how long it took.
pub struct Leave<'h> {
    /// The heap.
    pub shared: &'h Shared,
    /// Whose operation it is.
    pub mutator: &'h Mutator,
    /// When it began.
    pub began_ticks: u64,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.mutator.presence.exit(&self.shared.gate);
        Mutator::raise(&self.mutator.longest_ticks, clock::ticks().wrapping_sub(self.began_ticks));
    }
}
