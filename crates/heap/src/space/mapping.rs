//! The system calls about a heap's memory: what makes its pages resident, takes them from the view, and brings them back.
//!
//! The one seam between the heap and the kernel. In a simulation (`crate::simulator`) another kernel stands behind it.

use std::os::fd::{AsFd, RawFd};

use subduct_kernel::memfd::Memfd;
use subduct_kernel::memory::Reservation;
use subduct_kernel::uffd::{self, Continued, Userfaultfd};
use subduct_kernel::{KernelError, Result, is_forbidden};

use super::layout::Window;
use super::windows::Windows;

/// Returns from a call with what the simulated kernel says, in a simulation.
macro_rules! simulated {
    ($windows:ident, $pages:ident => $answer:expr) => {
        #[cfg(feature = "simulate")]
        if let Some($pages) = &$windows.simulated {
            return $answer;
        }
    };
}

/// What to do where `UFFDIO_CONTINUE` is refused although all before it worked.
fn unserved(errno: i32) -> &'static str {
    match errno {
        // What userfaultfd answers to an operation that it does not know.
        libc::EINVAL => "minor faults on shared memory need Linux 5.14; delivery=\"software\" works without",
        libc::ENOMEM => {
            "the machine, or the limit of its control group, has no memory left; delivery=\"software\" works without"
        }
        _ if is_forbidden(errno) => {
            "a filter on system calls (a container's seccomp profile) or a security module forbids it: allow this ioctl; \
             delivery=\"software\" works without"
        }
        _ => "delivery=\"software\" works without it",
    }
}

impl Windows {
    /// Does on one page everything that a concurrent move through userfaultfd does, and returns a descriptor for doing it
    /// again. Trying is the only way to know: distributions change kernels, and containers filter calls.
    ///
    /// # Errors
    /// The first call that does not work here.
    pub fn try_out(&self, features: u64) -> Result<Userfaultfd> {
        simulated!(self, _pages => Ok(Userfaultfd::detached()));
        let page = subduct_kernel::page_size();
        let userfaultfd = Userfaultfd::new(features)?;
        let file = Memfd::new("subduct-try", page)?;
        let range = Reservation::new(2 * page, page)?;
        let (view, shadow) = (range.base(), range.base() + page);
        range.map_file(view, page, file.as_fd(), 0)?;
        file.populate(0, page)?;
        range.move_page_tables(view, shadow, page)?;
        userfaultfd.register(view, page)?;
        let continued = uffd::continue_pages(userfaultfd.raw(), view, page);
        userfaultfd.unregister(view, page)?;
        if continued.errno == 0 {
            return Ok(userfaultfd);
        }
        Err(KernelError {
            call: "ioctl(UFFDIO_CONTINUE)",
            address: view,
            length: page,
            errno: continued.errno,
            remedy: unserved(continued.errno),
        })
    }

    /// A descriptor like that of [`Windows::try_out`], in place of one that was closed.
    ///
    /// # Errors
    /// As [`Userfaultfd::new`].
    pub fn open_again(&self, features: u64) -> Result<Userfaultfd> {
        simulated!(self, pages => {
            pages.disarm_all();
            Ok(Userfaultfd::detached())
        });
        Userfaultfd::new(features)
    }

    /// Makes a range of the file resident.
    ///
    /// # Errors
    /// As [`Memfd::populate`].
    pub fn populate(&self, start: u64, end: u64) -> Result<()> {
        simulated!(self, pages => pages.populate(start, end));
        let (memfd, offset) = self.part(start, end);
        memfd.populate(offset, (end - start) as usize)
    }

    /// Gives the pages of a range back to the machine, in one of two ways.
    ///
    /// # Errors
    /// As [`Memfd::punch`], when the kernel refuses both.
    pub fn punch(&self, start: u64, end: u64) -> Result<()> {
        #[cfg(feature = "simulate")]
        if let Some(pages) = &self.simulated {
            pages.punch(start, end);
        }
        let length = (end - start) as usize;
        let (memfd, offset) = self.part(start, end);
        memfd.punch(offset, length).or_else(|refused| {
            // [kernel.memfd.remove]
            let removed = self.reservation.remove_pages(self.view().address(start), length);
            removed.map_err(|_| refused)
        })
    }

    /// Unlocks the slots window, if the process has locked its memory: the kernel keeps count of locked pages, and loses it
    /// where it moves page tables. `[kernel.accounting.locked-memory]`
    pub fn unlock_view(&self) {
        #[cfg(feature = "simulate")]
        if self.simulated.is_some() {
            return;
        }
        self.reservation.unlock(self.view().address(0), self.geometry().window_bytes(Window::Slots) as usize);
    }

    /// Moves the page tables of the slots window from the view to the shadow.
    ///
    /// # Errors
    /// As [`Reservation::move_page_tables`].
    pub fn move_view_to_shadow(&self) -> Result<()> {
        let length = self.geometry().window_bytes(Window::Slots);
        simulated!(self, pages => pages.move_away(0, length));
        self.reservation.move_page_tables(self.view().address(0), self.shadow().address(0), length as usize)
    }

    /// Arms a range of the view: from here on an access to a page that is not mapped there is a fault of ours.
    ///
    /// # Errors
    /// As [`Userfaultfd::register`].
    pub fn arm(&self, userfaultfd: &Userfaultfd, start: u64, end: u64) -> Result<()> {
        simulated!(self, pages => pages.arm(start, end));
        userfaultfd.register(self.view().address(start), (end - start) as usize)
    }

    /// Ends the arming of a range; without effect on one that is not armed.
    ///
    /// # Errors
    /// As [`Userfaultfd::unregister`].
    pub fn disarm(&self, userfaultfd: &Userfaultfd, start: u64, end: u64) -> Result<()> {
        simulated!(self, pages => pages.disarm(start, end));
        userfaultfd.unregister(self.view().address(start), (end - start) as usize)
    }

    /// Maps pages of the file into an armed range of the view. Fault path.
    #[must_use]
    pub fn install(&self, userfaultfd: RawFd, start: u64, end: u64) -> Continued {
        simulated!(self, pages => pages.install(start, end));
        uffd::continue_pages(userfaultfd, self.view().address(start), (end - start) as usize)
    }

    /// Ends the arming of pages that are ready but cannot be installed, in one of two ways; 0, or an errno. Fault path.
    #[must_use]
    pub fn expose(&self, userfaultfd: RawFd, start: u64, end: u64) -> i32 {
        simulated!(self, pages => {
            pages.expose(start, end);
            0
        });
        let (address, length) = (self.view().address(start), (end - start) as usize);
        if uffd::unregister_pages(userfaultfd, address, length) == 0 {
            return 0;
        }
        // [kernel.mmap.fixed-replaces]
        let (memfd, offset) = self.part(start, end);
        match memfd.ours("mmap(memfd)", offset, length) {
            Ok(file) => self.reservation.map_again(address, length, file, offset),
            Err(lost) => lost.errno,
        }
    }

    /// Opens the shadow of a range of the leaves window, for building destinations.
    ///
    /// # Errors
    /// As `Windows::map`.
    pub fn open_shadow(&self, start: u64, end: u64) -> Result<()> {
        simulated!(self, _pages => Ok(()));
        self.map(self.shadow(), start, end)
    }

    /// Turns a range of the shadow back into a reservation.
    ///
    /// # Errors
    /// As [`Reservation::retire`].
    pub fn close_shadow(&self, start: u64, end: u64) -> Result<()> {
        simulated!(self, _pages => Ok(()));
        self.reservation.retire(self.shadow().address(start), (end - start) as usize)
    }

    /// Fills the page-table entries of a resident range of the view. Only a gain of time: without, each page is a fault.
    pub fn fill_view_entries(&self, start: u64, end: u64) {
        simulated!(self, pages => pages.fill_entries(start, end));
        let _ = self.reservation.fill_entries(self.view().address(start), (end - start) as usize);
    }

    /// The same for a range of the shadow.
    pub fn fill_shadow_entries(&self, start: u64, end: u64) {
        #[cfg(feature = "simulate")]
        if self.simulated.is_some() {
            return;
        }
        let _ = self.reservation.fill_entries(self.shadow().address(start), (end - start) as usize);
    }

    /// Drops the page-table entries of a range of the view; it stays mapped, the file keeps its pages.
    ///
    /// # Errors
    /// As [`Reservation::drop_entries`].
    pub fn drop_view_entries(&self, start: u64, end: u64) -> Result<()> {
        simulated!(self, pages => {
            pages.drop_entries(start, end);
            Ok(())
        });
        self.reservation.drop_entries(self.view().address(start), (end - start) as usize)
    }

    /// The same for a range of the shadow.
    ///
    /// # Errors
    /// As [`Reservation::drop_entries`].
    pub fn drop_shadow_entries(&self, start: u64, end: u64) -> Result<()> {
        simulated!(self, _pages => Ok(()));
        self.reservation.drop_entries(self.shadow().address(start), (end - start) as usize)
    }

    /// Whether an access to the view goes through, in a simulation; on a real kernel the access itself finds out.
    #[cfg(feature = "simulate")]
    #[must_use]
    pub fn goes_through(&self, offset: u64) -> bool {
        use crate::simulator::kernel::Access;
        self.simulated.as_ref().is_none_or(|pages| pages.access(offset) == Access::Through)
    }

    /// In a simulation, lets the kernel forget a page-table entry.
    #[cfg(feature = "simulate")]
    pub fn forget_one_entry(&self) {
        if let Some(pages) = &self.simulated {
            pages.forget_one();
        }
    }
}
