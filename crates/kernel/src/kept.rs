//! Descriptors that other code of the process may close, and whose numbers then lead to files of its own: a daemon's `closerange`, a
//! second `close` in another library. A number is used and closed only while it leads to the file that was opened. Between the look
//! and the call somebody may still close it: that is two instructions, not the life of a program.

use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};

use crate::errno;

/// What tells a file from others for as long as it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    /// `st_dev`.
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
}

impl FileId {
    /// That of the file that is open under a number. Async-signal-safe.
    ///
    /// # Errors
    /// The errno of `fstat`: `EBADF` where nothing is open, another where a filter on system calls forbids to look.
    pub fn of(fd: RawFd) -> Result<Self, i32> {
        Self::with_blocks(fd).map(|(id, _)| id)
    }

    /// As [`FileId::of`], with the blocks of 512 bytes that the file holds.
    ///
    /// # Errors
    /// As [`FileId::of`].
    pub fn with_blocks(fd: RawFd) -> Result<(Self, u64), i32> {
        // SAFETY: an all-zero stat is a valid value to be overwritten.
        let mut stat: libc::stat = unsafe { std::mem::zeroed() };
        // SAFETY: `stat` outlives the call.
        if unsafe { libc::fstat(fd, &raw mut stat) } != 0 {
            return Err(errno());
        }
        let id = Self { device: stat.st_dev, inode: stat.st_ino };
        Ok((id, u64::try_from(stat.st_blocks).unwrap_or(0)))
    }

    /// Whether a number still leads to the file. Yes where that cannot be known.
    #[must_use]
    pub fn is_at(this: Option<Self>, fd: RawFd) -> bool {
        match Self::of(fd) {
            Ok(found) => this.is_none_or(|this| this == found),
            Err(errno) => errno != libc::EBADF,
        }
    }
}

/// A descriptor of ours.
#[derive(Debug)]
pub struct Kept {
    /// -1 once it is closed.
    fd: AtomicI32,
    /// `None` where nobody may look.
    id: Option<FileId>,
}

impl Kept {
    /// Takes a descriptor over.
    #[must_use]
    pub fn new(fd: OwnedFd) -> Self {
        let id = FileId::of(fd.as_raw_fd()).ok();
        Self { fd: AtomicI32::new(fd.into_raw_fd()), id }
    }

    /// The number, whatever it leads to by now; -1 once it is closed.
    #[must_use]
    pub fn raw(&self) -> RawFd {
        // Relaxed: changes once, when nobody uses the file any more.
        self.fd.load(Ordering::Relaxed)
    }

    /// What tells the file from others.
    #[must_use]
    pub fn id(&self) -> Option<FileId> {
        self.id
    }

    /// The descriptor, if its number still leads to its file.
    ///
    /// # Errors
    /// `EBADF`: somebody else has closed it, or it was closed here.
    pub fn get(&self) -> Result<BorrowedFd<'_>, i32> {
        let fd = self.raw();
        if fd < 0 || !FileId::is_at(self.id, fd) {
            return Err(libc::EBADF);
        }
        // SAFETY: open, and ours; who closes it behind our back breaks Rust's rules, and was looked for.
        Ok(unsafe { BorrowedFd::borrow_raw(fd) })
    }

    /// Reads at most as many bytes as there is room for.
    ///
    /// # Errors
    /// The errno of `read`, `EBADF` where the file is lost.
    pub fn read(&self, into: &mut [u8]) -> Result<usize, i32> {
        let fd = self.get()?.as_raw_fd();
        // SAFETY: the buffer is valid for its length.
        let read = unsafe { libc::read(fd, into.as_mut_ptr().cast(), into.len()) };
        usize::try_from(read).map_err(|_| errno())
    }

    /// Writes as many of the bytes as the file takes at once.
    ///
    /// # Errors
    /// The errno of `write`, `EBADF` where the file is lost.
    pub fn write(&self, bytes: &[u8]) -> Result<usize, i32> {
        let fd = self.get()?.as_raw_fd();
        // SAFETY: the buffer is valid for its length.
        let written = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
        usize::try_from(written).map_err(|_| errno())
    }

    /// Closes the descriptor before it is dropped, unless its number leads to somebody else's file by now.
    pub fn close(&self) {
        let fd = self.fd.swap(-1, Ordering::Relaxed);
        if fd >= 0 && FileId::is_at(self.id, fd) {
            // SAFETY: ours, and taken out of the field: nobody closes it again.
            unsafe { libc::close(fd) };
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.close();
    }
}

/// A descriptor table that only the calling thread has: what is open in it stays open, whatever other threads close.
#[derive(Debug)]
pub struct OwnTable {
    numbers: Vec<RawFd>,
}

impl OwnTable {
    /// Leaves the table that the threads of the process share for one of its own, in which only `numbers` are open
    /// (`close_range(CLOSE_RANGE_UNSHARE)`, Linux 5.9). For a thread that needs no other descriptor until it ends.
    ///
    /// # Errors
    /// The errno of `close_range`: `ENOMEM`, or what a filter on system calls says; the thread should end then.
    pub fn with(mut numbers: Vec<RawFd>) -> Result<Self, i32> {
        numbers.sort_unstable();
        // From the end, so that what is behind the last is not even copied.
        let mut end = u32::MAX;
        let mut flags = libc::CLOSE_RANGE_UNSHARE;
        for number in numbers.iter().rev().map(|number| u32::try_from(*number).unwrap_or(u32::MAX)).chain([u32::MAX]) {
            let first = number.wrapping_add(1);
            if first <= end {
                // SAFETY: closes descriptors of this thread's own table, which nobody else uses.
                if unsafe { libc::syscall(libc::SYS_close_range, first, end, flags) } != 0 {
                    return Err(errno());
                }
                flags = 0;
            }
            end = number.wrapping_sub(1);
        }
        Ok(Self { numbers })
    }
}

impl Drop for OwnTable {
    /// A thread's table goes some time after the thread was waited for.
    fn drop(&mut self) {
        for number in &self.numbers {
            // SAFETY: of the table that this thread alone has.
            unsafe { libc::close(*number) };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, PipeWriter, Read, Write};

    use super::*;

    /// A pipe of which somebody else has closed the end that is kept, and given its number to `other`.
    fn lost_to(other: &OwnedFd, end: impl FnOnce(PipeReader, PipeWriter) -> OwnedFd) -> Kept {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let kept = Kept::new(end(reader, writer));
        assert!(kept.get().is_ok());
        // SAFETY: what a careless library does: it closes a number of ours and opens a file of its own there.
        assert_eq!(unsafe { libc::dup2(other.as_raw_fd(), kept.raw()) }, kept.raw());
        kept
    }

    fn close(fd: RawFd) {
        // SAFETY: the number that the test gave to the other file.
        assert_eq!(unsafe { libc::close(fd) }, 0);
    }

    #[test]
    fn another_file_under_the_number_is_neither_read_written_nor_closed() {
        let (mut reader, mut writer) = std::io::pipe().expect("a pipe");
        writer.write_all(b"theirs").expect("room in a pipe");
        let other = reader.try_clone().expect("a number").into();
        let kept = lost_to(&other, |reader, _| reader.into());
        let number = kept.raw();
        assert_eq!(kept.read(&mut [0; 4]), Err(libc::EBADF));
        drop(kept);
        assert!(FileId::of(number).is_ok(), "closed for somebody else");
        close(number);
        let mut found = [0; 6];
        reader.read_exact(&mut found).expect("all six");
        assert_eq!(&found, b"theirs");
    }

    #[test]
    fn nothing_is_written_to_another_file_under_the_number() {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let other = writer.into();
        let kept = lost_to(&other, |_, writer| writer.into());
        assert_eq!(kept.write(b"ours"), Err(libc::EBADF));
        close(kept.raw());
        assert_eq!(kept.get().err(), Some(libc::EBADF), "nothing is open there");
        drop(kept);
        drop(other);
        assert_eq!(std::io::read_to_string(reader).expect("its end"), "");
    }

    #[test]
    fn what_is_in_a_table_of_its_own_stays_open() {
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        let (other, their_writer) = std::io::pipe().expect("a pipe");
        let (begun, is_begun) = std::sync::mpsc::channel();
        let (end, ends) = std::sync::mpsc::channel::<()>();
        let number = writer.as_raw_fd();
        let keeper = std::thread::spawn(move || {
            let table = OwnTable::with(vec![number]).expect("close_range");
            begun.send(FileId::of(number).is_ok() && FileId::of(0).is_err()).expect("somebody waits");
            let _ = ends.recv();
            drop(table);
        });
        assert!(is_begun.recv().expect("it begins"));
        // The last number of their pipe: nobody else holds it.
        drop(their_writer);
        assert_eq!(std::io::read_to_string(other).expect("its end"), "");
        drop(writer);
        assert!(FileId::of(number).is_err(), "closed for everybody but one");
        let wait = |milliseconds| {
            let mut pipe = libc::pollfd { fd: reader.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one valid entry.
            unsafe { libc::poll(&raw mut pipe, 1, milliseconds) }
        };
        assert_eq!(wait(0), 0, "the pipe has a writer");
        drop(end);
        keeper.join().expect("it ends");
        assert_eq!(wait(-1), 1);
        assert_eq!(reader.read(&mut [0; 1]).expect("its end"), 0);
    }

    #[test]
    fn what_is_ours_is_used_and_closed() {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let (reader, writer) = (Kept::new(reader.into()), Kept::new(writer.into()));
        assert_eq!(writer.write(b"ours"), Ok(4));
        let mut found = [0; 8];
        assert_eq!((reader.read(&mut found), &found[..4]), (Ok(4), &b"ours"[..]));
        writer.close();
        assert_eq!((writer.raw(), writer.write(b"more")), (-1, Err(libc::EBADF)));
        assert_eq!(reader.read(&mut found), Ok(0), "nobody can write any more");
    }
}
