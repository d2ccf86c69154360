//! Keeps a heap's userfaultfd open where no other code of the process can close it.
//!
//! Registrations end when the last number of a descriptor is closed, and pages that are not ready would be read as they are. So a
//! thread with a descriptor table of its own holds a number, from the first move on. It does nothing else; where there can be no such
//! thread, moves do without.

use std::sync::{Arc, Condvar, Mutex};

use subduct_kernel::uffd::Userfaultfd;

use crate::collector::control::block_signals;
use crate::sync::{Thread, is_simulated, lock, spawn, wait_changed};

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Starting,
    Holding,
    /// The descriptor could not be held, or is to be let go.
    Over,
}

/// What the thread shares with the collector.
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn set(&self, state: State) {
        *lock(&self.state) = state;
        self.changed.notify_all();
    }

    /// Waits until the state is another one than `state`.
    fn wait(&self, state: State) -> State {
        let mut now = lock(&self.state);
        while *now == state {
            now = wait_changed(&self.state, &self.changed, now);
        }
        *now
    }
}

/// The thread that holds a descriptor.
pub struct Keeper {
    shared: Arc<Shared>,
    thread: Thread,
}

impl Keeper {
    /// Starts the thread, and waits until it holds the descriptor. `None` where that cannot be.
    pub fn start(userfaultfd: &Arc<Userfaultfd>) -> Option<Self> {
        if is_simulated() {
            return None;
        }
        let shared = Arc::new(Shared { state: Mutex::new(State::Starting), changed: Condvar::new() });
        let thread = spawn("subduct-keeper", {
            let (shared, userfaultfd) = (Arc::clone(&shared), Arc::clone(userfaultfd));
            move || {
                block_signals();
                let table = userfaultfd.keep();
                // Before the caller goes on, who closes it for the process: here it would be closed in this table only.
                drop(userfaultfd);
                shared.set(if table.is_ok() { State::Holding } else { State::Over });
                shared.wait(State::Holding);
            }
        });
        let keeper = Self { shared, thread: thread.ok()? };
        if keeper.shared.wait(State::Starting) == State::Holding {
            return Some(keeper);
        }
        keeper.stop();
        None
    }

    /// Lets the descriptor go. Not when this is dropped: a forked child has no such thread.
    pub fn stop(self) {
        self.shared.set(State::Over);
        self.thread.join();
    }
}
