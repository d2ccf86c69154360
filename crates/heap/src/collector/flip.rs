//! Step 5 of the cycle, and its undoing in step 7: when references change for everybody at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use subduct_kernel::KernelError;

use crate::collector::keeper::Keeper;
use crate::compact::Plan;
use crate::fault::chain;
use crate::fork;
use crate::options::Delivery;
use crate::shared::{BARRIER_PAGES, BARRIER_SIGNAL, Shared};
use crate::space::{Role, Window};
use crate::sync::lock;
use crate::verify;

/// Bytes of the shadow that are taken down with the address-space lock held once.
const RETIRE_BYTES: u64 = 4 << 20;

/// How a flip went.
pub struct Flip {
    /// How long mutators were kept out, in microseconds.
    pub pause_us: f64,
    /// Whether pages are still to be made ready. Otherwise everything moved in the pause.
    pub is_moving: bool,
    /// Whether the slots window's page tables are in the shadow.
    shadow_in_use: bool,
    /// Ranges of the leaves window whose shadow is open, and which are registered while `is_moving`.
    leaf_runs: Vec<(u64, u64)>,
    /// Why everything moved in the pause although the delivery is concurrent.
    pub fallback: Option<String>,
    /// What the second tracer saw right before, with `verify`.
    pub before: Option<verify::Snapshot>,
}

/// Flips: from its return on mutators see objects in their new places only.
pub fn flip(shared: &Shared, plan: &Plan) -> Flip {
    replace_if_lost(shared, false);
    let leaf_runs = plan.leaf_runs(&shared.mover.space);
    let prepared = match &leaf_runs {
        Ok(leaf_runs) => prepare(shared, plan, leaf_runs),
        Err(refused) => Err((*refused).into()),
    };
    let mut flip = Flip {
        pause_us: 0.0,
        is_moving: false,
        shadow_in_use: false,
        leaf_runs: leaf_runs.unwrap_or_default(),
        fallback: None,
        before: None,
    };
    let ((), pause_us) = shared.rendezvous(|mutators| {
        flip.before = verify::before_flip(shared, mutators);
        shared.set_barrier(0);
        shared.bump_move_epoch();
        match prepared.and_then(|()| begin_move(shared, &mut flip)) {
            Ok(()) if flip.is_moving => {}
            result => {
                flip.fallback = result.err().map(|error| error.to_string());
                disarm_leaves(shared, &flip.leaf_runs);
                shared.mover.work_in_pause(shared.mover.space.windows.view());
            }
        }
    });
    if flip.fallback.is_some() {
        shared.mover.counters.flips_in_pause.fetch_add(1, Ordering::Relaxed);
    }
    flip.pause_us = pause_us;
    flip
}

/// What can be done before the pause: the handler, and the destinations that nobody can reach yet.
fn prepare(shared: &Shared, plan: &Plan, leaf_runs: &[(u64, u64)]) -> Result<(), KernelError> {
    let space = &shared.mover.space;
    if shared.delivery.features().is_some() {
        space.windows.unlock_view();
        if shared.is_shadow_left.load(Ordering::Relaxed) {
            space.windows.close_shadow(0, space.geometry().total_bytes())?;
            shared.is_shadow_left.store(false, Ordering::Relaxed);
        }
    }
    for destination in plan.destinations_in(space, Window::Slots) {
        // The flip takes the entries to the shadow, where the pages are built: a recycled region has none, as its objects
        // went elsewhere in the last move.
        let (start, end) = (destination.start(), destination.start() + space.regions.get(destination).resident_bytes());
        space.windows.fill_view_entries(start, end);
    }
    if shared.delivery == Delivery::Pause {
        return Ok(());
    }
    shared.mover.reset_leaf_destinations();
    if shared.delivery == Delivery::Sigbus {
        chain::ensure_installed()?;
    }
    let userfaultfd = lock(&shared.userfaultfd);
    let Some(userfaultfd) = userfaultfd.as_ref() else { return Ok(()) };
    let mut keeper = lock(&shared.keeper);
    if keeper.is_none() {
        *keeper = Keeper::start(userfaultfd);
    }
    shared.mover.installer.set_kept(keeper.is_some());
    let windows = &shared.mover.space.windows;
    for (start, end) in leaf_runs {
        windows.open_shadow(*start, *end)?;
        windows.arm(userfaultfd, *start, *end)?;
        // [kernel.uffd.continue.dropped-again]
        // Recycled regions are still mapped from their last use: [inv.leaf.armed] no fault would tell that they are not
        // built.
        windows.drop_view_entries(*start, *end)?;
    }
    for destination in plan.destinations_in(space, Window::Leaves) {
        let (start, end) = (destination.start(), destination.start() + space.regions.get(destination).resident_bytes());
        windows.fill_shadow_entries(start, end);
    }
    Ok(())
}

/// The two system calls of the pause, or what takes their place.
fn begin_move(shared: &Shared, flip: &mut Flip) -> Result<(), KernelError> {
    if shared.delivery == Delivery::Software {
        shared.mover.begin(None);
        shared.set_barrier(BARRIER_PAGES);
        flip.is_moving = true;
        return Ok(());
    }
    let userfaultfd = lock(&shared.userfaultfd);
    let Some(userfaultfd) = userfaultfd.as_ref() else { return Ok(()) };
    let windows = &shared.mover.space.windows;
    // [kernel.uffd.flip] [kernel.mremap.step.registered-first] [kernel.mremap.dontunmap.one-mapping]
    // [kernel.mremap.dontunmap.advice-kept]
    windows.move_view_to_shadow()?;
    flip.shadow_in_use = true;
    windows.arm(userfaultfd, 0, windows.geometry().window_bytes(Window::Slots))?;
    shared.mover.begin(Some(userfaultfd.usable()));
    if shared.delivery == Delivery::Sigbus {
        shared.set_barrier(BARRIER_SIGNAL);
    }
    flip.is_moving = true;
    Ok(())
}

/// Ends the registrations in the leaves window.
fn disarm_leaves(shared: &Shared, leaf_runs: &[(u64, u64)]) {
    let windows = &shared.mover.space.windows;
    // [kernel.uffd.unregister.not-registered] [kernel.uffd.register.part-splits]
    // A run that was never registered is fine: unregistering an ordinary mapping does nothing.
    let disarmed = lock(&shared.userfaultfd).as_ref().is_none_or(|userfaultfd| {
        leaf_runs.iter().all(|(start, end)| windows.disarm(userfaultfd, *start, *end).is_ok())
    });
    if !disarmed {
        replace_descriptor(shared);
    }
}

/// Replaces the descriptor if somebody else has closed a number of it, whatever that leads to by now: another heap's, for example.
/// `is_damaged`: the move that ended has met that.
fn replace_if_lost(shared: &Shared, is_damaged: bool) {
    let is_lost = lock(&shared.userfaultfd).as_ref().is_some_and(|userfaultfd| !userfaultfd.is_whole());
    if is_damaged || is_lost {
        shared.mover.counters.descriptors_lost.fetch_add(1, Ordering::Relaxed);
        replace_descriptor(shared);
    }
}

/// Ends every registration at once by closing the descriptor, when the kernel refuses to do it one by one, or when
/// somebody else has closed a number of it.
fn replace_descriptor(shared: &Shared) {
    stop_keeper(shared);
    let mut userfaultfd = lock(&shared.userfaultfd);
    if let Some(old) = userfaultfd.take() {
        old.numbers().into_iter().for_each(fork::forget);
        if let Some(monitor) = lock(&shared.monitor).as_ref() {
            // It holds the old descriptor, too: registrations end when all have let go.
            monitor.release(old);
        }
    }
    // Without a new one this heap goes on with everything moved in the pause.
    let windows = &shared.mover.space.windows;
    *userfaultfd = shared.delivery.features().and_then(|features| windows.open_again(features).ok()).map(Arc::new);
    if let Some(new) = userfaultfd.as_ref() {
        new.numbers().into_iter().for_each(fork::close_in_child);
        if let Some(monitor) = lock(&shared.monitor).as_ref() {
            monitor.watch(Arc::clone(new));
        }
    }
}

/// Has the keeper let the descriptor go.
pub fn stop_keeper(shared: &Shared) {
    if let Some(keeper) = lock(&shared.keeper).take() {
        keeper.stop();
    }
}

/// Takes SIGBUS back if somebody took it during the move: their handler would end the process at the next fault.
pub fn keep_handler(shared: &Shared) {
    if shared.delivery == Delivery::Sigbus && !chain::is_installed() {
        // It was installed a moment ago, so it can be again; if not, the next call tries once more.
        let restored = chain::ensure_installed();
        shared.mover.counters.handlers_restored.fetch_add(u64::from(restored.is_ok()), Ordering::Relaxed);
    }
}

/// Undoes what the move needed: registrations and shadow.
pub fn unflip(shared: &Shared, flip: &Flip) {
    let windows = &shared.mover.space.windows;
    if flip.is_moving {
        shared.mover.ending();
        if shared.delivery == Delivery::Software {
            shared.set_barrier(0);
        }
        let slots_end = windows.geometry().window_bytes(Window::Slots);
        let ended = lock(&shared.userfaultfd).as_ref().map(|userfaultfd| windows.disarm(userfaultfd, 0, slots_end));
        match ended {
            Some(Ok(())) => disarm_leaves(shared, &flip.leaf_runs),
            Some(Err(_)) => replace_descriptor(shared),
            None => {}
        }
        shared.mover.end();
        // Only now: while anything was registered, a page whose entry the kernel took back faulted once more.
        shared.set_barrier(0);
        shared.mover.reset_slots();
        replace_if_lost(shared, shared.mover.installer.is_damaged());
    }
    let mut is_left = false;
    if shared.delivery.features().is_some() {
        for (start, end) in &flip.leaf_runs {
            is_left |= windows.close_shadow(*start, *end).is_err();
        }
    }
    if flip.shadow_in_use {
        is_left |= retire_shadow(shared).is_err();
    }
    if is_left {
        // [inv.shadow.empty] Nobody uses what is left. Without an empty shadow the next flip does everything in its pause.
        shared.is_shadow_left.store(true, Ordering::Relaxed);
        shared.mover.counters.shadows_left.fetch_add(1, Ordering::Relaxed);
    }
}

/// Takes the shadow down in slices, so that no other thread's mmap or fault waits for long, and then turns it into one
/// empty reservation: the next flip moves whole page tables there only if nothing is left.
fn retire_shadow(shared: &Shared) -> Result<(), KernelError> {
    let space = &shared.mover.space;
    let mut slice: Option<(u64, u64)> = None;
    let flush = |slice: &mut Option<(u64, u64)>| {
        if let Some((start, end)) = slice.take()
            && space.windows.drop_shadow_entries(start, end).is_err()
        {
            // As good, but that it leaves a mapping for each slice until the end. If this fails, too, the last call does it all.
            let _ = space.windows.close_shadow(start, end);
        }
    };
    for (id, region) in space.regions.iter(Window::Slots) {
        if region.resident_bytes() == 0 && region.role() == Role::Free {
            continue;
        }
        if slice.is_some_and(|(_, end)| end < id.start()) {
            flush(&mut slice);
        }
        slice = Some(slice.map_or((id.start(), id.end()), |(start, _)| (start, id.end())));
        if slice.is_some_and(|(start, end)| end - start >= RETIRE_BYTES) {
            flush(&mut slice);
        }
    }
    flush(&mut slice);
    space.windows.close_shadow(0, space.geometry().window_bytes(Window::Slots))
}
