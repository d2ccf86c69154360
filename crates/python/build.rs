//! Has the linker put the stand-ins of `src/calls.rs` between this crate and the interpreter.

use std::fs::read_to_string;

/// Where they are defined.
const CALLS: &str = "src/calls.rs";
/// The first version of Python that needs none.
const NEEDS_NONE: (u8, u8) = (3, 14);

fn main() {
    pyo3_build_config::use_pyo3_cfgs();
    println!("cargo::rerun-if-changed={CALLS}");
    let version = pyo3_build_config::get().version();
    if (version.major, version.minor) >= NEEDS_NONE {
        return;
    }
    let text = read_to_string(CALLS).unwrap_or_else(|error| panic!("{CALLS}: {error}"));
    let named = text.lines().filter_map(|line| line.split_once("fn ")?.1.split_once('('));
    for (name, _) in named.filter(|(name, _)| name.trim_start_matches('_').starts_with("Py")) {
        println!("cargo::rustc-link-arg-cdylib=-Wl,--wrap={name}");
    }
}
