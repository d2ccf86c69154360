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
pub(crate) fn unsupported(error: KernelError) -> Error {
    if !is_forbidden(error.errno) && error.errno != libc::EAGAIN {
        return error.into();
    }
    let remedy = error.remedy.to_owned();
    let error = KernelError { remedy: "", ..error };
    Error::Unsupported { what: format!("no heap can be made here: {error}"), remedy }
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
        let monitor = Monitor::start(shared, userfaultfd).map_err(|error| Error::Unsupported {
            what: format!("the thread that serves faults cannot start: {error}"),
            remedy: "raise the limits on threads and open files (ulimit -u, ulimit -n)".to_owned(),
        })?;
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
