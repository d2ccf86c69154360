//! Handlers of last resort, as Python's faulthandler is one: they take SIGBUS when they like, and on a fault put back what
//! they found and raise the signal again. A fault of a heap that they see costs a retry; a fault of somebody else's ends the
//! process, as it would have without a heap.

use std::io::Error;
use std::mem;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use subduct_heap::object::{Key, Scalar, dict};
use subduct_heap::{Delivery, Handle, Heap, Op, Options};

/// What the handler of last resort found.
static FOUND: AtomicPtr<libc::sigaction> = AtomicPtr::new(ptr::null_mut());
static REPORTS: AtomicU32 = AtomicU32::new(0);
/// Set in the process that is to die, to the way it does.
const DIE: &str = "SUBDUCT_TEST_TAKEOVER";

extern "C" fn last_resort(signal: i32) {
    REPORTS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: `take` stored a valid disposition before it installed this handler; both calls are async-signal-safe.
    unsafe {
        libc::sigaction(signal, FOUND.load(Ordering::Acquire), ptr::null_mut());
        libc::raise(signal);
    }
}

/// Calls the handler that it found, as libraries do that chain.
extern "C" fn chaining(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    REPORTS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: as in `last_resort`; a disposition with SA_SIGINFO holds a function of this signature.
    unsafe {
        let found = &*FOUND.load(Ordering::Acquire);
        if found.sa_flags & libc::SA_SIGINFO != 0 {
            let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) =
                mem::transmute(found.sa_sigaction);
            handler(signal, info, context);
        } else {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
}

/// Takes SIGBUS for a handler that chains.
fn chain() {
    take();
    // SAFETY: as in `take`.
    unsafe {
        let mut new: libc::sigaction = mem::zeroed();
        new.sa_sigaction = chaining as *const () as usize;
        new.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        assert_eq!(libc::sigaction(libc::SIGBUS, &raw const new, ptr::null_mut()), 0, "{}", Error::last_os_error());
    }
}

/// Takes SIGBUS away from whoever has it, once. Called by one thread, which is not inside the handler.
fn take() {
    // SAFETY: all-zero sigactions are valid values; all outlive the calls, and the handler lives for ever. What was found before
    // came from a box, and no handler looks at it.
    unsafe {
        let mut found: libc::sigaction = mem::zeroed();
        assert_eq!(libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut found), 0, "{}", Error::last_os_error());
        assert_ne!(found.sa_sigaction, last_resort as *const () as usize, "it would find itself");
        let before = FOUND.swap(Box::into_raw(Box::new(found)), Ordering::AcqRel);
        drop((!before.is_null()).then(|| Box::from_raw(before)));
        let mut new: libc::sigaction = mem::zeroed();
        new.sa_sigaction = last_resort as *const () as usize;
        new.sa_flags = libc::SA_NODEFER;
        assert_eq!(libc::sigaction(libc::SIGBUS, &raw const new, ptr::null_mut()), 0, "{}", Error::last_os_error());
    }
}

/// A heap in which every cycle moves something: before it does, it takes SIGBUS.
fn heap() -> (Heap, Handle) {
    let stress_bytes = Some(1 << 40);
    let heap = Heap::new(Options { delivery: Some(Delivery::Sigbus), stress_bytes, ..Options::default() }).unwrap();
    let records = heap.run(|op| dict::new(op, 0).and_then(|records| op.handle_new(records))).unwrap();
    heap.collect().unwrap();
    (heap, records)
}

/// Touches a page whose file ends before it.
fn touch_truncated_file() {
    // SAFETY: a mapping of our own; reading it raises SIGBUS, which is what it is for.
    unsafe {
        let file = libc::memfd_create(c"truncated".as_ptr(), 0);
        assert_eq!(libc::ftruncate(file, 4096), 0, "{}", Error::last_os_error());
        let page = libc::mmap(ptr::null_mut(), 4096, libc::PROT_READ, libc::MAP_SHARED, file, 0);
        assert_ne!(page, libc::MAP_FAILED, "{}", Error::last_os_error());
        assert_eq!(libc::ftruncate(file, 0), 0, "{}", Error::last_os_error());
        page.cast::<u8>().read_volatile();
    }
}

#[test]
fn a_fault_that_somebody_else_saw_first_is_tried_again_whenever_its_move_ended() {
    let (heap, records) = heap();
    for number in 0..20 {
        heap.run(|op| {
            // What is left of a fault whose move has ended when the signal is raised again: no heap is moving, and no fault
            // of a heap is served in between.
            take();
            // SAFETY: raise has no preconditions.
            assert_eq!(unsafe { libc::raise(libc::SIGBUS) }, 0);
            dict::insert(op, op.handle_get(records), &Key::Int(number), &Scalar::Int(number)).map(drop)
        })
        .unwrap();
    }
    assert_eq!(REPORTS.load(Ordering::Relaxed), 20);
    assert_eq!(heap.run(|op| dict::len(op, op.handle_get(records))).unwrap(), 20);
    heap.verify().unwrap();
}

/// `[inv.signal.open]` The kernel ends a process that has the signal of a fault blocked.
#[test]
fn a_thread_that_blocks_sigbus_again_and_again_reads_what_moves() {
    let options = Options { delivery: Some(Delivery::Sigbus), stress_bytes: Some(1 << 16), ..Options::default() };
    let heap = Heap::new(options).unwrap();
    let records = heap.run(|op| dict::new(op, 0).and_then(|records| op.handle_new(records))).unwrap();
    for number in 0..20_000 {
        // SAFETY: plain calls on a set of our own and this thread's mask.
        unsafe {
            let mut all: libc::sigset_t = mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, ptr::null_mut());
        }
        let text = Scalar::Str(b"more than fits into a slot");
        heap.run(|op| dict::insert(op, op.handle_get(records), &Key::Int(number), &text).map(drop)).unwrap();
        let read =
            |op: &mut Op<'_>| dict::get(op, op.handle_get(records), &Key::Int(number / 2)).map(|found| found.is_some());
        assert!(heap.run(read).unwrap(), "{number}");
    }
    heap.verify().unwrap();
    assert!(heap.stats().unwrap().moves > 0);
}

#[test]
fn a_foreign_fault_inside_an_operation_ends_the_process() {
    let name = "a_foreign_fault_inside_an_operation_ends_the_process";
    if let Some(way) = std::env::var_os(DIE) {
        let (heap, _) = heap();
        match way.to_str() {
            Some("taken" | "taken back") => take(),
            Some("chained" | "chained back") => chain(),
            _ => {}
        }
        if way.to_str().is_some_and(|way| way.ends_with("back")) {
            // The heap hands on to the handler of last resort, which hands back to the heap.
            let before = heap.stats().unwrap().moves;
            heap.collect().unwrap();
            assert_eq!(heap.stats().unwrap().moves, before + 1, "it did not take the signal back");
        }
        heap.run(|_| {
            touch_truncated_file();
            Ok(())
        })
        .unwrap();
        panic!("the fault was nobody's");
    }
    for way in ["alone", "taken", "taken back", "chained", "chained back"] {
        let this = std::env::current_exe().unwrap();
        // AddressSanitizer, where it is on, would report the fault and exit; and it would put locals elsewhere than on the stack,
        // whose height tells a signal that comes back from a new one.
        let died = Command::new(this)
            .args(["--exact", name])
            .envs([(DIE, way), ("ASAN_OPTIONS", "handle_sigbus=0:detect_stack_use_after_return=0")])
            .output()
            .unwrap();
        assert_eq!(died.status.signal(), Some(libc::SIGBUS), "{way}: {died:?}");
    }
}
