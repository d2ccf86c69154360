//! Who handles a signal; taking it over; handing on what is not ours.

use std::mem;
use std::ptr;

use crate::inject::{self, Call};
use crate::{KernelError, Result, errno, is_forbidden};

/// A handler with the signature of `SA_SIGINFO`.
pub type Handler = extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void);

/// What the kernel does on a signal.
#[derive(Clone, Copy)]
pub struct Disposition {
    action: libc::sigaction,
}

impl Disposition {
    /// What is installed for `signal` now.
    ///
    /// # Errors
    /// `EINVAL` for a number that is no signal.
    pub fn current(signal: i32) -> Result<Self> {
        // SAFETY: an all-zero sigaction is a valid value to be overwritten.
        let mut action: libc::sigaction = unsafe { mem::zeroed() };
        // SAFETY: `action` outlives the call; a null new action only asks.
        if unsafe { libc::sigaction(signal, ptr::null(), &raw mut action) } != 0 {
            return Err(failed(errno()));
        }
        Ok(Self { action })
    }

    /// Installs `handler` for `signal`, on the alternate stack where a thread has one, and returns what was there.
    ///
    /// # Errors
    /// `EINVAL` for a number that is no signal.
    pub fn install(signal: i32, handler: Handler) -> Result<Self> {
        if let Some(errno) = inject::refusal(Call::Handle) {
            return Err(failed(errno));
        }
        // SAFETY: all-zero sigactions are valid; every field that matters is set below.
        let (mut new, mut old): (libc::sigaction, libc::sigaction) = unsafe { (mem::zeroed(), mem::zeroed()) };
        new.sa_sigaction = handler as usize;
        new.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
        // SAFETY: both structures outlive the call, and the handler is a plain function that lives for ever.
        if unsafe { libc::sigaction(signal, &raw const new, &raw mut old) } != 0 {
            return Err(failed(errno()));
        }
        Ok(Self { action: old })
    }

    /// Whether this is `handler`.
    #[must_use]
    pub fn is(&self, handler: Handler) -> bool {
        self.action.sa_sigaction == handler as usize
    }

    /// Address of the handler, or `SIG_DFL` (0) or `SIG_IGN` (1).
    #[must_use]
    pub fn address(&self) -> usize {
        self.action.sa_sigaction
    }

    /// Does for a signal that just arrived what this disposition says. Async-signal-safe. For the default action, and for an
    /// ignored fault (which the kernel treats the same), the default is put back: a fault then happens again, and a signal
    /// that somebody sent is sent again. An ignored signal that somebody sent is ignored. Where a filter on system calls forbids that, the process is aborted.
    ///
    /// # Safety
    /// `info` and `context` are those that the kernel passed to a handler installed with `SA_SIGINFO` for this signal.
    pub unsafe fn forward(&self, signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
        let address = self.action.sa_sigaction;
        // SAFETY: `info` is valid by this function's contract.
        let is_sent = unsafe { (*info).si_code <= 0 };
        if address == libc::SIG_IGN && is_sent {
            return;
        }
        if address == libc::SIG_DFL || address == libc::SIG_IGN {
            // SAFETY: an all-zero sigaction means SIG_DFL; sigaction, abort and raise are async-signal-safe.
            unsafe {
                let default: libc::sigaction = mem::zeroed();
                if libc::sigaction(signal, &raw const default, ptr::null_mut()) != 0 {
                    // A filter forbids it: a fault would come back for ever.
                    libc::abort();
                }
                if is_sent {
                    libc::raise(signal);
                }
            }
        } else if self.action.sa_flags & libc::SA_SIGINFO != 0 {
            // SAFETY: a disposition with SA_SIGINFO holds a function of this signature; the arguments are the
            // ones the kernel gave us.
            let handler: Handler = unsafe { mem::transmute(address) };
            handler(signal, info, context);
        } else {
            // SAFETY: without SA_SIGINFO it is a function of the signal's number alone.
            let handler: extern "C" fn(i32) = unsafe { mem::transmute(address) };
            handler(signal);
        }
    }
}

/// Lets a signal through to the calling thread, which may have blocked it. For a fault's signal: the kernel ends the process whose thread
/// has it blocked, without a look at the handler (signal(7), `force_sig_fault()`).
pub fn unblock(signal: i32) {
    // SAFETY: plain calls on a signal set of our own and this thread's mask. They fail only for numbers that are no signals, and where a
    // filter forbids to change the mask, in which case the thread has most likely not changed it either.
    unsafe {
        let mut set: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signal);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, ptr::null_mut());
    }
}

fn failed(errno: i32) -> KernelError {
    let remedy = if is_forbidden(errno) {
        "a filter on system calls (seccomp) forbids it: allow rt_sigaction, or use delivery=\"thread\" or \"software\""
    } else {
        ""
    };
    KernelError { call: "sigaction", address: 0, length: 0, errno, remedy }
}
