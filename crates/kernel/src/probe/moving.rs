//! Moving the page tables of shared memory: whether it works, and what 1 GiB costs.

use std::os::fd::AsFd;
use std::time::Instant;

use serde_json::{Value, json};

use super::Attempt;
use crate::memfd::Memfd;
use crate::memory::Reservation;
use crate::uffd::{FEATURE_MINOR_SHMEM, FEATURE_MISSING_SHMEM, Userfaultfd};
use crate::{GIB, Result};

/// Moves that are timed.
const ROUNDS: usize = 9;
/// One page is populated in each step of this size. The page tables are then all there, and as cold when they are moved
/// as those of a full gibibyte: the times are the same, for a sixteenth of the memory.
const STEP: usize = 64 << 10;

/// What moving 1 GiB of shared memory at a 1 GiB boundary costs, one page in each 64 KiB of it resident.
#[derive(Debug, Clone, PartialEq)]
pub struct MoveCost {
    /// Bytes moved at a time.
    pub bytes: usize,
    /// Bytes of it that were resident.
    pub populated_bytes: u64,
    /// How often it was moved.
    pub rounds: usize,
    /// Median time of `mremap(MREMAP_DONTUNMAP)`, in microseconds.
    pub median_us: f64,
    /// Longest of them.
    pub max_us: f64,
    /// Median time of registering the range afterwards, in microseconds; None where userfaultfd does not work.
    pub register_us: Option<f64>,
}

impl MoveCost {
    pub(super) fn json(&self) -> Value {
        json!({
            "bytes": self.bytes,
            "populated_bytes": self.populated_bytes,
            "rounds": self.rounds,
            "median_us": self.median_us,
            "max_us": self.max_us,
            "register_us": self.register_us,
        })
    }
}

/// Moves 1 GiB some times, looks at what both ranges hold afterwards, and times it.
pub(super) fn attempt() -> (Attempt, Option<MoveCost>) {
    match measure() {
        Ok(Ok(cost)) => (Attempt::Works, Some(cost)),
        Ok(Err(what)) => (Attempt::Misbehaves(what), None),
        Err(error) => (Attempt::from(&error), None),
    }
}

fn measure() -> Result<std::result::Result<MoveCost, &'static str>> {
    let memfd = Memfd::new("subduct-probe", GIB)?;
    let ranges = Reservation::new(2 * GIB, GIB)?;
    let (view, shadow) = (ranges.base(), ranges.base() + GIB);
    ranges.map_file(view, GIB, memfd.as_fd(), 0)?;
    for offset in (0..GIB).step_by(STEP) {
        memfd.populate(offset, crate::page_size())?;
        // SAFETY: the view is mapped and writable, and `offset` lies in it.
        unsafe { ((view + offset) as *mut usize).write_volatile(offset | 1) };
    }
    let populated_bytes = memfd.resident_bytes()?;
    let uffd = Userfaultfd::new(FEATURE_MISSING_SHMEM | FEATURE_MINOR_SHMEM).ok();
    let (mut moves_us, mut registers_us) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        ranges.move_page_tables(view, shadow, GIB)?;
        moves_us.push(microseconds_since(begin));
        if let Some(uffd) = &uffd {
            let begin = Instant::now();
            uffd.register(view, GIB)?;
            registers_us.push(microseconds_since(begin));
            uffd.unregister(view, GIB)?;
        }
        // Reading the view maps its pages again, for the next round.
        for start in [shadow, view] {
            if !holds_marks(start) {
                return Ok(Err("a page did not keep its content when its page table moved"));
            }
        }
        ranges.retire(shadow, GIB)?;
    }
    Ok(Ok(MoveCost {
        bytes: GIB,
        populated_bytes,
        rounds: ROUNDS,
        median_us: median(&mut moves_us),
        max_us: moves_us.iter().copied().fold(0.0, f64::max),
        register_us: (!registers_us.is_empty()).then(|| median(&mut registers_us)),
    }))
}

fn holds_marks(start: usize) -> bool {
    (0..GIB).step_by(STEP).all(|offset| {
        // SAFETY: both ranges are mapped views of the whole file while this is called, and not registered.
        unsafe { ((start + offset) as *const usize).read_volatile() == offset | 1 }
    })
}

fn microseconds_since(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1e6
}

/// The median of some times; sorts them.
fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(0.0)
}
