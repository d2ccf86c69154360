//! A second opinion: slow, simple, independent of marks and forwarding, run with every thread parked.
//!
//! With `verify` on, every cycle is checked three times:
//!
//! - at the end of marking: everything that can be reached is marked (`[inv.mark.snapshot]`);
//! - around the move: the object graph has the same digest before and after, if no thread used the heap meanwhile
//!   (`[inv.move.same-graph]`);
//! - after the cycle: every reference leads to a whole object of the right kind in a region in use
//!   (`[inv.heap.sound]`).

pub mod tracer;

use std::sync::Arc;

use crate::mutator::Mutator;
use crate::shared::Shared;
use crate::stats::VerifyReport;

/// What the second tracer saw, and how many operations had been begun by then.
#[derive(Clone, Copy)]
pub struct Snapshot {
    operations: u64,
    report: VerifyReport,
}

fn operations(mutators: &[Arc<Mutator>]) -> u64 {
    // SAFETY: callers are inside a rendezvous.
    mutators.iter().map(|mutator| unsafe { mutator.local() }.operations).sum()
}

/// Traces the heap, which must be sound. The caller keeps all mutators out.
///
/// # Errors
/// Which reference is broken, and why.
pub fn check(shared: &Shared) -> Result<VerifyReport, String> {
    tracer::trace(&shared.mover, &shared.handles, |_| Ok(()))
}

fn insist<T>(result: Result<T, String>) -> T {
    result.unwrap_or_else(|broken| panic!("[inv.heap.sound] {broken}"))
}

/// Checks that marking found everything. In the rendezvous that ends it.
pub fn after_mark(shared: &Shared) {
    if !shared.options.verify {
        return;
    }
    let marks = &shared.mover.marks;
    insist(tracer::trace(&shared.mover, &shared.handles, |object| {
        if marks.is_marked(object.offset()) { Ok(()) } else { Err("[inv.mark.snapshot] not marked".to_owned()) }
    }));
}

/// Remembers the object graph. In the rendezvous of the flip, before it.
pub fn before_flip(shared: &Shared, mutators: &[Arc<Mutator>]) -> Option<Snapshot> {
    shared.options.verify.then(|| Snapshot { operations: operations(mutators), report: insist(check(shared)) })
}

/// Checks the heap at the end of a cycle. Whether it looked.
pub fn after_cycle(shared: &Shared, before: Option<Snapshot>) -> bool {
    if !shared.options.verify {
        return false;
    }
    shared.rendezvous(|mutators| {
        let report = insist(check(shared));
        if let Some(before) = before.filter(|before| before.operations == operations(mutators)) {
            assert_eq!(before.report, report, "[inv.move.same-graph]");
        }
    });
    true
}
