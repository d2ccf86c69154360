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

use crate::memory::Refused;
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

/// Why a trace has no result.
#[derive(Debug)]
pub enum Failed {
    /// The heap is broken: which reference, and how.
    Broken(String),
    /// The process has no memory for the trace: it says nothing about the heap.
    Memory(Refused),
}

impl From<String> for Failed {
    fn from(broken: String) -> Self {
        Self::Broken(broken)
    }
}

/// Traces the heap, which must be sound. The caller keeps all mutators out.
///
/// # Errors
/// Which reference is broken, and why; that there is no memory to find out.
pub fn check(shared: &Shared) -> Result<VerifyReport, Failed> {
    tracer::trace(&shared.mover, &shared.handles, |_| Ok(()))
}

/// The result of a trace; `None` where it could not be made.
fn insist<T>(result: Result<T, Failed>) -> Option<T> {
    match result {
        Ok(result) => Some(result),
        Err(Failed::Broken(broken)) => panic!("[inv.heap.sound] {broken}"),
        Err(Failed::Memory(_)) => None,
    }
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
    let report = shared.options.verify.then(|| insist(check(shared))).flatten();
    report.map(|report| Snapshot { operations: operations(mutators), report })
}

/// Checks the heap at the end of a cycle. Whether it looked: not without memory for that.
pub fn after_cycle(shared: &Shared, before: Option<Snapshot>) -> bool {
    if !shared.options.verify {
        return false;
    }
    let (report, _) = shared.rendezvous(|mutators| {
        let report = insist(check(shared))?;
        if let Some(before) = before.filter(|before| before.operations == operations(mutators)) {
            assert_eq!(before.report, report, "[inv.move.same-graph]");
        }
        Some(report)
    });
    report.is_some()
}
