//! Who had SIGBUS before us: taking the signal, and handing on what is not ours.
//!
//! Handlers of other libraries call the one that they found, or put it back and raise the signal again. What they found may be
//! ours, so a signal can come back to us while we hand it on. Each time it does, it goes to the next older handler, and in the
//! end to the default action:
//!
//! ```text
//!   kernel --> ours --> theirs (found ours) --> ours again --> what was there before both
//! ```
//!
//! A signal comes back either inside the call of their handler, with the same context, or as a new signal that
//! this thread sent to itself.

use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicUsize, Ordering};

use subduct_kernel::signal::Disposition;

use super::handler::{Changing, on_sigbus};
use crate::mutator::thread::is_this_thread_inside;

/// Signals that are being handed on at a time and can be told when they come back.
const FRAMES_MAX: usize = 64;

/// What handled SIGBUS before us, latest first; leaked, because a handler may be running in it at any time.
static PREVIOUS: AtomicPtr<Previous> = AtomicPtr::new(ptr::null_mut());
/// The thread that last handed a signal on, and how far down the list it went.
static FORWARDED_BY: AtomicI32 = AtomicI32::new(0);
static FORWARDED_DEPTH: AtomicU32 = AtomicU32::new(0);
/// The thread inside an operation whose fault was not ours and was handed on last; 0 since a fault was served.
static FOREIGN_FAULT_OF: AtomicI32 = AtomicI32::new(0);
static FRAMES: [Frame; FRAMES_MAX] = [const { Frame::unused() }; FRAMES_MAX];

/// A disposition that we replaced, and those that we had replaced before.
struct Previous {
    disposition: Disposition,
    older: *const Previous,
}

/// A signal that a thread is handing on.
struct Frame {
    /// Whose it is; 0 while the frame is unused.
    thread: AtomicI32,
    /// Address of the interrupted context, which the kernel puts on the stack: one for each signal under way.
    context: AtomicUsize,
    /// Where the stack was: a signal that comes back finds it lower.
    stack: AtomicUsize,
    depth: AtomicU32,
}

impl Frame {
    const fn unused() -> Self {
        Self {
            thread: AtomicI32::new(0),
            context: AtomicUsize::new(0),
            stack: AtomicUsize::new(0),
            depth: AtomicU32::new(0),
        }
    }

    /// The frame of this very signal, if the thread is handing it on further up its stack. A handler that left by `longjmp` left
    /// its frame behind: the stack is not lower then, and the frame is given back.
    fn of(thread: i32, context: usize, stack: usize) -> Option<&'static Self> {
        // Relaxed, here and below: a thread looks only at frames that it wrote itself.
        FRAMES.iter().filter(|frame| frame.thread.load(Ordering::Relaxed) == thread).find(|frame| {
            let is_below = stack < frame.stack.load(Ordering::Relaxed);
            let is_same = frame.context.load(Ordering::Relaxed) == context;
            if is_same && !is_below {
                frame.thread.store(0, Ordering::Relaxed);
            }
            is_same && is_below
        })
    }

    /// An unused frame, taken. `None` when there is none: the signal is handed on all the same.
    fn take(thread: i32, context: usize, stack: usize, depth: u32) -> Option<&'static Self> {
        let taken =
            |frame: &&Self| frame.thread.compare_exchange(0, thread, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        let frame = FRAMES.iter().find(taken)?;
        frame.context.store(context, Ordering::Relaxed);
        frame.stack.store(stack, Ordering::Relaxed);
        frame.depth.store(depth, Ordering::Relaxed);
        Some(frame)
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
        if !is_known(&current) {
            let older = PREVIOUS.load(Ordering::Relaxed);
            PREVIOUS.store(Box::into_raw(Box::new(Previous { disposition: current, older })), Ordering::Release);
        }
        Disposition::install(libc::SIGBUS, on_sigbus)?;
    }
    Ok(())
}

/// Whether a signal is handed on to a handler anyway: libraries that take turns must not make the list longer for ever.
fn is_known(wanted: &Disposition) -> bool {
    let mut at: *const Previous = PREVIOUS.load(Ordering::Relaxed);
    // SAFETY: null, or leaked on purpose by `ensure_installed`.
    while let Some(previous) = unsafe { at.as_ref() } {
        if previous.disposition.address() == wanted.address() {
            return true;
        }
        at = previous.older;
    }
    false
}

/// Whether SIGBUS comes to us now.
#[must_use]
pub fn is_installed() -> bool {
    Disposition::current(libc::SIGBUS).is_ok_and(|current| current.is(on_sigbus))
}

/// Notes that a fault of a heap was served.
pub fn note_served() {
    FOREIGN_FAULT_OF.store(0, Ordering::Relaxed);
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

/// Hands a signal on to whoever had it before us. Fault path, for signals that are not ours.
///
/// # Safety
/// The arguments are those that the kernel passed to our handler.
pub unsafe fn forward(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: gettid and getpid have no preconditions; with SA_SIGINFO the kernel passes a valid siginfo.
    let (thread, raised, fault) = unsafe {
        let sent = (*info).si_code == libc::SI_TKILL && (*info).si_pid() == libc::getpid();
        (libc::gettid(), sent, (*info).si_code > 0)
    };
    let stack = ptr::from_ref(&thread) as usize;
    let nested = Frame::of(thread, context as usize, stack);
    // In a thread that never used a heap, asking whether it is inside may allocate its thread-local part: only here, where the
    // signal was raised on purpose or ends the process.
    if nested.is_none() && raised && is_late_takeover(thread) {
        return;
    }
    if fault && is_this_thread_inside() {
        FOREIGN_FAULT_OF.store(thread, Ordering::Relaxed);
    }
    let depth = match nested {
        Some(frame) => frame.depth.load(Ordering::Relaxed) + 1,
        None if raised && FORWARDED_BY.load(Ordering::Relaxed) == thread => FORWARDED_DEPTH.load(Ordering::Relaxed) + 1,
        None => 0,
    };
    FORWARDED_BY.store(thread, Ordering::Relaxed);
    FORWARDED_DEPTH.store(depth, Ordering::Relaxed);
    let frame = match nested {
        Some(frame) => {
            frame.depth.store(depth, Ordering::Relaxed);
            None
        }
        None => Frame::take(thread, context as usize, stack, depth),
    };
    // SAFETY: by this function's contract.
    unsafe { hand_to(depth, signal, info, context) };
    if let Some(frame) = frame {
        frame.thread.store(0, Ordering::Relaxed);
    }
}

/// Calls the handler that is `depth` places down the list, or the oldest.
///
/// # Safety
/// As [`forward`].
unsafe fn hand_to(depth: u32, signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let mut previous: *const Previous = PREVIOUS.load(Ordering::Acquire);
    for _ in 0..depth {
        // SAFETY: null, or leaked on purpose by `ensure_installed`.
        let older = unsafe { previous.as_ref() }.map_or(ptr::null(), |previous| previous.older);
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
