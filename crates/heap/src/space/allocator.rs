//! Who gets which region: chunks for mutators, regions for large objects and destinations, all within the budget.
//!
//! How much of the budget who may use is the part of `limit`; what is resident, and so charged to it, that of `residency`.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use subduct_kernel::KernelError;

use super::chunk::Chunk;
use super::free::FreeRegions;
use super::layout::{Geometry, POPULATE_BYTES, REGION_BYTES, RegionId, Window};
use super::limit::Limit;
use super::region::{Region, RegionTable};
use super::role::Role;
use super::windows::Windows;
use crate::memory::{self, Refused};
use crate::sync::{lock, point};

/// Why there was no memory.
#[derive(Debug)]
pub enum Shortage {
    /// The budget is used up.
    Budget,
    /// The budget has room, but no run of free regions is long enough.
    Fragmented,
    /// The machine has no memory left.
    Kernel(KernelError),
    /// The heap is closed.
    Closed,
}

#[derive(Default)]
pub(super) struct WindowState {
    pub(super) free: FreeRegions,
    /// The region chunks are carved from.
    pub(super) current: Option<RegionId>,
    /// Regions with room left behind their used part.
    partial: Vec<RegionId>,
    /// `current` and `partial` of before the plan, which may choose to evacuate them.
    held: Vec<RegionId>,
    /// Whether regions are set aside so: then the plan may choose any that has been in use.
    is_holding: bool,
}

/// The memory of a heap and its bookkeeping.
pub struct Space {
    /// The mapped memory.
    pub windows: Windows,
    /// The region table.
    pub regions: RegionTable,
    state: Mutex<[WindowState; 2]>,
    pub(super) budget_bytes: u64,
    pub(super) reserve_bytes: u64,
    pub(super) charged_bytes: AtomicU64,
    allocated_bytes: AtomicU64,
    /// What mutators may use of the reserve: see [`Space::lend`].
    pub(super) lent_bytes: AtomicU64,
    /// See [`Space::withhold_margin`].
    pub(super) is_margin_withheld: AtomicBool,
    /// How often the partial regions were held: tells regions of before from those taken since.
    era: AtomicU32,
    /// Written under the lock.
    pub(super) is_closed: AtomicBool,
    /// Threads that make memory resident without the lock. Counted under it.
    pub(super) reserving: AtomicU32,
}

/// So many budgets from its window's begin large objects are placed while they have room there.
const NEAR_BUDGETS: u64 = 2;
/// Room at the end of a region that is not worth another visit, in bytes.
const PARTIAL_MIN_BYTES: u64 = 64 << 10;

impl Space {
    /// A space in which every region is free, and nothing resident.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn new(windows: Windows, budget_bytes: u64) -> Result<Self, Refused> {
        let geometry = *windows.geometry();
        let near = RegionId::of(NEAR_BUDGETS * budget_bytes).0;
        let state = Window::ALL
            .map(|window| WindowState { free: FreeRegions::new(&geometry, window, near), ..WindowState::default() });
        let reserve_bytes = (budget_bytes / 16).clamp(2 * REGION_BYTES, 32 * REGION_BYTES).min(budget_bytes / 2);
        Ok(Self {
            windows,
            regions: RegionTable::new(geometry)?,
            state: Mutex::new(state),
            budget_bytes,
            reserve_bytes,
            charged_bytes: AtomicU64::new(0),
            allocated_bytes: AtomicU64::new(0),
            lent_bytes: AtomicU64::new(0),
            is_margin_withheld: AtomicBool::new(false),
            era: AtomicU32::new(0),
            is_closed: AtomicBool::new(false),
            reserving: AtomicU32::new(0),
        })
    }

    /// The heap's sizes.
    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        self.windows.geometry()
    }

    /// The hard limit on resident bytes.
    #[must_use]
    pub fn budget_bytes(&self) -> u64 {
        self.budget_bytes
    }

    /// Bytes charged: an upper bound of what is resident, exact when no call is on its way.
    #[must_use]
    pub fn charged_bytes(&self) -> u64 {
        // Relaxed: a figure; the limit itself is enforced under the lock.
        self.charged_bytes.load(Ordering::Relaxed)
    }

    /// Bytes handed to mutators since the heap was made.
    #[must_use]
    pub fn allocated_bytes(&self) -> u64 {
        self.allocated_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, [WindowState; 2]> {
        // A panic of another thread inside the lock leaves sets that are still true of the region table.
        lock(&self.state)
    }

    /// Takes a free region, pooled ones and low addresses first.
    fn take(&self, state: &mut [WindowState; 2], window: Window, role: Role) -> Result<RegionId, Shortage> {
        let id = state[window.index()].free.take(&self.regions).ok_or(Shortage::Fragmented)?;
        let region = self.regions.get(id);
        region.set_used_bytes(0);
        region.set_dead_bytes(0);
        region.take(role, self.era.load(Ordering::Relaxed));
        Ok(id)
    }

    /// As [`Space::take`], for chunks. What is resident of a pooled region counts as used from now on: where that would be more than users
    /// of this limit may have, it begins anew, and becomes resident again as far as they may. `[inv.budget.pool]`
    fn take_within(&self, state: &mut [WindowState; 2], window: Window, limit: Limit) -> Result<RegionId, Shortage> {
        let id = self.take(state, window, Role::Small)?;
        let used_bytes = self.charged_bytes().saturating_sub(Self::pooled_bytes(state));
        if self.regions.get(id).resident_bytes() > 0 && used_bytes > self.limit_bytes(limit) {
            self.punch(id).inspect_err(|_| self.put_back(state, id))?;
        }
        Ok(id)
    }

    /// Puts a region that was just taken back where it came from.
    pub(super) fn put_back(&self, state: &mut [WindowState; 2], id: RegionId) {
        self.regions.get(id).set_role(Role::Free);
        state[self.geometry().window_of(id.start()).index()].free.put(&self.regions, id);
    }

    /// A chunk of at least `least` and if possible `wanted` bytes, resident, for one mutator.
    ///
    /// # Errors
    /// [`Shortage`]; nothing was taken.
    pub fn carve(&self, window: Window, least: u64, wanted: u64, limit: Limit) -> Result<Chunk, Shortage> {
        let state = &mut *self.lock();
        let id = self.ready(state, window, least, wanted, limit)?;
        let region = self.regions.get(id);
        let used = region.used_bytes();
        let chunk_end = (used + wanted.max(least)).min(region.resident_bytes());
        region.set_used_bytes(chunk_end);
        self.allocated_bytes.fetch_add(chunk_end - used, Ordering::Relaxed);
        Ok(Chunk { start: id.start() + used, end: id.start() + chunk_end })
    }

    /// Has a current region in which `least` bytes are resident behind the used part, and if possible `wanted`.
    fn ready(
        &self,
        state: &mut [WindowState; 2],
        window: Window,
        least: u64,
        wanted: u64,
        limit: Limit,
    ) -> Result<RegionId, Shortage> {
        if self.is_over(state, limit) {
            return Err(Shortage::Budget);
        }
        let id = self.current_with_room(state, window, least, limit)?;
        let used = self.regions.get(id).used_bytes();
        let bytes = wanted.max(least).min(REGION_BYTES - used);
        let made = self.populate(state, id, used + bytes, limit);
        // Less may do, and may be resident already.
        let Err(shortage) = made.or_else(|_| self.populate(state, id, used + least, limit)) else { return Ok(id) };
        if used == 0 {
            state[window.index()].current = None;
            self.put_back(state, id);
        }
        let tail = if matches!(shortage, Shortage::Budget) { self.tail(state, window, least) } else { None };
        let lists = &mut state[window.index()];
        let id = tail.ok_or(shortage)?;
        lists.partial.retain(|partial| *partial != id);
        note(&mut lists.partial, lists.current.replace(id).filter(|old| *old != id));
        Ok(id)
    }

    /// A region in which `least` bytes are resident behind the used part: the room at its end that the next object was too large
    /// for. O(regions).
    fn tail(&self, state: &[WindowState; 2], window: Window, least: u64) -> Option<RegionId> {
        let has_room =
            |region: &Region| region.role() == Role::Small && region.used_bytes() + least <= region.resident_bytes();
        let mut small = self.regions.iter(window).filter(|_| !state[window.index()].is_holding);
        small.find(|(_, region)| has_room(region)).map(|(id, _)| id)
    }

    fn current_with_room(
        &self,
        state: &mut [WindowState; 2],
        window: Window,
        least: u64,
        limit: Limit,
    ) -> Result<RegionId, Shortage> {
        let room = |id: RegionId| REGION_BYTES - self.regions.get(id).used_bytes();
        let lists = &mut state[window.index()];
        if let Some(id) = lists.current {
            if room(id) >= least {
                return Ok(id);
            }
            if room(id) >= PARTIAL_MIN_BYTES {
                note(&mut lists.partial, [id]);
            }
            lists.current = None;
        }
        let id = match lists.partial.iter().position(|id| room(*id) >= least) {
            Some(position) => lists.partial.swap_remove(position),
            None => self.take_within(state, window, limit)?,
        };
        state[window.index()].current = Some(id);
        Ok(id)
    }

    /// Makes room for a chunk of `bytes`, so that carving it needs nothing of the kernel, and finds out whether the budget has
    /// `besides` bytes more: about those it errs on the side of no.
    ///
    /// # Errors
    /// Why there is none; nothing was taken.
    pub fn make_room(&self, window: Window, bytes: u64, besides: u64, limit: Limit) -> Result<(), Shortage> {
        let state = &mut *self.lock();
        let step = self.step_bytes();
        let needed = (bytes + besides).next_multiple_of(step) + step;
        let limit_bytes = self.limit_bytes(limit) + Self::pooled_bytes(state);
        if besides > 0 && self.charged_bytes() + needed > limit_bytes {
            return Err(Shortage::Budget);
        }
        self.ready(state, window, bytes, bytes, limit).map(drop)
    }

    pub(super) fn pooled_bytes(state: &[WindowState; 2]) -> u64 {
        state.iter().map(|lists| lists.free.pooled_bytes()).sum()
    }

    /// Regions in a row for a large object of `bytes`, resident and zeroed. Searched from the window's end, away from
    /// the small objects. Without the lock where it takes long.
    ///
    /// # Errors
    /// [`Shortage`]; nothing was taken.
    pub fn reserve_large(&self, window: Window, bytes: u64, limit: Limit) -> Result<Chunk, Shortage> {
        let count = bytes.div_ceil(REGION_BYTES) as u32;
        let first = self.take_run(window, count)?;
        let resident = self.geometry().round_to_pages(bytes);
        let made = self.fill_run(first, count, resident, limit);
        let state = &mut *self.lock();
        // Release: whoever closes the space sees that this thread is done with its memory.
        self.reserving.fetch_sub(1, Ordering::Release);
        let run = || (0..count).map(|i| first.offset_by(i));
        if let Err(shortage) = made {
            run().for_each(|id| self.put_back(state, id));
            return Err(shortage);
        }
        for id in run() {
            let region = self.regions.get(id);
            let length = (first.start() + resident - id.start()).min(REGION_BYTES);
            region.set_resident_bytes(length);
            region.set_used_bytes(length);
            region.take(Role::Reserved, self.era.load(Ordering::Relaxed));
        }
        self.allocated_bytes.fetch_add(resident, Ordering::Relaxed);
        Ok(Chunk { start: first.start(), end: first.start() + bytes })
    }

    /// Takes a run of free regions: they are this thread's, and part of nobody else's run.
    fn take_run(&self, window: Window, count: u32) -> Result<RegionId, Shortage> {
        let state = &mut *self.lock();
        if self.is_closed.load(Ordering::Relaxed) {
            return Err(Shortage::Closed);
        }
        let free = &mut state[window.index()].free;
        let first = free.last_run(&self.regions, count).ok_or(Shortage::Fragmented)?;
        for id in (0..count).map(|i| first.offset_by(i)) {
            free.remove(&self.regions, id);
            self.regions.get(id).set_head(first);
            self.regions.get(id).set_role(Role::Reserved);
        }
        self.reserving.fetch_add(1, Ordering::Relaxed);
        Ok(first)
    }

    /// Makes the first `resident` bytes of a run resident, with fresh pages: cheaper than zeroing old ones inside an operation.
    fn fill_run(&self, first: RegionId, count: u32, resident: u64, limit: Limit) -> Result<(), Shortage> {
        for id in (0..count).map(|i| first.offset_by(i)) {
            point();
            if self.regions.get(id).resident_bytes() > 0 {
                self.punch(id)?;
            }
        }
        self.charge(&mut self.lock(), resident, limit)?;
        point();
        self.make_resident(first.start(), first.start() + resident)
    }

    /// Turns a reservation into a large object's regions, as its header is about to be written. Inside an operation.
    pub fn commit_large(&self, chunk: Chunk) {
        let first = RegionId::of(chunk.start);
        let count = chunk.bytes().div_ceil(REGION_BYTES) as u32;
        for id in (1..count).map(|i| first.offset_by(i)) {
            self.regions.get(id).set_role(Role::LargeTail);
        }
        // The regions may have been reserved before marking ended: [inv.large.era] as of now the object is new, and not one
        // that marking found dead. The era does not change while this thread is inside.
        self.regions.get(first).take(Role::LargeHead, self.era.load(Ordering::Relaxed));
    }

    /// Frees a reservation or the regions of a large object, given its first.
    pub fn free_large(&self, first: RegionId) {
        let state = &mut *self.lock();
        let end = self.geometry().regions(self.geometry().window_of(first.start())).end;
        let mine = |id: RegionId| {
            let region = self.regions.get(id);
            id == first || (matches!(region.role(), Role::LargeTail | Role::Reserved) && region.head() == first)
        };
        // Counted first: a region that was put back is nobody's.
        let count = (first.0..end).map(RegionId).take_while(|id| mine(*id)).count() as u32;
        (0..count).for_each(|i| self.put_back(state, first.offset_by(i)));
    }

    /// A region for handles, with its first step resident.
    ///
    /// # Errors
    /// [`Shortage`]; nothing was taken.
    pub fn take_handles(&self) -> Result<RegionId, Shortage> {
        let state = &mut *self.lock();
        let id = self.take(state, Window::Slots, Role::Free)?;
        // Recycled memory would read as handles.
        let punched = if self.regions.get(id).resident_bytes() > 0 { self.punch(id) } else { Ok(()) };
        let made = punched.and_then(|()| self.populate(state, id, POPULATE_BYTES, Limit::Reader));
        if let Err(shortage) = made {
            self.put_back(state, id);
            return Err(shortage);
        }
        self.regions.get(id).set_role(Role::Handles);
        Ok(id)
    }

    /// Makes more of a handle region resident.
    ///
    /// # Errors
    /// [`Shortage`]; nothing changed.
    pub fn grow_handles(&self, id: RegionId, bytes: u64) -> Result<(), Shortage> {
        self.populate(&mut self.lock(), id, bytes, Limit::Reader)
    }

    /// A destination region with its first `bytes` resident. May use the reserve.
    ///
    /// # Errors
    /// [`Shortage`]; nothing was taken.
    pub fn take_destination(&self, window: Window, bytes: u64) -> Result<RegionId, Shortage> {
        let state = &mut *self.lock();
        let id = self.take(state, window, Role::Destination)?;
        if let Err(shortage) = self.populate(state, id, bytes, Limit::Collector) {
            self.put_back(state, id);
            return Err(shortage);
        }
        Ok(id)
    }

    /// Bytes of the budget that are in use: charged, and not of a free region.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        let pooled = Self::pooled_bytes(&self.lock());
        self.charged_bytes().saturating_sub(pooled)
    }

    /// Bytes that destinations could become resident with now.
    #[must_use]
    pub fn collector_room_bytes(&self) -> u64 {
        self.room_bytes(Limit::Collector)
    }

    /// Bytes that mutators could be given now.
    #[must_use]
    pub fn mutator_room_bytes(&self) -> u64 {
        self.room_bytes(Limit::Mutator)
    }

    /// Bytes that could be charged now.
    #[must_use]
    pub fn room_bytes(&self, limit: Limit) -> u64 {
        self.limit_bytes(limit).saturating_sub(self.used_bytes())
    }

    /// Has regions that are as new again passed over from now on. Before marking begins, when all marks are cleared.
    pub fn forget_holes(&self) {
        for window in Window::ALL {
            for (id, region) in self.regions.iter(window) {
                if region.role() == Role::Free && region.resident_bytes() == 0 {
                    let _state = self.lock();
                    // Somebody may have taken it since.
                    if self.regions.is_hole(id) {
                        self.regions.forget(id);
                    }
                }
            }
        }
    }

    /// Frees a region whose objects are gone.
    pub fn free(&self, id: RegionId) {
        self.put_back(&mut self.lock(), id);
    }

    /// Sets aside the regions that mutators carve from, so that the plan may choose them. New chunks come from others.
    /// Mutators must hold no chunk.
    pub fn hold_partial(&self) {
        let state = &mut *self.lock();
        self.era.fetch_add(1, Ordering::Relaxed);
        for lists in state {
            let WindowState { current, partial, held, is_holding, .. } = lists;
            *is_holding = true;
            note(held, current.take().into_iter().chain(partial.drain(..)));
        }
    }

    /// Gives back what [`Space::hold_partial`] set aside and the plan did not choose.
    pub fn release_held(&self) {
        for lists in self.lock().iter_mut() {
            let held = std::mem::take(&mut lists.held);
            lists.is_holding = false;
            // Of those that were freed, some have been taken again, and are somebody's current region.
            note(&mut lists.partial, held.into_iter().filter(|id| self.held_role(*id) == Some(Role::Small)));
        }
    }

    /// What a region is used for that was in use when [`Space::hold_partial`] was last called; `None` if it was taken since.
    #[must_use]
    pub fn held_role(&self, id: RegionId) -> Option<Role> {
        // Relaxed: written by the collector, who asks.
        self.regions.get(id).role_before(self.era.load(Ordering::Relaxed))
    }

    /// Turns a finished destination into an ordinary region; what is left of it is carved next.
    pub fn adopt_destination(&self, id: RegionId) {
        let region = self.regions.get(id);
        region.set_role(Role::Small);
        if REGION_BYTES - region.used_bytes() >= PARTIAL_MIN_BYTES {
            let window = self.geometry().window_of(id.start());
            note(&mut self.lock()[window.index()].partial, [id]);
        }
    }
}

/// Adds regions to a list. One that there is no memory for is not carved from until a cycle evacuates it.
fn note(list: &mut Vec<RegionId>, regions: impl IntoIterator<Item = RegionId>) {
    for region in regions {
        let _ = memory::push(list, region);
    }
}

#[cfg(test)]
mod tests;
