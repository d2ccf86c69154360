//! How a heap is set up.

use std::fmt;
use std::str::FromStr;

use subduct_kernel::uffd::{FEATURE_MINOR_SHMEM, FEATURE_MISSING_SHMEM, FEATURE_SIGBUS};

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
    /// Shows in `/proc/self/maps` and in messages.
    pub name: String,
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
