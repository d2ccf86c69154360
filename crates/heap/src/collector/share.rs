//! How much of the machine marking takes for itself.
//!
//! The model continues that of [`pacing`](crate::collector::pacing): an ordinary cycle begins while there is more room than
//! one and a half *drains*, what mutators allocate while a cycle runs at full speed. As long as that much is left, and most of the
//! room besides, marking has time. Where processors are short, which it knows by having been kept waiting for one, it then rests after each slice of
//! work as long as it worked: half a processor for the collector, the rest for mutators.
//!
//! ```text
//!   room left > 1.5 x drain and > 8 x what was allocated since
//!   the cycle began, nobody waits, processors short             work 1 ms, rest 1 ms
//!   otherwise, and in cycles that somebody asked for            work
//! ```
//!
//! Only marking rests. A move is over sooner for everybody when the worker goes on: until it is, mutators pay for pages that are
//! not ready.

use std::time::{Duration, Instant};

use subduct_kernel::time::processor_time;

use crate::shared::Shared;
use crate::sync::{is_simulated, lock, sleep};

/// Work between two looks at the clocks.
const SLICE: Duration = Duration::from_millis(1);
/// Of a slice's time, the share that the thread had a processor for, below which processors are short.
const SHORT: f64 = 0.9;

/// The share of one marking.
pub struct Share<'h> {
    shared: &'h Shared,
    is_patient: bool,
    allocated_before: u64,
    began: Instant,
    processor_began: Duration,
    rested: Duration,
    objects_expected: u64,
}

impl<'h> Share<'h> {
    /// That of a marking which begins now. A patient one is a cycle that nobody asked for.
    #[must_use]
    pub fn new(shared: &'h Shared, is_patient: bool) -> Self {
        Self {
            shared,
            // Simulated threads have no time.
            is_patient: is_patient && !is_simulated(),
            allocated_before: shared.mover.space.allocated_bytes(),
            began: Instant::now(),
            processor_began: processor_time(),
            rested: Duration::ZERO,
            objects_expected: lock(&shared.figures).live_objects,
        }
    }

    /// Tells mutators how far marking is, and rests, if it is time to.
    pub fn between(&mut self, objects: u64) {
        self.shared.throttle.progress(objects as f64 / self.objects_expected.max(1) as f64);
        if !self.is_patient {
            return;
        }
        let worked = self.began.elapsed();
        if worked < SLICE {
            return;
        }
        let processor = processor_time().saturating_sub(self.processor_began);
        if processor.as_secs_f64() < SHORT * worked.as_secs_f64() && self.has_time() {
            let resting = Instant::now();
            sleep(processor.min(SLICE));
            self.rested += resting.elapsed();
        }
        (self.began, self.processor_began) = (Instant::now(), processor_time());
    }

    fn has_time(&self) -> bool {
        let space = &self.shared.mover.space;
        let allocated_bytes = space.allocated_bytes() - self.allocated_before;
        !self.shared.control.is_waited_for() && self.shared.pacing.has_time(space.mutator_room_bytes(), allocated_bytes)
    }

    /// How long it rested.
    #[must_use]
    pub fn rested(&self) -> Duration {
        self.rested
    }
}
