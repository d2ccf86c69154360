//! What happens to a thread in a page fault when the process that serves the fault fails.
//!
//! A process serves the faults of another. When it cannot fill a page it says so over a socket; when it dies it says nothing, and
//! whoever touches a missing page would sleep for ever. A [`Watch`] runs on a thread of the faulting process that needs no
//! interpreter, hears both, makes the page accessible (as zeros, or poisoned) and wakes the thread. Once the server has died it
//! answers every further fault this way.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::raw::uffd::{poison, read, resume, wake, zeropage};
use crate::{errno, page_size, raw};

/// Longest text of a notice.
const TEXT: usize = 1 << 15;
/// A notice begins with the address, the thread and whether the fault was minor, as 64-bit numbers in the machine's order.
const HEAD: usize = 24;
/// First byte of a message about a page fault.
const PAGE_FAULT: u8 = 0x12;
const MESSAGE: usize = 32;
/// Bit of a page fault's flags: the file has the page.
const MINOR: u64 = 4;
/// Mode of every ioctl that fills pages: whoever waits for them sleeps on.
const DONTWAKE: u64 = 1;

/// A fault that nobody could serve.
#[derive(Debug, Clone)]
pub struct Unserved {
    /// First address of the page.
    pub address: u64,
    /// Kernel's number of the thread that touched it.
    pub thread: u64,
    /// Whether the file has the page.
    pub minor: bool,
    /// Why.
    pub text: String,
}

/// What becomes of a page that could not be filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// It reads as zeros.
    Zero,
    /// Touching it raises SIGBUS (Linux 6.6).
    Poison,
}

/// The descriptors of one server.
#[derive(Debug)]
pub struct Watch {
    userfaultfd: OwnedFd,
    server: OwnedFd,
    notices: OwnedFd,
    stop: OwnedFd,
    range: (u64, u64),
    fallback: Fallback,
    nudge: i32,
}

impl Watch {
    /// Watches the process behind `server`, a pidfd. All descriptors are duplicated. `nudge` is a signal that a thread gets, if
    /// it has a handler, before it goes on.
    ///
    /// # Errors
    /// `EMFILE` without free descriptors, `EBADF`.
    pub fn new(
        userfaultfd: RawFd,
        server: RawFd,
        notices: RawFd,
        range: (u64, u64),
        fallback: Fallback,
        nudge: i32,
    ) -> raw::Result<Self> {
        let stop = owned(
            // SAFETY: the call takes two integers and returns a new descriptor.
            unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) },
        )?;
        let (userfaultfd, server, notices) = (duplicate(userfaultfd)?, duplicate(server)?, duplicate(notices)?);
        Ok(Self { userfaultfd, server, notices, stop, range, fallback, nudge })
    }

    /// Makes `run` return soon.
    pub fn stop(&self) {
        let one = 1_u64;
        // SAFETY: eight bytes from a living number. It can fail only where the counter is full: then it was told already.
        unsafe { libc::write(self.stop.as_raw_fd(), (&raw const one).cast(), size_of::<u64>()) };
    }

    /// Waits for failures until told to stop. For each, `before` is called while the thread still sleeps; if it returns true the
    /// thread gets the nudge; then the thread goes on, and `after` is called with what `before` returned.
    pub fn run(&self, mut before: impl FnMut(&Unserved) -> bool, mut after: impl FnMut(&Unserved, bool)) {
        let mut fail = |unserved: &Unserved| {
            let told = before(unserved);
            self.give_up(unserved);
            // The page is there, but nobody was woken: the signal gets the thread to its handler before it goes on.
            if told {
                interrupt(unserved.thread, self.nudge);
            }
            let _ = wake(self.userfaultfd.as_raw_fd(), unserved.address, page_size() as u64);
            after(unserved, told);
        };
        loop {
            let [stop, notice, ended] = wait([&self.stop, &self.notices, &self.server]);
            if stop {
                return;
            }
            if notice && let Some(unserved) = self.notice() {
                fail(&unserved);
            } else if ended {
                break;
            }
        }
        let text = self.obituary();
        // Faults that the server had read, but not answered, are reported again.
        let _ = wake(self.userfaultfd.as_raw_fd(), self.range.0, self.range.1);
        loop {
            let [stop, fault, _] = wait([&self.stop, &self.userfaultfd, &self.stop]);
            if stop {
                return;
            }
            if !fault {
                continue;
            }
            let Ok(messages) = read(self.userfaultfd.as_raw_fd()) else { return };
            for message in messages.chunks_exact(MESSAGE).filter(|message| message[0] == PAGE_FAULT) {
                let address = word(message, 16) & !(page_size() as u64 - 1);
                let thread = word(message, 24) & u64::from(u32::MAX);
                let minor = word(message, 8) & MINOR != 0;
                fail(&Unserved { address, thread, minor, text: text.clone() });
            }
        }
    }

    /// Makes a page accessible that nobody filled, and wakes nobody. What another was quicker to fill stays.
    fn give_up(&self, unserved: &Unserved) {
        let (fd, address, page) = (self.userfaultfd.as_raw_fd(), unserved.address, page_size() as u64);
        let _ = match self.fallback {
            Fallback::Poison => poison(fd, address, page, DONTWAKE),
            Fallback::Zero if unserved.minor => resume(fd, address, page, DONTWAKE),
            // SAFETY: the page is one that a thread of this process waits for: it holds nothing. One that holds something is left
            // alone by the kernel.
            Fallback::Zero => unsafe { zeropage(fd, address, page, DONTWAKE) },
        };
    }

    fn notice(&self) -> Option<Unserved> {
        let mut bytes = vec![0_u8; HEAD + TEXT];
        let flags = libc::MSG_DONTWAIT;
        // SAFETY: the buffer has as many bytes as the call is told.
        let got = unsafe { libc::recv(self.notices.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len(), flags) };
        let length = usize::try_from(got).ok().filter(|length| *length >= HEAD)?;
        let text = String::from_utf8_lossy(&bytes[HEAD..length]).into_owned();
        let (address, thread, minor) = (word(&bytes, 0), word(&bytes, 8), word(&bytes, 16) != 0);
        Some(Unserved { address, thread, minor, text })
    }

    /// How the server ended, as a sentence. It stays to be waited for by its parent.
    fn obituary(&self) -> String {
        // SAFETY: an all-zero siginfo is a valid value to be overwritten.
        let mut status: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let flags = libc::WEXITED | libc::WNOWAIT | libc::WNOHANG;
        let pidfd = self.server.as_raw_fd().cast_unsigned();
        // SAFETY: `status` outlives the call.
        let known = unsafe { libc::waitid(libc::P_PIDFD, pidfd, &raw mut status, flags) } == 0;
        // SAFETY: the kernel filled it in for a child that ended.
        let (code, value) = (status.si_code, unsafe { status.si_status() });
        match code {
            _ if !known => "the process that served this page has ended".to_owned(),
            libc::CLD_EXITED => format!("the process that served this page has ended with exit code {value}"),
            _ => format!("the process that served this page was killed by signal {value}"),
        }
    }
}

/// Sends a thread of this process a signal that has a handler; else nothing.
fn interrupt(thread: u64, signal: i32) {
    // SAFETY: an all-zero sigaction is a valid value to be overwritten.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: asks only, for any number; `action` outlives the call.
    let known = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut action) } == 0;
    if known && action.sa_sigaction != libc::SIG_DFL && action.sa_sigaction != libc::SIG_IGN {
        // SAFETY: the signal goes to a thread of this process, and has a handler.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, signal) };
    }
}

/// Waits until one of the descriptors has something to be read, or is hung up; says which.
fn wait(descriptors: [&OwnedFd; 3]) -> [bool; 3] {
    let mut polled = descriptors.map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    // SAFETY: three structures, as the call is told. A signal makes it return early: then nothing is ready.
    if unsafe { libc::poll(polled.as_mut_ptr(), 3, -1) } < 0 {
        return [false; 3];
    }
    polled.map(|one| one.revents != 0)
}

fn duplicate(fd: RawFd) -> raw::Result<OwnedFd> {
    // SAFETY: the call takes integers and returns a new descriptor.
    owned(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) })
}

fn owned(fd: RawFd) -> raw::Result<OwnedFd> {
    if fd < 0 {
        return Err(errno());
    }
    // SAFETY: the descriptor was just created and is owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn word(bytes: &[u8], offset: usize) -> u64 {
    bytes[offset..offset + 8].try_into().map_or(0, u64::from_ne_bytes)
}
