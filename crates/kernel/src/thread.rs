//! Threads of this process, as the kernel sees them.

use std::fs::File;
use std::io::Read;

/// The kernel's number of the calling thread.
#[must_use]
pub fn thread_number() -> i32 {
    // SAFETY: gettid has no preconditions.
    unsafe { libc::gettid() }
}

/// A thread that was seen asleep: two that are equal are the same sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sleep {
    /// How often the thread has fallen asleep.
    falls: u64,
}

impl Sleep {
    /// That of a thread of this process; `None` when it is awake, or cannot be looked at.
    #[must_use]
    pub fn of(thread: i32) -> Option<Self> {
        let mut text = [0; 4096];
        let mut file = File::open(format!("/proc/self/task/{thread}/status")).ok()?;
        let length = file.read(&mut text).ok()?;
        Self::parse(std::str::from_utf8(&text[..length]).ok()?)
    }

    fn parse(status: &str) -> Option<Self> {
        let field = |name| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let is_asleep = field("State:")?.starts_with(['S', 'D']);
        let falls = field("voluntary_ctxt_switches:")?.parse().ok()?;
        is_asleep.then_some(Self { falls })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_thread_that_waits_is_asleep_and_this_one_is_not() {
        assert_eq!(Sleep::of(thread_number()), None);
        let (number, numbers) = mpsc::channel();
        let (wake, woken) = mpsc::channel::<()>();
        let waiting = std::thread::spawn(move || {
            number.send(thread_number()).unwrap();
            let _ = woken.recv();
        });
        let number = numbers.recv().unwrap();
        let asleep = std::iter::repeat_with(|| Sleep::of(number)).find_map(|sleep| sleep).unwrap();
        assert_eq!(Sleep::of(number), Some(asleep));
        drop(wake);
        waiting.join().unwrap();
        assert_eq!(Sleep::of(number), None);
    }

    #[test]
    fn a_status_without_its_fields_is_nobody_asleep() {
        assert_eq!(Sleep::parse("State:\tS (sleeping)\nvoluntary_ctxt_switches:\t7\n"), Some(Sleep { falls: 7 }));
        assert_eq!(Sleep::parse("State:\tR (running)\nvoluntary_ctxt_switches:\t7\n"), None);
        assert_eq!(Sleep::parse("State:\tS (sleeping)\n"), None);
    }
}
