//! The process's own memory, which may be refused: what is longer than a page, or as long as a user says, is asked for here.

use subduct_kernel::KernelError;

/// The process may not have this much more memory of its own, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// How much.
    pub bytes: u64,
}

impl From<Refused> for KernelError {
    fn from(refused: Refused) -> Self {
        let remedy =
            "the process has no memory left: raise its limits (ulimit -v, ulimit -d, vm.max_map_count, cgroup)";
        Self { call: "malloc", address: 0, length: refused.bytes as usize, errno: libc::ENOMEM, remedy }
    }
}

/// Makes room for `more` elements.
///
/// # Errors
/// [`Refused`]; the vector is as it was.
pub fn reserve<T>(vector: &mut Vec<T>, more: usize) -> Result<(), Refused> {
    let bytes = (more as u64).saturating_mul(size_of::<T>() as u64);
    vector.try_reserve(more).map_err(|_| Refused { bytes })
}

/// Adds an element.
///
/// # Errors
/// [`Refused`]; the vector is as it was.
pub fn push<T>(vector: &mut Vec<T>, element: T) -> Result<(), Refused> {
    if vector.len() == vector.capacity() {
        reserve(vector, 1)?;
    }
    vector.push(element);
    Ok(())
}

/// All of them, or as many as there is memory for; and whether it is all.
pub fn gather<T>(elements: impl Iterator<Item = T>) -> (Vec<T>, bool) {
    let mut gathered = Vec::new();
    for element in elements {
        if push(&mut gathered, element).is_err() {
            return (gathered, false);
        }
    }
    (gathered, true)
}
