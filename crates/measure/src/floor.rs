//! What a page costs when nothing is done to it but what has to be: copying it, or mapping it.

use std::time::Instant;

use crate::error::Result;
use crate::twin::Twin;

/// Bytes that are copied to: more than the caches hold, all of them resident.
const COPY_BYTES: usize = 64 << 20;

/// Copies the pages that a twin's file holds, one at a time, to resident memory. Microseconds, and pages.
#[must_use]
pub fn copy_pages(twin: &Twin) -> (f64, u64) {
    let page = subduct_kernel::page_size();
    // Written once, so that its own first touches are not measured; from page to page, as the worker copies: processors that
    // copy a long string with one instruction take three times as long where the places within the page differ.
    let mut buffer = vec![1_u8; COPY_BYTES + page];
    let aligned = buffer.as_ptr().align_offset(page);
    let to = &mut buffer[aligned..aligned + COPY_BYTES];
    let mut pages = 0;
    let began = Instant::now();
    for (start, end) in twin.extents() {
        for at in (*start..*end).step_by(page) {
            let place = pages as usize * page % COPY_BYTES;
            twin.copy_out(at, &mut to[place..place + page]);
            pages += 1;
        }
    }
    let us = began.elapsed().as_secs_f64() * 1e6;
    std::hint::black_box(to);
    (us, pages)
}

/// Installs all pages of a twin as the worker does, `pages` at a time, with nothing to do to any. Microseconds, and pages.
///
/// # Errors
/// Those of flipping the twin and of undoing it.
pub fn continue_pages(twin: &Twin, pages: usize) -> Result<(f64, u64)> {
    twin.flip()?;
    let began = Instant::now();
    let installed = twin.install(pages);
    let us = began.elapsed().as_secs_f64() * 1e6;
    twin.unregister()?;
    twin.clear_behind()?;
    Ok((us, installed))
}
