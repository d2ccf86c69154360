//! The asymmetric fence: the rare side pays a system call, the frequent side pays nothing.

use crate::{KernelError, Result};

const REGISTER_PRIVATE_EXPEDITED: i32 = 1 << 4;
const PRIVATE_EXPEDITED: i32 = 1 << 3;

fn membarrier(command: i32) -> i64 {
    // SAFETY: membarrier takes integers only and touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) }
}

/// Announces that this process will use [`fence_all_threads`]. Unprivileged, once for the process, cheap to repeat.
///
/// # Errors
/// `ENOSYS` before Linux 4.14 or where the call is filtered.
pub fn register() -> Result<()> {
    // [kernel.membarrier.private-expedited] [kernel.membarrier.must-register]
    if membarrier(REGISTER_PRIVATE_EXPEDITED) != 0 {
        return Err(KernelError::last("membarrier(REGISTER)", 0, 0, "allow the membarrier system call"));
    }
    Ok(())
}

/// Every thread of the process that is running executes a full memory barrier before this returns; the others did
/// when they were switched out.
pub fn fence_all_threads() {
    let done = membarrier(PRIVATE_EXPEDITED);
    assert!(done == 0, "membarrier(PRIVATE_EXPEDITED) failed with errno {} after it was registered", crate::errno());
}
