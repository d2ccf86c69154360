//! Who handles a signal, by name.

use std::fs;

use serde_json::{Value, json};

use crate::signal::Disposition;

/// What happens in this process on a signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignalOwner {
    /// The default action.
    Default,
    /// Ignored; for a fault the kernel takes the default action all the same.
    Ignored,
    /// A handler.
    Handler {
        /// Where its code is.
        address: usize,
        /// The file its code was loaded from, as far as `/proc/self/maps` knows one.
        library: Option<String>,
    },
}

impl SignalOwner {
    /// Asks the kernel; changes nothing.
    #[must_use]
    pub fn of(signal: i32) -> Self {
        match Disposition::current(signal).map(|disposition| disposition.address()) {
            Ok(libc::SIG_DFL) | Err(_) => Self::Default,
            Ok(libc::SIG_IGN) => Self::Ignored,
            Ok(address) => Self::Handler { address, library: library_at(address) },
        }
    }

    pub(super) fn json(&self) -> Value {
        match self {
            Self::Default => json!({"disposition": "default", "address": null, "library": null}),
            Self::Ignored => json!({"disposition": "ignored", "address": null, "library": null}),
            Self::Handler { address, library } => {
                json!({"disposition": "handler", "address": address, "library": library})
            }
        }
    }
}

/// The file that is mapped at an address.
fn library_at(address: usize) -> Option<String> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().find_map(|line| {
        // start-end permissions offset device inode path
        let mut fields = line.split_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let range = usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
        if !range.contains(&address) {
            return None;
        }
        line.find('/').map(|path| line[path..].to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_found_in_the_file_it_came_from() {
        let library = library_at(library_at as *const () as usize).expect("test code comes from a file");
        assert!(library.contains("subduct_kernel"), "{library}");
        assert_eq!(library_at(1), None);
    }
}
