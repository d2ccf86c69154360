//! How a heap is set up.

use std::fmt;
use std::str::FromStr;

use subduct_kernel::memfd::NAME_BYTES_MAX;
use subduct_kernel::uffd::{FEATURE_MINOR_SHMEM, FEATURE_MISSING_SHMEM, FEATURE_SIGBUS};

use crate::error::Error;

/// Smallest budget in bytes: handles, one region for each window, and their destinations.
const BUDGET_MIN: u64 = 8 << 20;
/// Largest budget in bytes: 16 TiB of pages can be numbered, and the windows are ten times the budget.
const BUDGET_MAX: u64 = 1 << 40;

/// How an access to a page that is not ready is caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// userfaultfd raises SIGBUS on the thread that touched it. Concurrent; needs Linux 5.14.
    Sigbus,
    /// userfaultfd puts the thread to sleep, and a thread of the heap serves it. For processes that cannot give up
    /// SIGBUS. Concurrent; needs Linux 5.14.
    Thread,
    /// Mutators look at a page's state before they touch it. Concurrent; needs nothing of the kernel.
    Software,
    /// Not at all: everything moves in the pause. Works everywhere; the pause grows with the data.
    Pause,
}

impl Delivery {
    /// All of them, the one that is preferred first.
    pub const ALL: [Self; 4] = [Self::Sigbus, Self::Thread, Self::Software, Self::Pause];

    /// The features a userfaultfd needs for it; `None` when it needs no userfaultfd.
    #[must_use]
    pub fn features(self) -> Option<u64> {
        let shared_memory = FEATURE_MINOR_SHMEM | FEATURE_MISSING_SHMEM;
        match self {
            Self::Sigbus => Some(FEATURE_SIGBUS | shared_memory),
            Self::Thread => Some(shared_memory),
            Self::Software | Self::Pause => None,
        }
    }
}

/// What becomes of memory that the collector freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recycle {
    /// It stays resident for reuse.
    Keep,
    /// Some stays resident for reuse, the rest goes back to the machine; all of it after a full collection.
    Pool,
    /// It goes back to the machine after every cycle.
    Release,
}

macro_rules! named {
    ($type:ident, $what:literal, $($variant:ident = $name:literal),+) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $name),+ })
            }
        }

        impl FromStr for $type {
            type Err = String;
            fn from_str(name: &str) -> Result<Self, String> {
                match name {
                    $($name => Ok(Self::$variant),)+
                    _ => Err(format!("{} is one of {:?}, not {name:?}", $what, [$($name),+])),
                }
            }
        }
    };
}

named!(Delivery, "delivery", Sigbus = "sigbus", Thread = "thread", Software = "software", Pause = "pause");
named!(Recycle, "recycle", Keep = "keep", Pool = "pool", Release = "release");

/// Options of a heap.
#[derive(Clone, Debug)]
pub struct Options {
    /// Hard limit on resident bytes.
    pub budget_bytes: u64,
    /// Chosen by trying if `None`.
    pub delivery: Option<Delivery>,
    /// What becomes of freed memory.
    pub recycle: Recycle,
    /// Check the whole heap with a second tracer in every cycle.
    pub verify: bool,
    /// Collect every so many allocated bytes, and move everything that can move.
    pub stress_bytes: Option<u64>,
    /// Shows in `/proc/self/maps` and in messages. At most 249 bytes, none of them NUL.
    pub name: String,
}

impl Options {
    /// Whether no heap may have a smaller budget.
    pub(crate) fn is_smallest(&self) -> bool {
        self.budget_bytes == BUDGET_MIN
    }

    /// Looks whether they are in range.
    ///
    /// # Errors
    /// [`Error::BadOption`].
    pub(crate) fn check(&self) -> Result<(), Error> {
        let budget = self.budget_bytes;
        if !(BUDGET_MIN..=BUDGET_MAX).contains(&budget) {
            return Err(Error::BadOption(format!("the budget must be between 8 MiB and 1 TiB, not {budget} bytes")));
        }
        let bytes = self.name.len();
        if bytes > NAME_BYTES_MAX {
            return Err(Error::BadOption(format!(
                "name must have at most {NAME_BYTES_MAX} bytes in UTF-8, not {bytes}: the kernel shows it in /proc/self/maps"
            )));
        }
        if self.name.contains('\0') {
            return Err(Error::BadOption(format!("name must not contain NUL: {:?}", self.name)));
        }
        Ok(())
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            budget_bytes: 1 << 30,
            delivery: None,
            recycle: Recycle::Pool,
            verify: false,
            stress_bytes: None,
            name: "subduct".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_wrong_ones_say_what_is_right() {
        for delivery in Delivery::ALL {
            assert_eq!(delivery.to_string().parse(), Ok(delivery));
        }
        let error = "often".parse::<Recycle>().unwrap_err();
        assert!(error.contains("keep") && error.contains("often"), "{error}");
    }
}
