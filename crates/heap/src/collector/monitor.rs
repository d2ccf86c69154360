//! `thread` delivery: a thread that reads faults from the userfaultfd and serves them.
//!
//! It takes no lock while it serves, never needs the GIL, and touches the heap through the shadow only, so that it cannot
//! fault itself. What it waits for, a page that another thread has claimed, is made ready without it.
//!
//! A bell tells it that it has something else to do: a flag that it looks at whenever it wakes, and a byte in a pipe that wakes it.
//! A filter on system calls may come to forbid what that takes. The monitor then wakes by itself, again and again:
//!
//! ```text
//!   write forbidden   the pipe is closed, which wakes the monitor as well, once; it looks from then on
//!   read forbidden    the same, by the monitor
//!   poll forbidden    it looks for faults, too
//! ```

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use subduct_kernel::kept::Kept;
use subduct_kernel::uffd::{FAULTS_MAX, Userfaultfd};

use crate::collector::control::{abort_on_panic, block_signals};
use crate::compact::Mover;
use crate::shared::Shared;
use crate::sync::{Thread, lock, sleep, spawn, wait_changed};

/// Between two looks whether the bell is still ours, in milliseconds.
const LOOK_MS: i32 = 500;
/// Between two looks at a bell that cannot wake the monitor any more, in milliseconds.
const BELL_MS: i32 = 10;
/// Between two looks for faults that nothing announces: threads sleep in them.
const FAULTS: Duration = Duration::from_millis(1);

/// What the monitor is to do, and what it does.
#[derive(Default)]
struct State {
    /// The descriptor to watch.
    wanted: Option<Arc<Userfaultfd>>,
    /// Whether the monitor holds no other descriptor.
    is_current: bool,
    stop: bool,
}

/// What the monitor shares with those who tell it what to do.
#[derive(Default)]
struct Orders {
    state: Mutex<State>,
    changed: Condvar,
    /// Whether the state changed since the monitor last looked.
    is_rung: AtomicBool,
}

impl Orders {
    /// The descriptor to watch, as soon as there is one. `None` to end.
    fn next(&self) -> Option<Arc<Userfaultfd>> {
        let mut state = lock(&self.state);
        while !state.stop {
            state.is_current = true;
            self.changed.notify_all();
            if let Some(wanted) = &state.wanted {
                return Some(Arc::clone(wanted));
            }
            state = wait_changed(&self.state, &self.changed, state);
        }
        None
    }
}

/// The monitor of one heap, from outside.
pub struct Monitor {
    orders: Arc<Orders>,
    /// `None` when nothing can be written to it any more.
    bell: Mutex<Option<Kept>>,
    thread: Mutex<Option<Thread>>,
}

impl Monitor {
    /// Starts the thread, watching `userfaultfd`.
    ///
    /// # Errors
    /// When there can be no thread or pipe.
    pub fn start(shared: &Arc<Shared>, userfaultfd: Arc<Userfaultfd>) -> std::io::Result<Self> {
        let (reader, writer) = std::io::pipe()?;
        let (reader, writer) = (Kept::new(reader.into()), Kept::new(writer.into()));
        let state = Mutex::new(State { wanted: Some(userfaultfd), ..State::default() });
        let orders = Arc::new(Orders { state, ..Orders::default() });
        let thread = {
            let (shared, orders) = (Arc::clone(shared), Arc::clone(&orders));
            spawn("subduct-monitor", move || {
                let view = shared.mover.space.windows.view().address(0);
                abort_on_panic("the monitor failed", view, || watch(&shared.mover, &orders, reader));
            })?
        };
        Ok(Self { orders, bell: Mutex::new(Some(writer)), thread: Mutex::new(Some(thread)) })
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.orders.state));
        self.orders.is_rung.store(true, Ordering::Release);
        self.orders.changed.notify_all();
        let mut bell = lock(&self.bell);
        if bell.as_ref().is_some_and(|writer| writer.write(&[0]).is_err()) {
            *bell = None;
        }
    }

    /// Has the monitor let go of a descriptor, and waits until it has.
    pub fn release(&self, old: Arc<Userfaultfd>) {
        drop(old);
        self.change(|state| (state.wanted, state.is_current) = (None, false));
        let mut state = lock(&self.orders.state);
        while !state.is_current && !state.stop {
            state = wait_changed(&self.orders.state, &self.orders.changed, state);
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

/// The bell, where it is heard. Kept open: a ring must not find the pipe broken, which raises SIGPIPE.
struct Bell {
    reader: Kept,
    /// Whether a ring wakes the monitor.
    wakes: bool,
}

impl Bell {
    /// Waits for faults and for a ring, or for a while where one of them cannot be waited for.
    fn wait(&mut self, userfaultfd: &Userfaultfd) {
        // Somebody else's file under the number would never wake anybody.
        self.wakes &= self.reader.get().is_ok();
        let waited = if self.wakes {
            userfaultfd.wait_faults(self.reader.raw(), LOOK_MS)
        } else {
            userfaultfd.wait_faults(-1, BELL_MS)
        };
        match waited {
            Ok(false) => {}
            // One byte for each ring.
            Ok(true) => self.wakes = self.reader.read(&mut [0; 1]) == Ok(1),
            Err(_) => sleep(FAULTS),
        }
    }
}

/// The monitor's loop: one round for each descriptor.
fn watch(mover: &Mover, orders: &Orders, reader: Kept) {
    block_signals();
    let mut bell = Bell { reader, wakes: true };
    while let Some(userfaultfd) = orders.next() {
        serve_until_rung(mover, &userfaultfd, orders, &mut bell);
    }
}

fn serve_until_rung(mover: &Mover, userfaultfd: &Userfaultfd, orders: &Orders, bell: &mut Bell) {
    let view = mover.space.windows.view().address(0);
    let mut addresses = [0; FAULTS_MAX];
    loop {
        bell.wait(userfaultfd);
        // Acquire: what was changed before it rang is seen in the next round.
        if orders.is_rung.swap(false, Ordering::Acquire) {
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
