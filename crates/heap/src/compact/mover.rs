//! The move: every page of the flipped window is made ready once and mapped back, by the worker or by whoever touches
//! it first.
//!
//! [`Mover::serve`] is what a fault does; [`Mover::work`] is what the worker does. Both claim a page, make it ready
//! through the shadow, install it with `UFFDIO_CONTINUE` ([`crate::compact::install`]), and publish it. With `software`
//! delivery nothing was unmapped: the view takes the shadow's place, and mutators look at the page's state before they
//! touch it ([`Mover::ensure_ready`]).
//!
//! `[inv.flip.to-space]` After the flip no thread can load a reference to a moved object from the view: a page with
//! such references is not mapped before they are rewritten.
//! `[inv.forward.total]` Every marked object of a source has a place, and it is the one the plan gave it.
//! `[inv.plan.origin]` The objects from a destination page's origin on fill the page up to the region's used end.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::compact::Forwarding;
use crate::compact::install::Installer;
use crate::compact::page::Work;
use crate::fault::page_state::{Claim, PageState};
use crate::fault::phase::Phase;
use crate::mark::Marks;
use crate::object::Ref;
use crate::space::table::SideTable;
use crate::space::{Base, PageId, RegionId, Role, Space, Window};
use crate::sync::yield_now;

/// Pages that one fault makes ready, where nobody else is at them: 20 KiB where pages have 4 KiB, and 16 on average.
const FAULT_PAGES: u32 = 5;
/// Pages that the worker claims before it installs them: what a mutator may have to wait for. Some tens of microseconds
/// either way.
pub const WORKER_PAGES: u32 = 16;
/// The same of pages that are right as they are.
pub const WORKER_CLEAN_PAGES: u32 = 128;

/// What the worker looks for on its way through the heap.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// Pages that are right as they are.
    Clean,
    /// All that are left.
    All,
}

impl Pass {
    fn pages_max(self) -> u32 {
        match self {
            Self::Clean => WORKER_CLEAN_PAGES,
            Self::All => WORKER_PAGES,
        }
    }
}

/// Pages made ready since the heap was made, by what it took and by whom.
#[derive(Default)]
pub struct Counters {
    /// Faults served on mutator threads.
    pub faults: AtomicU64,
    /// Pages that the worker made ready.
    pub worker_pages: AtomicU64,
    /// Pages fixed in place.
    pub fixed: AtomicU64,
    /// Pages built.
    pub built: AtomicU64,
    /// Pages installed as they were.
    pub clean: AtomicU64,
    /// Flips that became pauses, because the kernel refused a call.
    pub flips_in_pause: AtomicU64,
    /// Installs that the kernel put off, and that were tried again.
    pub installs_again: AtomicU64,
    /// Runs of pages that could not be installed, and whose registration was ended instead.
    pub runs_unregistered: AtomicU64,
    /// Descriptors that somebody else closed.
    pub descriptors_lost: AtomicU64,
    /// Times SIGBUS was taken back during a move.
    pub handlers_restored: AtomicU64,
    /// Shadows that could not be taken down after a move, so that the next begins with another try.
    pub shadows_left: AtomicU64,
}

/// Everything that making pages ready needs. Shared with the SIGBUS handler.
pub struct Mover {
    /// Memory and regions.
    pub space: Space,
    /// What is alive.
    pub marks: Marks,
    /// Where it goes.
    pub forwarding: Forwarding,
    /// Counts for reports.
    pub counters: Counters,
    pages: SideTable<PageState>,
    /// For each destination page: its first object / 8 in the high 48 bits, words of it that lie before in the low 16.
    origins: SideTable<AtomicU64>,
    source_signature: AtomicU64,
    phase: Phase,
    /// How pages get into the view.
    pub installer: Installer,
}

impl Mover {
    /// A mover for a fresh space.
    ///
    /// # Errors
    /// As [`SideTable::new`].
    pub fn new(space: Space) -> subduct_kernel::Result<Self> {
        let geometry = *space.geometry();
        let pages = (geometry.total_bytes() / geometry.page_bytes()) as usize;
        Ok(Self {
            marks: Marks::new(geometry)?,
            forwarding: Forwarding::new(&geometry)?,
            counters: Counters::default(),
            pages: SideTable::new(pages)?,
            origins: SideTable::new(pages)?,
            source_signature: AtomicU64::new(0),
            phase: Phase::idle(),
            installer: Installer::default(),
            space,
        })
    }

    /// Ends all use of the heap's memory and of the tables about it, and gives both back.
    ///
    /// # Safety
    /// No thread is inside an operation of the heap, or will be, no collector runs, and no fault is served.
    pub unsafe fn close(&self) {
        // SAFETY: by this function's contract.
        unsafe {
            self.space.close();
            self.marks.release();
            self.forwarding.release();
            self.pages.release();
            self.origins.release();
        }
    }

    /// Whether a move is under way.
    #[inline]
    #[must_use]
    pub fn is_moving(&self) -> bool {
        self.phase.is_moving()
    }

    /// Signature bits of the regions that move.
    #[inline]
    #[must_use]
    pub fn source_signature(&self) -> u64 {
        self.source_signature.load(Ordering::Relaxed)
    }

    /// Sets the regions that move, as signature bits. Before the flip.
    pub fn set_source_signature(&self, signature: u64) {
        self.source_signature.store(signature, Ordering::Relaxed);
    }

    /// Makes all pages of the slots window pending again, when a move is over and nobody looks. Not before a flip, where it
    /// would push out of the processor's caches what the pause needs: it writes four bytes for each page of a region that was used.
    pub fn reset_slots(&self) {
        let geometry = self.space.geometry();
        // Free regions too: mutators may have taken them during the move, and given them back.
        for (id, _) in self.space.regions.iter(Window::Slots) {
            let pages = geometry.pages(id.start(), id.end());
            self.pages.clear(pages.start as usize..pages.end as usize);
        }
    }

    /// Makes the pages of leaf destinations pending, before a flip: in an earlier move the region may have been an ordinary
    /// one, whose pages were ready.
    pub fn reset_leaf_destinations(&self) {
        let geometry = self.space.geometry();
        for (id, _) in self.space.regions.iter(Window::Leaves).filter(|(_, region)| region.role() == Role::Destination)
        {
            let pages = geometry.pages(id.start(), id.end());
            self.pages.clear(pages.start as usize..pages.end as usize);
        }
    }

    /// Whether all pages in use are ready although the move is not over yet.
    pub(super) fn is_ending(&self) -> bool {
        self.phase.is_ending()
    }

    /// Declares that pages may be not ready, in the rendezvous of the flip. They are installed through a userfaultfd (its
    /// number and its spare), or, without one, written through the view and watched by those who use them.
    pub fn begin(&self, userfaultfd: Option<[RawFd; 2]>) {
        self.installer.begin(userfaultfd);
        self.phase.begin();
    }

    /// Declares that every page in use is ready; the registration is about to end.
    pub fn ending(&self) {
        self.phase.ending();
    }

    /// Declares the move over: nothing is registered any more, and when this returns nobody serves pages.
    pub fn end(&self) {
        self.phase.end();
    }

    /// Records that the object at `from` will fill `[start, end)`: the origin of every page that starts in there.
    pub fn origins_of(&self, start: u64, end: u64, from: Ref) {
        let geometry = self.space.geometry();
        for page in geometry.pages(start, end) {
            let page_start = geometry.page_start(PageId(page));
            if page_start >= start {
                let skip = (page_start - start) / 8;
                self.origins.get(page as usize).store((from.offset() / 8) << 16 | skip, Ordering::Relaxed);
            }
        }
    }

    /// The object with which a destination page starts, and how many of its words lie before the page.
    #[must_use]
    pub fn origin(&self, page: PageId) -> (Ref, u64) {
        let entry = self.origins.get(page.index()).load(Ordering::Relaxed);
        (Ref::at((entry >> 16) * 8), entry & 0xffff)
    }

    /// Makes the pages of a range ready that a mutator is about to touch: `software` delivery.
    #[cold]
    pub fn ensure_ready(&self, offset: u64, bytes: u64) {
        if !self.is_moving() {
            return;
        }
        for page in self.space.geometry().pages(offset, offset + bytes) {
            if !self.pages.get(page as usize).is_ready() {
                self.counters.faults.fetch_add(1, Ordering::Relaxed);
                self.serve(self.space.geometry().page_start(PageId(page)));
            }
        }
    }

    /// An access to the view in a simulation: what the processor, the kernel and the SIGBUS handler do to one.
    #[cfg(feature = "simulate")]
    pub fn access(&self, offset: u64, bytes: u64) {
        for page in self.space.geometry().pages(offset, offset + bytes) {
            let start = self.space.geometry().page_start(PageId(page));
            while !self.space.windows.goes_through(start) {
                if self.is_moving() {
                    self.counters.faults.fetch_add(1, Ordering::Relaxed);
                    self.serve(start);
                } else {
                    crate::sync::yield_now();
                }
            }
        }
    }

    /// Whether a move is under way in which nothing but a look at the page's state tells whether it is ready.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.is_moving() && self.installer.is_software()
    }

    /// Where pages are made ready: the shadow, or with `software` delivery the view itself.
    fn write_base(&self) -> Base {
        if self.installer.is_software() { self.space.windows.view() } else { self.space.windows.shadow() }
    }

    /// Makes the page at `offset` ready, and its neighbours that nobody has claimed; nothing when the move is over. Fault
    /// path.
    pub fn serve(&self, offset: u64) {
        let Some(_serving) = self.phase.serve() else { return };
        let page = self.space.geometry().page_of(offset);
        match self.pages.get(page.index()).claim() {
            Claim::Mine => {
                let end = self.pages_in_use_end(page).min(page.0 + FAULT_PAGES);
                self.serve_run(page, end);
            }
            Claim::Busy => self.pages.get(page.index()).wait_ready(),
            // The kernel may have dropped the entry of a page that was ready.
            Claim::Ready => {
                if !self.install(page, page.next()) {
                    // The access is tried again until the move has ended.
                    yield_now();
                }
            }
        }
    }

    /// Makes a range ready that a mutator is about to fill, without a fault for each page.
    pub fn prepare(&self, start: u64, end: u64) {
        let Some(_serving) = self.phase.serve() else { return };
        let mut page = self.space.geometry().page_of(start);
        let end = PageId(self.space.geometry().pages(start, end).end);
        while page < end {
            page = match self.pages.get(page.index()).claim() {
                Claim::Mine => self.serve_run(page, end.0),
                Claim::Busy | Claim::Ready => page.next(),
            };
        }
    }

    /// Makes a claimed page and the pending ones behind it, up to `end`, ready. Returns the page behind the last.
    fn serve_run(&self, first: PageId, end: u32) -> PageId {
        let write = self.write_base();
        let mut page = first;
        loop {
            self.count(self.make_ready(page, write), 1);
            page = page.next();
            if page.0 >= end || self.pages.get(page.index()).claim() != Claim::Mine {
                break;
            }
        }
        self.install(first, page);
        self.publish(first, page);
        page
    }

    /// The page behind the last resident one of a page's region.
    fn pages_in_use_end(&self, page: PageId) -> u32 {
        let id = self.space.geometry().region_of_page(page);
        self.space.geometry().pages(id.start(), id.start() + self.space.regions.get(id).resident_bytes()).end
    }

    fn publish(&self, first: PageId, end: PageId) {
        (first.0..end.0).for_each(|page| self.pages.get(page as usize).publish());
    }

    fn count(&self, work: Work, pages: u64) {
        let counter = match work {
            Work::Clean => &self.counters.clean,
            Work::Fixed => &self.counters.fixed,
            Work::Built => &self.counters.built,
        };
        counter.fetch_add(pages, Ordering::Relaxed);
    }

    /// Makes every page ready that is not: the worker's part of the move. Returns when all are. Pages that need no work come
    /// first: they cost a fifth of the others, and mutators get most of the heap back soon. Calls `between` before each
    /// region.
    pub fn work(&self, mut between: impl FnMut()) {
        for pass in [Pass::Clean, Pass::All] {
            for (id, region) in self.space.regions.iter(Window::Slots) {
                if !matches!(region.role(), Role::Free | Role::Reserved | Role::Source) {
                    between();
                    self.work_region(id, pass);
                }
            }
        }
        for (id, region) in self.space.regions.iter(Window::Leaves) {
            if region.role() == Role::Destination {
                between();
                self.work_region(id, Pass::All);
            }
        }
    }

    fn work_region(&self, id: RegionId, pass: Pass) {
        let region = self.space.regions.get(id);
        let length = match region.role() {
            Role::Destination => region.used_bytes(),
            _ => region.resident_bytes(),
        };
        let pages = self.space.geometry().pages(id.start(), id.start() + length);
        let write = self.write_base();
        let mut run = PageId(pages.start)..PageId(pages.start);
        let mut done = 0;
        for page in pages.clone().map(PageId) {
            let chosen = pass == Pass::All || self.is_clean(region.role(), page);
            if chosen && self.pages.get(page.index()).claim() == Claim::Mine {
                if pass == Pass::All && page.next().0 < pages.end {
                    self.ask_for(page.next(), region.role(), write);
                }
                self.count(self.make_ready(page, write), 1);
                done += 1;
                run.end = page.next();
                if run.end.0 - run.start.0 < pass.pages_max() {
                    continue;
                }
            }
            self.finish_run(&mut run, page.next());
        }
        self.finish_run(&mut run, PageId(pages.end));
        self.counters.worker_pages.fetch_add(done, Ordering::Relaxed);
        if pass == Pass::All {
            pages.for_each(|page| self.pages.get(page as usize).wait_ready());
        }
    }

    fn finish_run(&self, run: &mut std::ops::Range<PageId>, next: PageId) {
        if run.start < run.end {
            self.install(run.start, run.end);
            self.publish(run.start, run.end);
        }
        *run = next..next;
    }

    /// Makes everything ready at once, with every mutator parked and without userfaultfd: the `pause` delivery, the way
    /// out when a flip fails, and the oracle for the rest. Writes through `write`.
    pub fn work_in_pause(&self, write: Base) {
        for (id, region) in self.space.regions.iter_all() {
            let is_slots = self.space.geometry().window_of(id.start()) == Window::Slots;
            let length = match region.role() {
                Role::Destination => region.used_bytes(),
                Role::Free | Role::Reserved | Role::Source => 0,
                _ if is_slots => region.resident_bytes(),
                _ => 0,
            };
            for page in self.space.geometry().pages(id.start(), id.start() + length).map(PageId) {
                let work = self.make_ready(page, write);
                if work != Work::Clean {
                    self.count(work, 1);
                }
            }
        }
    }
}
