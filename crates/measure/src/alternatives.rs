//! Other ways to take a heap's pages away from its threads, done to a twin of its window with the same threads parked.

use std::time::Instant;

use serde_json::{Map, Value, json};
use subduct_heap::Heap;
use subduct_heap::compact::mover::WORKER_CLEAN_PAGES;
use subduct_kernel::{KernelError, page_size};

use crate::error::{Progress, Result, step};
use crate::floor;
use crate::twin::Twin;

/// Pages that the worker installs with one call.
const INSTALLED_PAGES: usize = WORKER_CLEAN_PAGES as usize;

/// One way: what it is called, how it is done, and how the twin's pages come back.
struct Way {
    name: &'static str,
    run: fn(&Twin) -> Result<()>,
    undo: fn(&Twin) -> Result<()>,
}

const WAYS: [Way; 5] = [
    Way {
        name: "move_2mib_aligned",
        run: |twin| twin.move_to(twin.shadow() + (2 << 20)),
        undo: |twin| twin.clear_behind().and_then(|()| twin.populate()),
    },
    Way {
        name: "misaligned_move",
        run: |twin| twin.move_to(twin.shadow() + page_size()),
        undo: |twin| twin.clear_behind().and_then(|()| twin.populate()),
    },
    Way {
        name: "register_first_move",
        run: |twin| twin.register().and_then(|()| twin.move_to(twin.shadow())),
        undo: |twin| twin.unregister().and_then(|()| twin.clear_behind()).and_then(|()| twin.populate()),
    },
    Way { name: "madv_dontneed", run: Twin::drop_entries, undo: Twin::populate },
    Way { name: "map_fixed_over", run: Twin::map, undo: Twin::populate },
];

/// Does each way `repetitions` times. Microseconds by name; an object with `unavailable` for what this machine has no memory for.
///
/// # Errors
/// The first system call that fails; [`crate::Error::Stopped`].
pub fn measure(heap: &Heap, twin: &Twin, repetitions: usize, progress: &mut Progress<'_>) -> Result<Value> {
    let mut found = Map::new();
    for way in WAYS {
        let mut samples = Vec::new();
        for _ in 0..repetitions {
            step(progress, "")?;
            let (result, us) = heap.parked(|| timed(|| (way.run)(twin)))?.0;
            result?;
            (way.undo)(twin)?;
            samples.push(us);
        }
        found.insert(way.name.to_owned(), json!(samples));
    }
    let mut copies = Vec::new();
    let mut installs = Vec::new();
    for _ in 0..repetitions {
        step(progress, "")?;
        copies.push(heap.parked(|| floor::copy_pages(twin))?.0.0);
        installs.push(heap.parked(|| floor::continue_pages(twin, INSTALLED_PAGES))?.0?.0);
    }
    found.insert("memcpy".to_owned(), json!(copies));
    found.insert("empty_continue".to_owned(), json!(installs));
    found.insert("fork".to_owned(), forks(heap, twin.resident_bytes(), repetitions, progress)?);
    Ok(Value::Object(found))
}

fn timed<T>(f: impl FnOnce() -> T) -> (T, f64) {
    let began = Instant::now();
    let result = f();
    (result, began.elapsed().as_secs_f64() * 1e6)
}

/// Forks with as much ordinary private memory as the heap holds, as a heap without a file of its own would have: microseconds
/// in which the parent stands still.
fn forks(heap: &Heap, bytes: usize, repetitions: usize, progress: &mut Progress<'_>) -> Result<Value> {
    let available = available_bytes();
    // A quarter more, so that the machine does not begin to reclaim.
    if available < bytes / 4 * 5 {
        return Ok(json!({
            "unavailable": format!("needs {bytes} bytes of memory once more, the machine has {available}"),
        }));
    }
    let mut copy = vec![0_u8; bytes];
    for chunk in copy.chunks_mut(64 << 20) {
        step(progress, "")?;
        chunk.iter_mut().step_by(page_size()).for_each(|byte| *byte = 1);
    }
    let mut samples = Vec::new();
    for _ in 0..repetitions {
        step(progress, "")?;
        let (result, us) = heap.parked(|| timed(fork_once))?.0;
        reap(result?)?;
        samples.push(us);
    }
    std::hint::black_box(&copy);
    Ok(json!(samples))
}

/// A child that ends at once; its process number.
fn fork_once() -> Result<libc::pid_t> {
    // SAFETY: the child calls nothing but `_exit`, which is async-signal-safe.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: ends the child, without running anything of the parent's.
        unsafe { libc::_exit(0) };
    }
    if child < 0 {
        return Err(KernelError::last("fork", 0, 0, "the machine has no memory or processes left").into());
    }
    Ok(child)
}

fn reap(child: libc::pid_t) -> Result<()> {
    // SAFETY: waits for a child of our own; the status is not wanted.
    while unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) } < 0 {
        let error = KernelError::last("waitpid", 0, 0, "");
        if error.errno != libc::EINTR {
            return Err(error.into());
        }
    }
    Ok(())
}

/// Memory that can be had without taking any from others; 0 where the kernel does not say.
fn available_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<usize>().ok()).unwrap_or(0) * 1024
}
