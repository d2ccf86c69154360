//! The outcome of trying one capability.

use serde_json::{Value, json};

use crate::{KernelError, Result, errno};

/// Whether a capability works here, and if not, how that showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// It was used, and did what it should.
    Works,
    /// The kernel refused.
    Refused {
        /// Name of the call that failed.
        call: &'static str,
        /// What the kernel answered.
        errno: i32,
    },
    /// Every call succeeded, but the outcome is not the one needed.
    Misbehaves(&'static str),
}

impl Attempt {
    /// What a system call's result says.
    pub(super) fn of<T>(result: Result<T>) -> Self {
        result.map_or_else(|error| Self::from(&error), |_| Self::Works)
    }

    /// The call that just failed on this thread.
    pub(super) fn last(call: &'static str) -> Self {
        Self::Refused { call, errno: errno() }
    }

    /// Whether it works.
    #[must_use]
    pub fn works(&self) -> bool {
        matches!(self, Self::Works)
    }

    pub(super) fn json(&self) -> Value {
        let (call, errno, problem) = match self {
            Self::Works => (None, None, None),
            Self::Refused { call, errno } => {
                (Some(*call), Some(*errno), Some(std::io::Error::from_raw_os_error(*errno).to_string()))
            }
            Self::Misbehaves(what) => (None, None, Some((*what).to_owned())),
        };
        json!({"works": self.works(), "call": call, "errno": errno, "problem": problem})
    }
}

impl From<&KernelError> for Attempt {
    fn from(error: &KernelError) -> Self {
        Self::Refused { call: error.call, errno: error.errno }
    }
}
