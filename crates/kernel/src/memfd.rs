//! The file behind a heap: anonymous, sparse, of fixed size, sealed so that nobody can pull it from under a mapping.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use crate::{KernelError, Result, errno, inject};

/// Since Linux 6.3; the kernel logs its absence. Older kernels refuse it with EINVAL.
const MFD_NOEXEC_SEAL: u32 = 0x8;

/// A sealed memfd.
#[derive(Debug)]
pub struct Memfd {
    fd: OwnedFd,
    length: usize,
}

impl Memfd {
    /// Creates a sparse file of `length` bytes. `name` shows in `/proc/self/maps`. Neither growing nor shrinking is
    /// possible afterwards: a truncated file would turn every access behind its end into SIGBUS.
    ///
    /// # Errors
    /// `EMFILE`/`ENFILE` without free descriptors, `EINVAL` for a name of more than 249 bytes.
    pub fn new(name: &str, length: usize) -> Result<Self> {
        let fail = |call| {
            KernelError::last(call, 0, length, "check the descriptor limit (ulimit -n) and shared-memory limits")
        };
        let name = CString::new(name.replace('\0', " ")).unwrap_or_default();
        let base = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
        // [kernel.memfd.name] [kernel.memfd.noexec-seal]
        // SAFETY: the name is a valid C string for the length of the call.
        let mut fd = unsafe { libc::memfd_create(name.as_ptr(), base | MFD_NOEXEC_SEAL) };
        // [kernel.memfd.unknown-flag]
        if fd < 0 && errno() == libc::EINVAL {
            // SAFETY: as above.
            fd = unsafe { libc::memfd_create(name.as_ptr(), base) };
        }
        if fd < 0 {
            return Err(fail("memfd_create"));
        }
        // SAFETY: the descriptor was just created and is owned by nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: plain calls on our own descriptor.
        if unsafe { libc::ftruncate(fd.as_raw_fd(), length as libc::off_t) } != 0 {
            return Err(fail("ftruncate(memfd)"));
        }
        // [kernel.memfd.seal.size] [kernel.memfd.seal.seal] [kernel.memfd.seal.allows-holes] [kernel.memfd.truncated]
        let seals = libc::F_SEAL_GROW | libc::F_SEAL_SHRINK | libc::F_SEAL_SEAL;
        // SAFETY: plain calls on our own descriptor.
        if unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_ADD_SEALS, seals) } != 0 {
            return Err(fail("fcntl(F_ADD_SEALS)"));
        }
        Ok(Self { fd, length })
    }

    /// Size of the file in bytes, holes included.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// Makes `[offset, offset + length)` resident now, so that no later access can fail for want of memory. Zeroed
    /// where it was a hole, unchanged where it was resident. About 1.1 us a page.
    ///
    /// # Errors
    /// `ENOSPC`/`ENOMEM` when the machine or its limits have no memory left.
    pub fn populate(&self, offset: usize, length: usize) -> Result<()> {
        // [kernel.memfd.populate]
        self.allocate(0, offset, length, "fallocate(memfd)")
    }

    /// Gives the pages of a range back to the machine; it reads as zeros afterwards. About 0.7 us a page.
    ///
    /// # Errors
    /// None expected on a memfd that is not write-sealed.
    pub fn punch(&self, offset: usize, length: usize) -> Result<()> {
        // [kernel.memfd.punch] [kernel.memfd.read-hole]
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        self.allocate(mode, offset, length, "fallocate(FALLOC_FL_PUNCH_HOLE)")
    }

    fn allocate(&self, mode: i32, offset: usize, length: usize, call: &'static str) -> Result<()> {
        if mode == 0
            && let Some(errno) = inject::refusal(inject::Call::Populate)
        {
            return Err(KernelError { call, address: offset, length, errno, remedy: "refused by a test" });
        }
        loop {
            // SAFETY: fallocate on our own descriptor; mappings of the file stay valid.
            let rc = unsafe { libc::fallocate(self.raw(), mode, offset as libc::off_t, length as libc::off_t) };
            if rc == 0 {
                return Ok(());
            }
            if errno() != libc::EINTR {
                let remedy = "the machine or its memory limit (cgroup) has no memory left; lower the budget";
                return Err(KernelError::last(call, offset, length, remedy));
            }
        }
    }

    /// Bytes of memory the file holds right now, asked from the kernel (`st_blocks`), not counted by us.
    ///
    /// # Errors
    /// None expected on an open descriptor.
    pub fn resident_bytes(&self) -> Result<u64> {
        // SAFETY: an all-zero stat is a valid value to be overwritten.
        let mut stat: libc::stat = unsafe { std::mem::zeroed() };
        // [kernel.memfd.sparse]
        // SAFETY: `stat` outlives the call.
        if unsafe { libc::fstat(self.raw(), &raw mut stat) } != 0 {
            return Err(KernelError::last("fstat(memfd)", 0, 0, ""));
        }
        Ok(u64::try_from(stat.st_blocks).unwrap_or(0) * 512)
    }

    /// The descriptor's number, for tables that a fork handler closes.
    #[must_use]
    pub fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl AsFd for Memfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
