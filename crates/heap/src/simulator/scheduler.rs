//! Who runs: one thread at a time, chosen by the seed.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::Thread;

/// Of this many places where another thread could come in, one lets it.
const SWITCH_EVERY: u64 = 24;
/// Switches without any thread's end after which the simulation is taken for a livelock.
const SWITCHES_MAX: u64 = 50_000_000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    Runnable,
    /// Asleep on the word at this address.
    Waiting(usize),
    Ended,
}

struct State {
    seed: u64,
    random: u64,
    current: u32,
    threads: Vec<(Status, Option<Thread>)>,
    switches: u64,
}

static STATE: Mutex<Option<State>> = Mutex::new(None);
/// Simulations follow one another: the state is the process's.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

thread_local! {
    /// 1 + this thread's number; 0 outside any simulation.
    static ME: Cell<u32> = const { Cell::new(0) };
}

fn state() -> MutexGuard<'static, Option<State>> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// `SplitMix64` (G. Steele, D. Lea, C. Flood 2014).
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Lets a thread run that can; the one that calls may be it.
    fn choose(&mut self) {
        let runnable = self.threads.iter().filter(|(status, _)| *status == Status::Runnable).count() as u64;
        assert!(runnable > 0, "simulator: seed {}: every thread waits for another", self.seed);
        self.switches += 1;
        assert!(self.switches < SWITCHES_MAX, "simulator: seed {}: nothing gets done", self.seed);
        let mut turn = self.draw() % runnable;
        for (number, (status, _)) in self.threads.iter().enumerate() {
            if *status == Status::Runnable {
                if turn == 0 {
                    self.current = number as u32;
                    break;
                }
                turn -= 1;
            }
        }
        if let Some(thread) = &self.threads[self.current as usize].1 {
            thread.unpark();
        }
    }
}

/// Sleeps until it is this thread's turn.
fn await_turn(me: u32, mut guard: MutexGuard<'static, Option<State>>) {
    loop {
        match guard.as_mut() {
            Some(state) if state.current != me => {
                state.threads[me as usize].1.get_or_insert_with(std::thread::current);
            }
            _ => return,
        }
        drop(guard);
        std::thread::park();
        guard = state();
    }
}

fn me() -> Option<u32> {
    ME.get().checked_sub(1)
}

/// Whether this thread is part of a simulation.
#[must_use]
pub fn is_running() -> bool {
    me().is_some()
}

/// A place where another thread may come in.
pub fn point() {
    let Some(me) = me() else { return };
    let mut guard = state();
    let Some(state) = guard.as_mut() else { return };
    if state.draw().is_multiple_of(SWITCH_EVERY) {
        state.choose();
        await_turn(me, guard);
    }
}

/// Lets another thread run, if there is one. False outside a simulation.
pub fn give_way() -> bool {
    let Some(me) = me() else { return false };
    let mut guard = state();
    if let Some(state) = guard.as_mut() {
        state.choose();
        await_turn(me, guard);
    }
    true
}

/// Sleeps while a word is `expected`; sometimes returns early, as a futex may. False outside a simulation.
pub fn wait(word: &AtomicU32, expected: u32) -> bool {
    let Some(me) = me() else { return false };
    let mut guard = state();
    if let Some(state) = guard.as_mut() {
        if word.load(Ordering::SeqCst) != expected {
            return true;
        }
        if !state.draw().is_multiple_of(16) {
            state.threads[me as usize].0 = Status::Waiting(word.as_ptr() as usize);
        }
        state.choose();
        await_turn(me, guard);
    }
    true
}

/// Wakes everybody who sleeps on a word. False outside a simulation.
pub fn wake_all(word: &AtomicU32) -> bool {
    if me().is_none() {
        return false;
    }
    if let Some(state) = state().as_mut() {
        for (status, _) in &mut state.threads {
            if *status == Status::Waiting(word.as_ptr() as usize) {
                *status = Status::Runnable;
            }
        }
    }
    point();
    true
}

/// A random word; `None` outside a simulation.
#[must_use]
pub fn random() -> Option<u64> {
    me()?;
    state().as_mut().map(State::draw)
}

/// Whether something happens that happens once in `times`. Never outside a simulation.
#[must_use]
pub fn once_in(times: u64) -> bool {
    random().is_some_and(|word| word.is_multiple_of(times))
}

/// A thread's place in the simulation, from before it starts.
#[derive(Clone)]
pub struct Ticket(Option<u32>);

impl Default for Ticket {
    fn default() -> Self {
        Self::new()
    }
}

impl Ticket {
    /// A place for a new thread; none outside a simulation.
    #[must_use]
    pub fn new() -> Self {
        if !is_running() {
            return Self(None);
        }
        Self(state().as_mut().map(|state| {
            state.threads.push((Status::Runnable, None));
            state.threads.len() as u32 - 1
        }))
    }

    /// Runs the thread's work when it is its turn.
    pub fn run(self, run: impl FnOnce()) {
        let Some(me) = self.0 else { return run() };
        ME.set(me + 1);
        await_turn(me, state());
        let _end = End(me);
        run();
        crate::mutator::thread::end_now();
    }

    /// Waits until the thread has ended.
    pub fn wait_ended(&self) {
        let Some(other) = self.0 else { return };
        let ended = || state().as_ref().is_none_or(|state| state.threads[other as usize].0 == Status::Ended);
        while is_running() && !ended() {
            give_way();
        }
    }
}

/// Takes a thread out of the simulation, also when it panics.
struct End(u32);

impl Drop for End {
    fn drop(&mut self) {
        if let Some(state) = state().as_mut() {
            state.threads[self.0 as usize].0 = Status::Ended;
            state.switches = 0;
            // The first thread ends last: until then somebody can run.
            state.choose();
        }
        ME.set(0);
    }
}

/// Runs `run` as the first thread of a simulation. Whatever threads it starts with [`crate::sync::spawn`] belong to it; it
/// joins them before it returns.
///
/// # Panics
/// Where `run` does, and when threads wait for one another for ever.
pub fn simulate<T>(seed: u64, run: impl FnOnce() -> T) -> T {
    struct Over;
    impl Drop for Over {
        fn drop(&mut self) {
            ME.set(0);
            let ended = state().take();
            if let Some(state) = ended.filter(|_| std::thread::panicking()) {
                eprintln!("simulator: seed {} failed", state.seed);
            }
        }
    }

    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let threads = vec![(Status::Runnable, Some(std::thread::current()))];
    *state() = Some(State { seed, random: seed, current: 0, threads, switches: 0 });
    ME.set(1);
    let _over = Over;
    let result = run();
    crate::mutator::thread::end_now();
    result
}
