//! `thread` delivery: a thread that reads faults from the userfaultfd and serves them.
//!
//! It takes no lock while it serves, never needs the GIL, and touches the heap through the shadow only, so that it cannot
//! fault itself. What it waits for, a page that another thread has claimed, is made ready without it.

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex};

use subduct_kernel::uffd::{FAULTS_MAX, Userfaultfd};

use crate::collector::control::{abort_on_panic, block_signals};
use crate::compact::Mover;
use crate::shared::Shared;
use crate::sync::{Thread, lock, spawn, wait_changed};

/// What the monitor is to do, and what it does.
#[derive(Default)]
struct State {
    /// The descriptor to watch.
    wanted: Option<Arc<Userfaultfd>>,
    /// Whether the monitor holds no other descriptor.
    is_current: bool,
    stop: bool,
}

/// The monitor of one heap, from outside.
pub struct Monitor {
    state: Arc<(Mutex<State>, Condvar)>,
    bell: Mutex<PipeWriter>,
    thread: Mutex<Option<Thread>>,
}

impl Monitor {
    /// Starts the thread, watching `userfaultfd`.
    ///
    /// # Errors
    /// When there can be no thread or pipe.
    pub fn start(shared: &Arc<Shared>, userfaultfd: Arc<Userfaultfd>) -> std::io::Result<Self> {
        let (reader, writer) = std::io::pipe()?;
        let state = Arc::new((Mutex::new(State { wanted: Some(userfaultfd), ..State::default() }), Condvar::new()));
        let thread = {
            let (shared, state) = (Arc::clone(shared), Arc::clone(&state));
            spawn("subduct-monitor", move || {
                let view = shared.mover.space.windows.view().address(0);
                abort_on_panic("the monitor failed", view, || watch(&shared.mover, &state, reader));
            })?
        };
        Ok(Self { state, bell: Mutex::new(writer), thread: Mutex::new(Some(thread)) })
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state.0));
        // A pipe that is full rings as well; one that is closed has nobody to hear it.
        let _ = lock(&self.bell).write(&[0]);
    }

    /// Has the monitor let go of a descriptor, and waits until it has.
    pub fn release(&self, old: Arc<Userfaultfd>) {
        drop(old);
        self.change(|state| (state.wanted, state.is_current) = (None, false));
        let mut state = lock(&self.state.0);
        while !state.is_current && !state.stop {
            state = wait_changed(&self.state.0, &self.state.1, state);
        }
    }

    /// Has the monitor watch another descriptor.
    pub fn watch(&self, new: Arc<Userfaultfd>) {
        self.change(|state| (state.wanted, state.is_current) = (Some(new), false));
    }

    /// Ends the thread and waits for it.
    pub fn stop(&self) {
        self.change(|state| state.stop = true);
        if let Some(thread) = lock(&self.thread).take() {
            thread.join();
        }
    }
}

/// The monitor's loop: one round for each descriptor.
fn watch(mover: &Mover, state: &(Mutex<State>, Condvar), mut bell: PipeReader) {
    block_signals();
    loop {
        let userfaultfd = {
            let mut state = lock(&state.0);
            if state.stop {
                return;
            }
            state.is_current = true;
            state.wanted.clone()
        };
        state.1.notify_all();
        match userfaultfd {
            Some(userfaultfd) => serve_until_rung(mover, &userfaultfd, &mut bell),
            None => drop(bell.read(&mut [0; 1])),
        }
    }
}

fn serve_until_rung(mover: &Mover, userfaultfd: &Userfaultfd, bell: &mut PipeReader) {
    let view = mover.space.windows.view().address(0);
    let mut addresses = [0; FAULTS_MAX];
    loop {
        if userfaultfd.wait_faults(bell.as_raw_fd()) {
            // One byte for each ring: what was rung meanwhile is seen in the next round.
            drop(bell.read(&mut [0; 1]));
            return;
        }
        let count = userfaultfd.read_faults(&mut addresses);
        for address in &addresses[..count] {
            mover.counters.faults.fetch_add(1, Ordering::Relaxed);
            mover.serve((address - view) as u64);
            userfaultfd.wake_page(*address);
        }
    }
}
