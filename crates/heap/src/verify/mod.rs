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
use std::sync::atomic::Ordering;

use subduct_kernel::KernelError;

use crate::memory::Refused;
use crate::mutator::Mutator;
use crate::shared::Shared;
use crate::stats::VerifyReport;
use crate::verify::tracer::Digest;

/// What the second tracer saw, and how many operations had been begun by then.
#[derive(Clone, Copy)]
pub struct Snapshot {
    operations: u64,
    report: VerifyReport,
}

/// Operations that were ever begun, by threads that have ended, too: the sum only grows.
fn operations(shared: &Shared, mutators: &[Arc<Mutator>]) -> u64 {
    // SAFETY: callers are inside a rendezvous.
    let begun: u64 = mutators.iter().map(|mutator| unsafe { mutator.local() }.operations).sum();
    // Relaxed: changed under the lock of the list, which a rendezvous holds.
    begun + shared.operations_before_end.load(Ordering::Relaxed)
}

/// Why a trace has no result.
#[derive(Debug)]
pub enum Failed {
    /// The heap is broken: which reference, and how.
    Broken(String),
    /// The process has no memory for the trace: it says nothing about the heap.
    Memory(Refused),
    /// The kernel refuses the trace its memory for another reason.
    Kernel(KernelError),
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
    trace(shared, Digest::Made)
}

fn trace(shared: &Shared, digest: Digest) -> Result<VerifyReport, Failed> {
    tracer::trace(&shared.mover, &shared.handles, digest, |_| Ok(()))
}

/// The result of a trace; `None` where it could not be made.
fn insist<T>(result: Result<T, Failed>) -> Option<T> {
    match result {
        Ok(result) => Some(result),
        Err(Failed::Broken(broken)) => panic!("[inv.heap.sound] {broken}"),
        Err(Failed::Memory(_) | Failed::Kernel(_)) => None,
    }
}

/// Checks that marking found everything. In the rendezvous that ends it.
pub fn after_mark(shared: &Shared) {
    if !shared.options.verify {
        return;
    }
    let marks = &shared.mover.marks;
    insist(tracer::trace(&shared.mover, &shared.handles, Digest::LeftOut, |object| {
        if marks.is_marked(object.offset()) { Ok(()) } else { Err("[inv.mark.snapshot] not marked".to_owned()) }
    }));
}

/// Remembers the object graph. In the rendezvous of the flip, before it.
pub fn before_flip(shared: &Shared, mutators: &[Arc<Mutator>]) -> Option<Snapshot> {
    let report = shared.options.verify.then(|| insist(check(shared))).flatten();
    report.map(|report| Snapshot { operations: operations(shared, mutators), report })
}

/// Checks the heap at the end of a cycle. Whether it looked: not without memory for that.
pub fn after_cycle(shared: &Shared, before: Option<Snapshot>) -> bool {
    if !shared.options.verify {
        return false;
    }
    let (report, _) = shared.rendezvous(|mutators| {
        let before = before.filter(|before| before.operations == operations(shared, mutators));
        let digest = if before.is_some() { Digest::Made } else { Digest::LeftOut };
        let report = insist(trace(shared, digest))?;
        if let Some(before) = before {
            assert_eq!(before.report, report, "[inv.move.same-graph]");
        }
        Some(report)
    });
    report.is_some()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::{Heap, Options};

    #[test]
    fn a_thread_that_ends_takes_no_operation_with_it() {
        let heap = Heap::new(Options { budget_bytes: 16 << 20, ..Options::default() }).unwrap();
        let in_a_thread = || std::thread::scope(|scope| scope.spawn(|| heap.run(|_| Ok(())).unwrap()).join().unwrap());
        let begun = || heap.shared().rendezvous(|mutators| operations(heap.shared(), mutators)).0;
        in_a_thread();
        let before = begun();
        // The list forgets the first thread as the second one begins.
        in_a_thread();
        assert_eq!(begun(), before + 1);
    }
}
