//! How a measurement ends early.

use std::fmt;

use subduct_kernel::KernelError;

/// Result of a measurement or a step of it.
pub type Result<T> = std::result::Result<T, Error>;

/// Called between the steps of a measurement with what happens next; an empty text only asks whether to go on. False ends
/// the measurement with [`Error::Stopped`].
pub type Progress<'p> = dyn FnMut(&str) -> bool + 'p;

/// Why there are no figures.
#[derive(Debug)]
pub enum Error {
    /// The heap refused something.
    Heap(subduct_heap::Error),
    /// The kernel refused something.
    Kernel(KernelError),
    /// The caller wanted no more.
    Stopped,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Heap(error) => error.fmt(f),
            Self::Kernel(error) => error.fmt(f),
            Self::Stopped => f.write_str("the measurement was stopped"),
        }
    }
}

impl std::error::Error for Error {}

impl From<subduct_heap::Error> for Error {
    fn from(error: subduct_heap::Error) -> Self {
        Self::Heap(error)
    }
}

impl From<KernelError> for Error {
    fn from(error: KernelError) -> Self {
        Self::Kernel(error)
    }
}

/// Asks whether to go on.
///
/// # Errors
/// [`Error::Stopped`].
pub fn step(progress: &mut Progress<'_>, next: &str) -> Result<()> {
    if progress(next) { Ok(()) } else { Err(Error::Stopped) }
}
