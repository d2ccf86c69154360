//! Which pages of the file are resident, and charged to the budget.
//!
//! The budget is kept in whole OS pages of the file. A page is charged before it becomes resident and discharged after
//! it was punched out, so the file never holds more than was charged.

use std::sync::atomic::Ordering;

use super::allocator::{Shortage, Space, WindowState};
use super::layout::{CHUNK_BYTES, REGION_BYTES, RegionId, Window};
use super::limit::Limit;
use super::role::Role;
use crate::sync::{point, rest};

impl Space {
    /// Takes `bytes` of the budget, giving up pooled regions where that helps.
    pub(super) fn charge(&self, state: &mut [WindowState; 2], bytes: u64, limit: Limit) -> Result<(), Shortage> {
        let limit = self.limit_bytes(limit);
        while self.charged_bytes() + bytes > limit {
            let victim =
                Window::ALL.into_iter().find_map(|window| state[window.index()].free.take_pooled(&self.regions));
            let Some(region) = victim else { return Err(Shortage::Budget) };
            let punched = self.punch(region);
            self.put_back(state, region);
            punched?;
        }
        self.charged_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Gives a free region's pages back to the machine. Where the kernel refuses, they stay resident and charged.
    pub(super) fn punch(&self, id: RegionId) -> Result<(), Shortage> {
        let region = self.regions.get(id);
        let bytes = region.resident_bytes();
        self.windows.punch(id.start(), id.end()).map_err(Shortage::Kernel)?;
        region.set_resident_bytes(0);
        self.charged_bytes.fetch_sub(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Makes a range resident that was charged. Part of it may be when that fails: it is punched again, so that the charge
    /// stays exact, or stays charged where it cannot be.
    pub(super) fn make_resident(&self, start: u64, end: u64) -> Result<(), Shortage> {
        self.windows.populate(start, end).map_err(|error| {
            if self.windows.punch(start, end).is_ok() {
                self.charged_bytes.fetch_sub(end - start, Ordering::Relaxed);
            }
            Shortage::Kernel(error)
        })
    }

    /// Makes the first `bytes` of a region resident.
    pub(super) fn populate(
        &self,
        state: &mut [WindowState; 2],
        id: RegionId,
        bytes: u64,
        limit: Limit,
    ) -> Result<(), Shortage> {
        let region = self.regions.get(id);
        let resident = region.resident_bytes();
        if resident >= bytes {
            return Ok(());
        }
        if self.is_closed.load(Ordering::Relaxed) {
            return Err(Shortage::Closed);
        }
        // A destination has its size from the start, but where it is packed.
        let step = if limit == Limit::Collector { self.geometry().page_bytes() } else { self.step_bytes() };
        let wanted = bytes.next_multiple_of(step).min(REGION_BYTES);
        self.charge(state, wanted - resident, limit)?;
        self.make_resident(id.start() + resident, id.start() + wanted)?;
        region.set_resident_bytes(wanted);
        Ok(())
    }

    /// Makes more of a destination resident.
    ///
    /// # Errors
    /// [`Shortage`]; nothing changed.
    pub fn grow_destination(&self, id: RegionId, bytes: u64) -> Result<(), Shortage> {
        self.populate(&mut self.lock(), id, bytes, Limit::Collector)
    }

    /// Makes the room behind the latest chunks resident, so that the next ones cost no system call: a page takes some
    /// microseconds, and inside an operation a flip would wait for them. Does nothing where memory is short.
    pub fn populate_ahead(&self) {
        let state = &mut *self.lock();
        if self.is_short() {
            return;
        }
        for window in Window::ALL {
            let Some(id) = state[window.index()].current else { continue };
            let region = self.regions.get(id);
            let wanted = (region.used_bytes() + CHUNK_BYTES).min(REGION_BYTES);
            if region.resident_bytes() < wanted {
                // A shortage comes out again where the memory is needed.
                let _ = self.populate(state, id, wanted, Limit::Mutator);
            }
        }
    }

    /// Punches pooled regions out until at most `limit_bytes` stay resident in the pool, without the lock: mutators need it. Ends
    /// early where the kernel refuses.
    pub fn trim_pool(&self, limit_bytes: u64) {
        let mut punched = Ok(());
        while punched.is_ok() {
            let mut state = self.lock();
            let is_over = Self::pooled_bytes(&state) > limit_bytes;
            let Some(id) = state.iter_mut().filter(|_| is_over).find_map(|lists| lists.free.take_pooled(&self.regions))
            else {
                return;
            };
            // Still charged, and nobody's: no part of a run of free regions, nor of a neighbour that is being freed.
            self.regions.get(id).set_head(id);
            self.regions.get(id).set_role(Role::Reserved);
            drop(state);
            point();
            punched = self.punch(id);
            self.put_back(&mut self.lock(), id);
        }
    }

    /// Gives pages back that became resident without being charged: `mlockall` fills the holes of the mapping.
    pub fn give_back_uncharged(&self) {
        let is_exact = |resident| resident <= self.charged_bytes();
        if self.windows.resident_bytes().map_or(true, is_exact) {
            return;
        }
        self.windows.unlock_view();
        for id in self.geometry().all_regions().map(RegionId) {
            let region = self.regions.get(id);
            // With the lock: nobody makes more of the region resident meanwhile.
            let _state = self.lock();
            let resident = region.resident_bytes();
            if resident < REGION_BYTES && self.windows.punch(id.start() + resident, id.end()).is_err() {
                return;
            }
        }
    }

    /// Ends all use of the memory: nothing is handed out any more, and what was resident goes back to the machine.
    ///
    /// # Safety
    /// No thread is inside an operation of the heap, or will be, and no collector runs.
    pub unsafe fn close(&self) {
        let mut state = self.lock();
        for lists in state.iter_mut() {
            *lists = WindowState::default();
        }
        self.is_closed.store(true, Ordering::Relaxed);
        drop(state);
        // Acquire: pairs with the release of those who are done. No more of them begin.
        let mut waits = 0;
        while self.reserving.load(Ordering::Acquire) > 0 {
            rest(waits);
            waits += 1;
        }
        // SAFETY: by this function's contract; those who take memory outside operations do so under the lock, and find none, or were
        // waited for.
        unsafe { self.windows.release() };
    }

    /// Bytes of memory the file holds right now, asked from the kernel; 0 when the space is closed.
    ///
    /// # Errors
    /// As `fstat`.
    pub fn resident_bytes(&self) -> subduct_kernel::Result<u64> {
        // Under the lock, because the file goes when the space is closed.
        let _state = self.lock();
        if self.is_closed.load(Ordering::Relaxed) { Ok(0) } else { self.windows.resident_bytes() }
    }
}
