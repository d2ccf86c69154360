//! The files behind a heap: anonymous, sparse, sealed so that nobody can pull them from under a mapping.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use crate::error::{DESCRIPTORS, FORBIDDEN};
use crate::inject::{self, Call};
use crate::kept::{FileId, Kept};
use crate::{KernelError, Result, errno, is_forbidden};

/// Since Linux 6.3; the kernel logs its absence. Older kernels refuse it with EINVAL.
const MFD_NOEXEC_SEAL: u32 = 0x8;
/// Longest name in bytes: file names have 255, and the kernel puts `memfd:` in front.
pub const NAME_BYTES_MAX: usize = 249;
/// What is written at a time where `fallocate` is forbidden.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// What to do about a file that somebody else has closed.
const LOST: &str = "other code of this process has closed a descriptor of the heap's (os.closerange, or a close() too many): it can \
                    take no more memory; read out what is needed, item by item if to_python() finds no room, and have that code leave \
                    alone what it did not open";

/// A sealed memfd.
#[derive(Debug)]
pub struct Memfd {
    file: Kept,
    length: usize,
}

impl Memfd {
    /// Creates a sparse file of `length` bytes. `name` shows in `/proc/self/maps`. Neither growing nor shrinking is
    /// possible afterwards: a truncated file would turn every access behind its end into SIGBUS.
    ///
    /// # Errors
    /// `EMFILE`/`ENFILE` without free descriptors, `EINVAL` for a name of more than [`NAME_BYTES_MAX`] bytes, `EFBIG` beyond the limit
    /// on the size of files. That raises SIGXFSZ, too, which ends a process that does not ignore it; Python does.
    pub fn new(name: &str, length: usize) -> Result<Self> {
        let file = Self::create(name, length)?;
        file.resize(length)?;
        file.seal(libc::F_SEAL_GROW | libc::F_SEAL_SHRINK | libc::F_SEAL_SEAL)?;
        Ok(file)
    }

    /// Creates an empty file that grows up to `length` bytes as parts of it are made resident. What a process maps behind its end costs
    /// nothing when it locks all its memory (`mlockall`): the kernel would fill every hole. It never shrinks.
    ///
    /// # Errors
    /// As [`Memfd::new`]: the limit on the size of files must allow all of it.
    pub fn growing(name: &str, length: usize) -> Result<Self> {
        let file = Self::create(name, length)?;
        // The limit tells itself now, not when the memory is needed.
        file.resize(length)?;
        file.resize(0)?;
        file.seal(libc::F_SEAL_SHRINK | libc::F_SEAL_SEAL)?;
        Ok(file)
    }

    fn create(name: &str, length: usize) -> Result<Self> {
        if let Some(errno) = inject::refusal(Call::Create) {
            return Err(failed("memfd_create", 0, length, errno));
        }
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
            return Err(failed("memfd_create", 0, length, errno()));
        }
        // SAFETY: the descriptor was just created and is owned by nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { file: Kept::new(fd), length })
    }

    fn resize(&self, length: usize) -> Result<()> {
        // SAFETY: plain call on our own descriptor.
        let rc = unsafe { libc::ftruncate(self.raw(), length as libc::off_t) };
        if rc == 0 { Ok(()) } else { Err(failed("ftruncate(memfd)", 0, length, errno())) }
    }

    fn seal(&self, seals: i32) -> Result<()> {
        // [kernel.memfd.seal.size] [kernel.memfd.seal.seal] [kernel.memfd.seal.allows-holes] [kernel.memfd.truncated]
        // SAFETY: plain call on our own descriptor.
        let rc = unsafe { libc::fcntl(self.raw(), libc::F_ADD_SEALS, seals) };
        if rc == 0 { Ok(()) } else { Err(failed("fcntl(F_ADD_SEALS)", 0, self.length, errno())) }
    }

    /// Size of the file in bytes, holes included: of one that grows, the most.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// Makes `[offset, offset + length)` resident now, so that no later access can fail for want of memory. Zeroed
    /// where it was a hole, unchanged where it was resident. About 1.1 us a page. Where a filter forbids `fallocate`, zeros
    /// are written instead, also over what was resident.
    ///
    /// # Errors
    /// `ENOSPC`/`ENOMEM` when the machine or its limits have no memory left.
    pub fn populate(&self, offset: usize, length: usize) -> Result<()> {
        // [kernel.memfd.populate]
        match self.allocate(Call::Populate, 0, offset, length, "fallocate(memfd)") {
            Err(error) if is_forbidden(error.errno) => self.write_zeros(offset, length),
            result => result,
        }
    }

    fn write_zeros(&self, mut offset: usize, length: usize) -> Result<()> {
        let end = offset + length;
        while offset < end {
            let bytes = ZEROS.len().min(end - offset);
            let fd = self.ours("pwrite(memfd)", offset, end - offset)?.as_raw_fd();
            // SAFETY: the buffer is valid for its length; pwrite on our own descriptor.
            let wrote = unsafe { libc::pwrite(fd, ZEROS.as_ptr().cast(), bytes, offset as libc::off_t) };
            match usize::try_from(wrote) {
                Ok(wrote) => offset += wrote,
                Err(_) if errno() == libc::EINTR => {}
                Err(_) => return Err(failed("pwrite(memfd)", offset, end - offset, errno())),
            }
        }
        Ok(())
    }

    /// Gives the pages of a range back to the machine; it reads as zeros afterwards. About 0.7 us a page.
    ///
    /// # Errors
    /// None expected on a memfd that is not write-sealed, but for filters on system calls.
    pub fn punch(&self, offset: usize, length: usize) -> Result<()> {
        // [kernel.memfd.punch] [kernel.memfd.read-hole]
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        self.allocate(Call::Punch, mode, offset, length, "fallocate(FALLOC_FL_PUNCH_HOLE)")
    }

    fn allocate(&self, call: Call, mode: i32, offset: usize, length: usize, name: &'static str) -> Result<()> {
        if let Some(errno) = inject::refusal(call) {
            return Err(failed(name, offset, length, errno));
        }
        loop {
            let fd = self.ours(name, offset, length)?.as_raw_fd();
            // SAFETY: fallocate on our own descriptor; mappings of the file stay valid.
            let rc = unsafe { libc::fallocate(fd, mode, offset as libc::off_t, length as libc::off_t) };
            if rc == 0 {
                return Ok(());
            }
            if errno() != libc::EINTR {
                return Err(failed(name, offset, length, errno()));
            }
        }
    }

    /// Bytes of memory the file holds right now, asked from the kernel (`st_blocks`), not counted by us.
    ///
    /// # Errors
    /// None expected on an open descriptor.
    pub fn resident_bytes(&self) -> Result<u64> {
        if let Some(errno) = inject::refusal(Call::Stat) {
            return Err(failed("fstat(memfd)", 0, 0, errno));
        }
        // [kernel.memfd.sparse]
        let (id, blocks) = FileId::with_blocks(self.raw()).map_err(|errno| failed("fstat(memfd)", 0, 0, errno))?;
        if self.file.id().is_some_and(|ours| ours != id) {
            return Err(failed("fstat(memfd)", 0, 0, libc::EBADF));
        }
        Ok(blocks * 512)
    }

    /// The descriptor's number, whatever it leads to by now; -1 once it is closed.
    #[must_use]
    pub fn raw(&self) -> RawFd {
        self.file.raw()
    }

    /// The descriptor, for a call about a part of the file.
    ///
    /// # Errors
    /// `EBADF`: somebody else has closed it, and the number may lead to a file of theirs.
    pub fn ours(&self, call: &'static str, offset: usize, length: usize) -> Result<BorrowedFd<'_>> {
        self.file.get().map_err(|errno| failed(call, offset, length, errno))
    }

    /// Closes the descriptor before the file is dropped. Calls fail with `EBADF` from here on.
    pub fn close(&self) {
        self.file.close();
    }
}

fn failed(call: &'static str, offset: usize, length: usize, errno: i32) -> KernelError {
    let remedy = match errno {
        libc::EMFILE | libc::ENFILE => DESCRIPTORS,
        libc::EFBIG => "raise the limit on the size of files (ulimit -f)",
        libc::ENOSPC | libc::ENOMEM => {
            "the machine or its memory limit (cgroup) has no memory left: free some, or raise it"
        }
        libc::EBADF => LOST,
        _ if is_forbidden(errno) => FORBIDDEN,
        _ => "",
    };
    KernelError { call, address: offset, length, errno, remedy }
}

impl AsFd for Memfd {
    /// # Panics
    /// When it is closed.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.get().expect("the memfd is open")
    }
}
