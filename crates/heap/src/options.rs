//! How a heap is set up.

use std::fmt;
use std::str::FromStr;

/// How an access to a page that is not ready is caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// userfaultfd raises SIGBUS on the thread that touched it. Concurrent; needs Linux 5.14.
    Sigbus,
    /// Not at all: everything moves in the pause. Works everywhere; the pause grows with the data.
    Pause,
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

named!(Delivery, "delivery", Sigbus = "sigbus", Pause = "pause");
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
        for delivery in [Delivery::Sigbus, Delivery::Pause] {
            assert_eq!(delivery.to_string().parse(), Ok(delivery));
        }
        let error = "often".parse::<Recycle>().unwrap_err();
        assert!(error.contains("keep") && error.contains("often"), "{error}");
    }
}
