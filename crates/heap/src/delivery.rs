//! What a heap needs of the machine when it is made: how faults are delivered, found out by trying, and who serves them.

use std::sync::Arc;

use subduct_kernel::uffd::Userfaultfd;
use subduct_kernel::{KernelError, is_forbidden};

use crate::collector::monitor::Monitor;
use crate::error::Error;
use crate::fault::{chain, handler};
use crate::fork;
use crate::options::Delivery;
use crate::shared::Shared;
use crate::space::Windows;
use crate::sync::lock;

/// What a heap says that cannot be made: a call that is forbidden, or memory that may not be locked, is no accident of the moment.
pub(crate) fn unsupported(error: KernelError, is_smallest: bool) -> Error {
    if !is_forbidden(error.errno) && error.errno != libc::EAGAIN {
        return if is_smallest { error } else { or_less(error) }.into();
    }
    let remedy = error.remedy.to_owned();
    let error = KernelError { remedy: "", ..error };
    Error::Unsupported { what: format!("no heap can be made here: {error}"), remedy }
}

/// The same error, where a smaller budget would do as well.
fn or_less(error: KernelError) -> KernelError {
    let remedy = match error.errno {
        libc::ENOMEM => {
            "raise the limit on address space (ulimit -v) or data (ulimit -d), or vm.max_map_count, or use a smaller budget"
        }
        libc::EFBIG => "raise the limit on the size of files (ulimit -f), or use a smaller budget",
        _ => error.remedy,
    };
    KernelError { remedy, ..error }
}

/// What a heap says that can have no thread, or no pipe to wake it with.
pub(crate) fn no_thread(what: &str, error: &std::io::Error) -> Error {
    let remedy = match error.raw_os_error() {
        Some(libc::EAGAIN | libc::ENOMEM) => {
            "raise the limit on threads (ulimit -u, pids.max of the control group) or on address space (ulimit -v)"
        }
        Some(libc::EMFILE | libc::ENFILE) => "raise the limit on open files (ulimit -n, fs.file-max), or close some",
        Some(errno) if is_forbidden(errno) => {
            "a filter on system calls (a container's seccomp profile) forbids it: allow clone3, clone and pipe2"
        }
        _ => "see `subduct doctor`",
    };
    Error::Unsupported { what: format!("{what} cannot start: {error}"), remedy: remedy.to_owned() }
}

/// The delivery that works here, found by trying, and its descriptor: `sigbus`, and where that does not work `software`,
/// which always does.
pub(crate) fn choose_delivery(
    wanted: Option<Delivery>,
    windows: &Windows,
) -> Result<(Delivery, Option<Arc<Userfaultfd>>), Error> {
    let delivery = wanted.unwrap_or(Delivery::Sigbus);
    let Some(features) = delivery.features() else { return Ok((delivery, None)) };
    if wanted.is_none() && handler::is_full() {
        return Ok((Delivery::Software, None));
    }
    // Once it is installed the handler stays: it hands on what is not a heap's.
    let tried = windows.try_out(features).and_then(|userfaultfd| {
        if delivery == Delivery::Sigbus {
            chain::ensure_installed()?;
        }
        Ok(userfaultfd)
    });
    match tried {
        Ok(userfaultfd) => Ok((delivery, Some(Arc::new(userfaultfd)))),
        Err(_) if wanted.is_none() => Ok((Delivery::Software, None)),
        Err(error) => {
            let remedy = if error.remedy.is_empty() { "see `subduct doctor`" } else { error.remedy };
            let error = KernelError { remedy: "", ..error };
            Err(Error::Unsupported {
                what: format!("delivery \"{delivery}\" does not work here: {error}"),
                remedy: format!("{remedy}, or leave the choice to the heap (delivery=None)"),
            })
        }
    }
}

/// Lets the SIGBUS handler, or a thread, serve the heap, if its delivery needs that.
pub(crate) fn serve_faults(shared: &Arc<Shared>) -> Result<(), Error> {
    let Some(userfaultfd) = lock(&shared.userfaultfd).clone() else { return Ok(()) };
    userfaultfd.numbers().into_iter().for_each(fork::close_in_child);
    if shared.delivery == Delivery::Thread {
        let monitor =
            Monitor::start(shared, userfaultfd).map_err(|error| no_thread("the thread that serves faults", &error))?;
        *lock(&shared.monitor) = Some(monitor);
        return Ok(());
    }
    let view = shared.mover.space.windows.view();
    let end = view.address(shared.mover.space.geometry().total_bytes());
    // SAFETY: the mover lives in `shared`, which `Owner` holds until after `close`, which removes it.
    if unsafe { handler::add(view.address(0), end, &raw const *shared.mover) } {
        return Ok(());
    }
    Err(Error::Unsupported {
        what: "this process has 256 heaps with delivery \"sigbus\" already".to_owned(),
        remedy: "close some, or use delivery=\"software\" for this one".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(errno: i32) -> KernelError {
        KernelError { call: "mmap", address: 0, length: 0, errno, remedy: "" }
    }

    #[test]
    fn a_smaller_budget_is_no_advice_where_there_is_none() {
        for errno in [libc::ENOMEM, libc::EFBIG] {
            assert!(!unsupported(refused(errno), true).to_string().contains("smaller budget"));
            assert!(unsupported(refused(errno), false).to_string().ends_with("or use a smaller budget"));
        }
    }

    #[test]
    fn why_there_is_no_thread_says_what_to_do() {
        for (errno, part) in [
            (libc::EAGAIN, "ulimit -u"),
            (libc::EMFILE, "ulimit -n"),
            (libc::EPERM, "allow clone3, clone and pipe2"),
            (libc::EINVAL, "subduct doctor"),
        ] {
            let said = no_thread("the collector's thread", &std::io::Error::from_raw_os_error(errno)).to_string();
            assert!(said.starts_with("the collector's thread cannot start") && said.contains(part), "{said}");
            assert_eq!(said.contains("ulimit -u"), errno == libc::EAGAIN, "{said}");
        }
    }
}
