//! The SIGBUS handler: finds the heap by address and serves the page. Everything that is not ours goes to [`chain`].

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use super::chain;
use crate::compact::Mover;

/// Heaps with `sigbus` delivery at a time.
const HEAPS_MAX: usize = 256;
/// Faults on one address after its move ended before it is taken for somebody else's.
const LATE_MAX: u64 = 10_000;

/// One heap that the handler serves.
struct Entry {
    /// First address of the view; 0 while the entry is unused or being changed.
    start: AtomicUsize,
    end: AtomicUsize,
    mover: AtomicPtr<Mover>,
    /// Handlers that are looking at this entry.
    active: AtomicU32,
}

impl Entry {
    const fn unused() -> Self {
        Self {
            start: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            mover: AtomicPtr::new(std::ptr::null_mut()),
            active: AtomicU32::new(0),
        }
    }
}

static HEAPS: [Entry; HEAPS_MAX] = [const { Entry::unused() }; HEAPS_MAX];
/// Whether somebody is changing `HEAPS` or the disposition: see [`Changing`].
static IS_CHANGING: AtomicBool = AtomicBool::new(false);
static LATE_ADDRESS: AtomicUsize = AtomicUsize::new(0);
static LATE_COUNT: AtomicU64 = AtomicU64::new(0);

/// Excludes others who change `HEAPS` or the disposition; never taken by the handler. A flag and not a lock, because a child
/// that is forked meanwhile has to get rid of it.
pub(super) struct Changing;

impl Changing {
    pub(super) fn begin() -> Self {
        while IS_CHANGING.swap(true, Ordering::Acquire) {
            std::thread::yield_now();
        }
        Self
    }
}

impl Drop for Changing {
    fn drop(&mut self) {
        IS_CHANGING.store(false, Ordering::Release);
    }
}

/// In a forked child: forgets the parent's heaps, whose addresses may be those of the child's own one day. Async-signal-safe.
pub fn forget_all() {
    for entry in &HEAPS {
        // Relaxed: the child has one thread.
        entry.start.store(0, Ordering::Relaxed);
        entry.mover.store(std::ptr::null_mut(), Ordering::Relaxed);
        entry.active.store(0, Ordering::Relaxed);
    }
    IS_CHANGING.store(false, Ordering::Relaxed);
}

/// Whether there is no place for another heap.
#[must_use]
pub fn is_full() -> bool {
    HEAPS.iter().all(|entry| !entry.mover.load(Ordering::Relaxed).is_null())
}

/// Lets the handler serve a heap whose view is `[start, end)`. False when the table is full.
///
/// # Safety
/// `mover` stays valid until [`remove`] has returned.
pub unsafe fn add(start: usize, end: usize, mover: *const Mover) -> bool {
    let _changing = Changing::begin();
    let Some(entry) = HEAPS.iter().find(|entry| entry.mover.load(Ordering::Relaxed).is_null()) else { return false };
    entry.mover.store(mover.cast_mut(), Ordering::Relaxed);
    entry.end.store(end, Ordering::Relaxed);
    // Release: a handler that sees the start sees the rest.
    entry.start.store(start, Ordering::Release);
    true
}

/// Takes a heap out again and waits until no handler looks at it. No thread may touch the view of the heap any more.
pub fn remove(start: usize) {
    let _changing = Changing::begin();
    for entry in HEAPS.iter().filter(|entry| entry.start.load(Ordering::Relaxed) == start) {
        // SeqCst with the handler's: either it sees the entry unused, or we see it active.
        entry.start.store(0, Ordering::SeqCst);
        while entry.active.load(Ordering::SeqCst) != 0 {
            std::thread::yield_now();
        }
        entry.mover.store(std::ptr::null_mut(), Ordering::Relaxed);
    }
}

pub(super) extern "C" fn on_sigbus(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: __errno_location is valid for this thread; the interrupted code must find its errno unchanged.
    let errno_place = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let errno = unsafe { *errno_place };
    // SAFETY: with SA_SIGINFO the kernel passes a valid siginfo.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    // [kernel.uffd.sigbus.handler] [kernel.uffd.sigbus.missing] [kernel.uffd.sigbus.minor]
    if code != libc::BUS_ADRERR || !serve(address) {
        // SAFETY: what the kernel passed to us.
        unsafe { chain::forward(signal, info, context) };
    }
    // SAFETY: as above.
    unsafe { *errno_place = errno };
}

/// Serves a fault if its address belongs to a heap.
fn serve(address: usize) -> bool {
    for entry in &HEAPS {
        let start = entry.start.load(Ordering::Acquire);
        if start == 0 || address < start || address >= entry.end.load(Ordering::Relaxed) {
            continue;
        }
        // SeqCst: see `remove`.
        entry.active.fetch_add(1, Ordering::SeqCst);
        let served = if entry.start.load(Ordering::SeqCst) == start {
            // SAFETY: the entry is in use and we are counted active, so `remove` has not returned: the mover lives.
            let mover = unsafe { &*entry.mover.load(Ordering::Relaxed) };
            serve_heap(mover, address, address - start)
        } else {
            false
        };
        entry.active.fetch_sub(1, Ordering::SeqCst);
        return served;
    }
    false
}

fn serve_heap(mover: &Mover, address: usize, offset: usize) -> bool {
    if mover.is_moving() {
        mover.counters.faults.fetch_add(1, Ordering::Relaxed);
        mover.serve(offset as u64);
        chain::note_served();
        return true;
    }
    // The move ended between the fault and here: the access goes through when it is tried again. If it does not, for
    // thousands of times on end, the fault was not ours.
    if LATE_ADDRESS.swap(address, Ordering::Relaxed) != address {
        LATE_COUNT.store(0, Ordering::Relaxed);
    }
    LATE_COUNT.fetch_add(1, Ordering::Relaxed) < LATE_MAX
}

/// A line of text in a fixed buffer; what does not fit is cut.
struct Line {
    text: [u8; 256],
    length: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let take = text.len().min(self.text.len() - self.length);
        self.text[self.length..self.length + take].copy_from_slice(&text.as_bytes()[..take]);
        self.length += take;
        Ok(())
    }
}

/// Ends the process because an invariant is broken: a thread asleep in a page fault can receive no exception.
pub fn fatal(what: &str, address: usize, errno: i32) -> ! {
    let mut line = Line { text: [0; 256], length: 0 };
    let _ = writeln!(line, "subduct: fatal: {what} (address {address:#x}, errno {errno}); please report this");
    // SAFETY: the buffer is valid for its length; write and abort are async-signal-safe.
    unsafe {
        libc::write(2, line.text.as_ptr().cast(), line.length);
        libc::abort()
    }
}
