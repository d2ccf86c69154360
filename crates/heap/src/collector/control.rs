//! How threads ask for cycles and wait for them, and the collector's main loop.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use crate::collector::cycle::run_cycle;
use crate::fault::fatal;
use crate::shared::Shared;
use crate::stats::CycleReport;
use crate::sync::{lock, wait_changed};

/// What a cycle is to do. Ordered: a cycle does for every kind below its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Flip, and nothing else.
    #[default]
    Flip,
    /// Collect, and compact what is sparse.
    Ordinary,
    /// Collect, and compact everything worth it.
    Full,
    /// Collect, and compact whatever gives anything back: a thread finds no memory.
    Packing,
}

#[derive(Default)]
struct State {
    /// Cycles begun.
    begun: u64,
    /// Cycles completed.
    completed: u64,
    /// The cycle that somebody wants to see completed.
    wanted: u64,
    /// What it is to do.
    kind: Kind,
    /// How many threads wait for a cycle.
    waiting: u32,
    stop: bool,
    last: Option<CycleReport>,
}

/// Requests to one heap's collector.
#[derive(Default)]
pub struct Control {
    state: Mutex<State>,
    changed: Condvar,
}

impl Control {
    /// Asks for an ordinary cycle and does not wait. One that is under way is enough.
    pub fn request(&self) {
        let mut state = lock(&self.state);
        if state.begun == state.completed {
            state.wanted = state.wanted.max(state.begun + 1);
            state.kind = state.kind.max(Kind::Ordinary);
            self.changed.notify_all();
        }
    }

    /// Asks for a cycle that begins now or later, and waits until it is complete. `None` when the heap is closed first.
    /// Calls `woken` whenever the wait is interrupted.
    pub fn collect(&self, kind: Kind, woken: impl Fn()) -> Option<CycleReport> {
        let mut state = lock(&self.state);
        let mine = state.begun + 1;
        state.wanted = state.wanted.max(mine);
        state.kind = state.kind.max(kind);
        self.changed.notify_all();
        state = self.wait_completed(state, mine, woken);
        if state.completed < mine { None } else { state.last.clone() }
    }

    /// Whether a cycle is under way.
    #[must_use]
    pub fn is_running(&self) -> bool {
        let state = lock(&self.state);
        state.begun != state.completed
    }

    /// Waits until the cycle under way, if there is one, is complete. Calls `woken` whenever the wait is interrupted.
    pub fn wait_running(&self, woken: impl Fn()) {
        let state = lock(&self.state);
        let running = state.begun;
        drop(self.wait_completed(state, running, woken));
    }

    fn wait_completed<'s>(
        &'s self,
        mut state: MutexGuard<'s, State>,
        cycle: u64,
        woken: impl Fn(),
    ) -> MutexGuard<'s, State> {
        state.waiting += 1;
        while state.completed < cycle && !state.stop {
            state = wait_changed(&self.state, &self.changed, state);
            woken();
        }
        state.waiting -= 1;
        state
    }

    /// Interrupts those who wait.
    pub fn wake_waiting(&self) {
        self.changed.notify_all();
    }

    /// Whether the cycle under way holds anybody up: one who waits for it, or the end of the heap.
    pub fn is_waited_for(&self) -> bool {
        let state = lock(&self.state);
        state.waiting > 0 || state.stop
    }

    /// Ends the collector's loop after the cycle under way.
    pub fn stop(&self) {
        lock(&self.state).stop = true;
        self.changed.notify_all();
    }

    /// Waits for a request, and says what for. `None` to end.
    fn next(&self) -> Option<Kind> {
        let mut state = lock(&self.state);
        while state.wanted <= state.begun && !state.stop {
            state = wait_changed(&self.state, &self.changed, state);
        }
        if state.stop {
            return None;
        }
        state.begun += 1;
        Some(std::mem::take(&mut state.kind))
    }

    fn complete(&self, report: CycleReport) {
        let mut state = lock(&self.state);
        state.completed = state.begun;
        state.last = Some(report);
        self.changed.notify_all();
    }
}

/// The collector's thread.
pub fn run(shared: &Arc<Shared>) {
    block_signals();
    abort_on_panic("the collector failed", shared.mover.space.windows.view().address(0), || {
        while let Some(kind) = shared.control.next() {
            let report = run_cycle(shared, kind);
            shared.control.complete(report);
        }
    });
}

/// Runs what a thread of a heap does. A panic in it means a broken invariant: mutators may be asleep in faults that nobody
/// will serve, so the process ends.
pub(super) fn abort_on_panic(what: &str, view: usize, run: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(run)).is_err() {
        // Said by itself, and on the descriptor: a test runner or a closed stderr may swallow what the panic printed.
        fatal(what, view, 0);
    }
}

/// Leaves the process's signals to its other threads, which are interruptible where they need to be. Faults stay ours.
pub(super) fn block_signals() {
    // SAFETY: plain calls on a signal set of our own and this thread's mask.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut set);
        for fault in [libc::SIGBUS, libc::SIGSEGV, libc::SIGILL, libc::SIGFPE, libc::SIGABRT, libc::SIGTRAP] {
            libc::sigdelset(&raw mut set, fault);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
    }
}
