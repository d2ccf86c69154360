//! The asymmetric fence: the rare side pays a system call, the frequent side pays nothing.

use crate::{KernelError, Result, inject};

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
    ask(REGISTER_PRIVATE_EXPEDITED, "membarrier(REGISTER)")
}

/// Every thread of the process that is running executes a full memory barrier before this returns; the others did
/// when they were switched out.
///
/// # Errors
/// `EPERM` or `ENOSYS` where a filter has come to forbid the call since [`register`]; `EPERM` without that.
pub fn fence_all_threads() -> Result<()> {
    ask(PRIVATE_EXPEDITED, "membarrier(PRIVATE_EXPEDITED)")
}

fn ask(command: i32, call: &'static str) -> Result<()> {
    let remedy = "allow the membarrier system call";
    if let Some(errno) = inject::refusal(inject::Call::Fence) {
        return Err(KernelError { call, address: 0, length: 0, errno, remedy });
    }
    if membarrier(command) != 0 {
        return Err(KernelError::last(call, 0, 0, remedy));
    }
    Ok(())
}
