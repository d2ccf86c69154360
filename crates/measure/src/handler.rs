//! A SIGBUS handler that only continues: the least that a fault can cost.

use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use subduct_kernel::uffd::continue_pages;
use subduct_kernel::{KernelError, page_size};

use crate::error::Result;
use crate::twin::Twin;

static START: AtomicUsize = AtomicUsize::new(0);
static END: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);
static DESCRIPTOR: AtomicI32 = AtomicI32::new(-1);
static FAULTS: AtomicU64 = AtomicU64::new(0);
/// What the handler hands on to what is not its own: leaked, because a handler may be running in it at any time.
static BEFORE: AtomicPtr<libc::sigaction> = AtomicPtr::new(std::ptr::null_mut());
/// There is one SIGBUS in a process.
static ONE: Mutex<()> = Mutex::new(());

/// The handler, installed until dropped. What was there before is put back then; meanwhile no heap of the process may flip.
pub struct BareHandler {
    _one: MutexGuard<'static, ()>,
}

impl BareHandler {
    /// Serves a twin's faults by continuing `pages` pages from the one that was touched.
    ///
    /// # Errors
    /// As `sigaction`.
    pub fn install(twin: &Twin, pages: usize) -> Result<Self> {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        START.store(twin.view(), Ordering::Relaxed);
        END.store(twin.view() + twin.window_bytes(), Ordering::Relaxed);
        BYTES.store(pages * page_size(), Ordering::Relaxed);
        DESCRIPTOR.store(twin.descriptor(), Ordering::Relaxed);
        // SAFETY: all-zero sigactions are valid values; both outlive the call, the handler lives for ever.
        unsafe {
            let mut before: libc::sigaction = std::mem::zeroed();
            libc::sigaction(libc::SIGBUS, std::ptr::null(), &raw mut before);
            BEFORE.store(Box::into_raw(Box::new(before)), Ordering::Release);
            let mut new: libc::sigaction = std::mem::zeroed();
            new.sa_sigaction = on_sigbus as *const () as usize;
            new.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
            if libc::sigaction(libc::SIGBUS, &raw const new, std::ptr::null_mut()) != 0 {
                return Err(KernelError::last("sigaction", 0, 0, "").into());
            }
        }
        Ok(Self { _one: one })
    }

    /// Faults served since the process began.
    #[inline]
    #[must_use]
    pub fn faults(&self) -> u64 {
        FAULTS.load(Ordering::Relaxed)
    }
}

impl Drop for BareHandler {
    fn drop(&mut self) {
        let before = BEFORE.load(Ordering::Acquire);
        // SAFETY: leaked in `install`, so it is valid; it is what the kernel gave us.
        unsafe { libc::sigaction(libc::SIGBUS, before, std::ptr::null_mut()) };
    }
}

extern "C" fn on_sigbus(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes a valid siginfo; errno's place is this thread's own.
    let (address, errno_place) = unsafe { ((*info).si_addr() as usize, libc::__errno_location()) };
    // SAFETY: as above.
    let errno = unsafe { *errno_place };
    let (start, end) = (START.load(Ordering::Relaxed), END.load(Ordering::Relaxed));
    if (start..end).contains(&address) {
        let page = address & !(page_size() - 1);
        let length = BYTES.load(Ordering::Relaxed).min(end - page);
        // Whatever stopped it, the touched page is mapped, by this thread or by another.
        let _ = continue_pages(DESCRIPTOR.load(Ordering::Relaxed), page, length);
        FAULTS.fetch_add(1, Ordering::Relaxed);
    } else {
        hand_on(signal, info, context);
    }
    // SAFETY: as above.
    unsafe { *errno_place = errno };
}

/// Gives a fault that is not the twin's to whoever handled SIGBUS before. A default action is put back, so that it comes again.
fn hand_on(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let before = BEFORE.load(Ordering::Acquire);
    // SAFETY: leaked in `install`; a disposition with SA_SIGINFO holds a function of this signature, and the arguments are
    // the kernel's.
    unsafe {
        if (*before).sa_flags & libc::SA_SIGINFO != 0 {
            let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) =
                std::mem::transmute((*before).sa_sigaction);
            handler(signal, info, context);
        } else {
            libc::sigaction(signal, before, std::ptr::null_mut());
        }
    }
}
