//! The SIGBUS handler: finds the heap by address, serves the page, hands on everything that is not ours.

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use subduct_kernel::signal::Disposition;

use crate::compact::Mover;
use crate::mutator::thread::is_this_thread_inside;

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
/// What handled SIGBUS before us, latest first; leaked, because a handler may be running in it at any time.
static PREVIOUS: AtomicPtr<Previous> = AtomicPtr::new(std::ptr::null_mut());
/// The thread that last handed a signal on, and how far down the list it went.
static FORWARDED_BY: AtomicI32 = AtomicI32::new(0);
static FORWARDED_DEPTH: AtomicU32 = AtomicU32::new(0);
/// The thread inside an operation whose fault was not ours and was handed on last; 0 since a fault was served.
static FOREIGN_FAULT_OF: AtomicI32 = AtomicI32::new(0);
/// Whether somebody is changing `HEAPS` or the disposition: see [`Changing`].
static IS_CHANGING: AtomicBool = AtomicBool::new(false);
static LATE_ADDRESS: AtomicUsize = AtomicUsize::new(0);
static LATE_COUNT: AtomicU64 = AtomicU64::new(0);

/// A disposition that we replaced, and those that we had replaced before.
struct Previous {
    disposition: Disposition,
    older: *const Previous,
}

/// Excludes others who change `HEAPS` or the disposition; never taken by the handler. A flag and not a lock, because a child
/// that is forked meanwhile has to get rid of it.
struct Changing;

impl Changing {
    fn begin() -> Self {
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

/// Makes sure that SIGBUS comes to us, whoever took it since the last call. Called before every flip.
///
/// # Errors
/// As `sigaction`.
pub fn ensure_installed() -> subduct_kernel::Result<()> {
    let _changing = Changing::begin();
    let current = Disposition::current(libc::SIGBUS)?;
    if !current.is(on_sigbus) {
        // Stored before the handler is installed, so that it never finds nothing to hand on to.
        let older = PREVIOUS.load(Ordering::Relaxed);
        // SAFETY: null, or leaked on purpose below.
        let known = unsafe { older.as_ref() }.is_some_and(|known| known.disposition.address() == current.address());
        if !known {
            PREVIOUS.store(Box::into_raw(Box::new(Previous { disposition: current, older })), Ordering::Release);
        }
        Disposition::install(libc::SIGBUS, on_sigbus)?;
    }
    Ok(())
}

/// Whether SIGBUS comes to us now.
#[must_use]
pub fn is_installed() -> bool {
    Disposition::current(libc::SIGBUS).is_ok_and(|current| current.is(on_sigbus))
}

extern "C" fn on_sigbus(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: __errno_location is valid for this thread; the interrupted code must find its errno unchanged.
    let errno_place = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let errno = unsafe { *errno_place };
    // SAFETY: with SA_SIGINFO the kernel passes a valid siginfo.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    // [kernel.uffd.sigbus.handler] [kernel.uffd.sigbus.missing] [kernel.uffd.sigbus.minor]
    if code != libc::BUS_ADRERR || !serve(address) {
        forward(signal, info, context);
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
        FOREIGN_FAULT_OF.store(0, Ordering::Relaxed);
        return true;
    }
    // The move ended between the fault and here: the access goes through when it is tried again. If it does not, for
    // thousands of times on end, the fault was not ours.
    if LATE_ADDRESS.swap(address, Ordering::Relaxed) != address {
        LATE_COUNT.store(0, Ordering::Relaxed);
    }
    LATE_COUNT.fetch_add(1, Ordering::Relaxed) < LATE_MAX
}

/// Whether a signal that this thread sent to itself means that somebody took SIGBUS over during a move, got a fault that was
/// ours, put our handler back and raised the signal again. Nothing is to be done then: the access is tried again, also when
/// the move has ended meanwhile. A thread inside an operation runs nothing else that could raise the signal, except for
/// handlers that we handed a foreign fault to; if the fault was a foreign one that we have not seen, the kernel's own signal
/// comes next, and is handed on. (A SIGBUS that another thread of this process sends to one inside an operation looks the same
/// and is lost; nobody has a use for that.)
fn is_late_takeover(thread: i32) -> bool {
    // Relaxed: a thread reads what it wrote itself. If another overwrote it, the access is tried, and handed on, once more.
    is_this_thread_inside() && FOREIGN_FAULT_OF.load(Ordering::Relaxed) != thread
}

/// Hands a signal on to whoever had it before us.
///
/// Handlers of last resort (Python's faulthandler) report, put back what they found when *they* were installed, and raise the
/// signal again. If that was us, the signal comes here a second time, sent by this thread to itself: it then goes to the next
/// older handler, and in the end to the default action.
fn forward(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: gettid and getpid have no preconditions; with SA_SIGINFO the kernel passes a valid siginfo.
    let (thread, raised, fault) = unsafe {
        let sent = (*info).si_code == libc::SI_TKILL && (*info).si_pid() == libc::getpid();
        (libc::gettid(), sent, (*info).si_code > 0)
    };
    // In a thread that never used a heap, asking whether it is inside may allocate its thread-local part: only here, where the
    // signal was raised on purpose or ends the process.
    if raised && is_late_takeover(thread) {
        return;
    }
    if fault && is_this_thread_inside() {
        FOREIGN_FAULT_OF.store(thread, Ordering::Relaxed);
    }
    let again = raised && FORWARDED_BY.swap(thread, Ordering::Relaxed) == thread;
    let depth = if again { FORWARDED_DEPTH.load(Ordering::Relaxed) + 1 } else { 0 };
    FORWARDED_BY.store(thread, Ordering::Relaxed);
    FORWARDED_DEPTH.store(depth, Ordering::Relaxed);
    let mut previous: *const Previous = PREVIOUS.load(Ordering::Acquire);
    for _ in 0..depth {
        // SAFETY: null, or leaked on purpose by `ensure_installed`.
        let older = unsafe { previous.as_ref() }.map_or(std::ptr::null(), |previous| previous.older);
        if older.is_null() {
            break;
        }
        previous = older;
    }
    // SAFETY: the list is as above; the arguments are the kernel's.
    unsafe {
        if let Some(previous) = previous.as_ref() {
            previous.disposition.forward(signal, info, context);
        }
    }
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
