//! What can go wrong for users of a heap.

use std::fmt;

use subduct_kernel::KernelError;

use crate::memory::Refused;

/// An error that leaves the heap as it was.
#[derive(Debug, Clone)]
pub enum Error {
    /// A system call failed.
    Kernel(KernelError),
    /// This machine cannot do what was asked for.
    Unsupported {
        /// What.
        what: String,
        /// What to do about it.
        remedy: String,
    },
    /// The budget is used up by live data.
    Full {
        /// Bytes the operation needed.
        requested: u64,
        /// Bytes alive by now, as far as is known.
        live: u64,
        /// Bytes resident.
        resident: u64,
        /// The limit.
        budget: u64,
        /// What of the limit only compaction may use, in bytes.
        reserve: u64,
        /// Whether it is addresses that are lacking, not memory: there are not as many in a row.
        is_fragmented: bool,
    },
    /// The heap is closed, or belongs to another process.
    Closed {
        /// Which of them, in words.
        reason: String,
    },
    /// The process may not have the memory of its own that this needs.
    Memory {
        /// How much, in bytes.
        bytes: u64,
    },
    /// One object would be larger than an object can be.
    TooLarge,
    /// An option is out of range.
    BadOption(String),
    /// Verification found the heap broken.
    Broken(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel(error) => error.fmt(f),
            Self::Unsupported { what, remedy } => write!(f, "{what}; {remedy}"),
            Self::Full { requested, live, resident, budget, reserve, is_fragmented } => {
                write!(f, "the heap is full: {requested} bytes asked for, ")?;
                if *is_fragmented {
                    f.write_str("and not as many of its addresses in a row are free, ")?;
                }
                write!(
                    f,
                    "about {live} alive, {resident} resident, budget {budget}, of which {reserve} are kept for compaction; "
                )?;
                f.write_str(if *is_fragmented {
                    "delete data, divide lists and dicts whose items take more than 256 KiB, or raise the budget"
                } else {
                    "delete data or raise the budget"
                })
            }
            Self::Closed { reason } => f.write_str(reason),
            Self::Memory { bytes } => write!(
                f,
                "the process has no memory left for {bytes} bytes outside the heap; raise \
                 its limits (ulimit -v, ulimit -d, vm.max_map_count, cgroup)"
            ),
            Self::TooLarge => f.write_str("one object can hold at most 2 GiB of bytes or 268 million items"),
            Self::BadOption(text) => f.write_str(text),
            Self::Broken(text) => write!(f, "the heap is broken: {text}; please report this"),
        }
    }
}

impl std::error::Error for Error {}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        Self::Memory { bytes: refused.bytes }
    }
}

impl From<KernelError> for Error {
    fn from(error: KernelError) -> Self {
        Self::Kernel(error)
    }
}
