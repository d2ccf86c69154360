//! What this machine allows, found out by trying: every capability is used once, on throw-away objects.
//!
//! Nothing is left behind: descriptors are closed, mappings unmapped, signal dispositions untouched. The one real fault
//! is taken in a forked child, because it needs a SIGBUS handler, and this process may have threads that rely on theirs.

use serde_json::{Value, json};

use crate::memfd::Memfd;
use crate::{membarrier, page_size, uffd};

mod attempt;
mod fault;
pub(crate) mod machine;
mod moving;
mod owner;
mod registration;

pub use attempt::Attempt;
pub use machine::Machine;
pub use moving::MoveCost;
pub use owner::SignalOwner;

/// Names of userfaultfd's features, by bit.
const FEATURE_NAMES: [&str; 17] = [
    "PAGEFAULT_FLAG_WP",
    "EVENT_FORK",
    "EVENT_REMAP",
    "EVENT_REMOVE",
    "MISSING_HUGETLBFS",
    "MISSING_SHMEM",
    "EVENT_UNMAP",
    "SIGBUS",
    "THREAD_ID",
    "MINOR_HUGETLBFS",
    "MINOR_SHMEM",
    "EXACT_ADDRESS",
    "WP_HUGETLBFS_SHMEM",
    "WP_UNPOPULATED",
    "POISON",
    "WP_ASYNC",
    "MOVE",
];

/// Everything that was found.
#[derive(Debug, Clone)]
pub struct Report {
    /// Figures and limits that need no trying.
    pub machine: Machine,
    /// A sealed memfd.
    pub memfd: Attempt,
    /// `membarrier(PRIVATE_EXPEDITED)`.
    pub membarrier: Attempt,
    /// userfaultfd that also serves faults taken inside the kernel; subduct does not need it.
    pub userfaultfd_full: Attempt,
    /// userfaultfd with `UFFD_USER_MODE_ONLY`: what subduct uses.
    pub userfaultfd_user_mode: Attempt,
    /// Opening `/dev/userfaultfd`; subduct does not need it.
    pub userfaultfd_device: Attempt,
    /// Features offered to an unprivileged userfaultfd, one bit each.
    pub features: Option<u64>,
    /// Registering shared memory for missing and minor faults, and mapping a page with `UFFDIO_CONTINUE`.
    pub register_continue: Attempt,
    /// Real faults, minor and missing, served in a SIGBUS handler.
    pub sigbus_fault: Attempt,
    /// `mremap(MREMAP_DONTUNMAP)` of shared memory, and what both ranges hold afterwards.
    pub dontunmap_shared: Attempt,
    /// What moving 1 GiB costs, where it works.
    pub move_cost: Option<MoveCost>,
    /// Who handles SIGBUS in this process.
    pub sigbus_owner: SignalOwner,
}

/// Tries everything. Takes about half a second and 64 MiB, which it gives back; forks once.
#[must_use]
pub fn report() -> Report {
    let (dontunmap_shared, move_cost) = moving::attempt();
    Report {
        machine: Machine::read(),
        memfd: Attempt::of(Memfd::new("subduct-probe", page_size())),
        membarrier: try_membarrier(),
        userfaultfd_full: registration::open_full(),
        userfaultfd_user_mode: Attempt::of(uffd::features()),
        userfaultfd_device: registration::open_device(),
        features: uffd::features().ok(),
        register_continue: registration::attempt(),
        sigbus_fault: fault::attempt(),
        dontunmap_shared,
        move_cost,
        sigbus_owner: SignalOwner::of(libc::SIGBUS),
    }
}

/// [`report`] as one JSON object: an attempt is `{"works", "call", "errno", "problem"}`, sizes are in bytes, times in
/// microseconds, and what could not be read is null.
#[must_use]
pub fn report_json() -> String {
    report().json().to_string()
}

impl Report {
    /// What keeps heaps from moving objects under running threads, by the name the JSON has for it; empty where nothing
    /// does.
    #[must_use]
    pub fn missing_for_sigbus(&self) -> Vec<&'static str> {
        let needed = [
            ("memfd", &self.memfd),
            ("membarrier", &self.membarrier),
            ("userfaultfd_user_mode", &self.userfaultfd_user_mode),
            ("register_continue", &self.register_continue),
            ("sigbus_fault", &self.sigbus_fault),
            ("dontunmap_shared", &self.dontunmap_shared),
        ];
        needed.into_iter().filter(|(_, attempt)| !attempt.works()).map(|(name, _)| name).collect()
    }

    /// The delivery that heaps use here unless told otherwise: `sigbus`, else `software`, else none.
    #[must_use]
    pub fn delivery(&self) -> Option<&'static str> {
        if self.missing_for_sigbus().is_empty() {
            Some("sigbus")
        } else if self.memfd.works() && self.membarrier.works() {
            Some("software")
        } else {
            None
        }
    }

    fn json(&self) -> Value {
        let names: Vec<&str> = FEATURE_NAMES
            .iter()
            .enumerate()
            .filter(|(bit, _)| self.features.is_some_and(|features| features >> bit & 1 == 1))
            .map(|(_, name)| *name)
            .collect();
        json!({
            "machine": self.machine.json(),
            "memfd": self.memfd.json(),
            "membarrier": self.membarrier.json(),
            "userfaultfd_full": self.userfaultfd_full.json(),
            "userfaultfd_user_mode": self.userfaultfd_user_mode.json(),
            "userfaultfd_device": self.userfaultfd_device.json(),
            "features": self.features,
            "feature_names": names,
            "register_continue": self.register_continue.json(),
            "sigbus_fault": self.sigbus_fault.json(),
            "dontunmap_shared": self.dontunmap_shared.json(),
            "move_cost": self.move_cost.as_ref().map(MoveCost::json),
            "sigbus_owner": self.sigbus_owner.json(),
            "missing_for_sigbus": self.missing_for_sigbus(),
            "delivery": self.delivery(),
        })
    }
}

fn try_membarrier() -> Attempt {
    Attempt::of(membarrier::register().and_then(|()| membarrier::fence_all_threads()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GIB;

    // One test, because two reports at the same time would see each other's descriptors.
    #[test]
    fn a_report_is_consistent_and_leaves_nothing_behind() {
        let owner = SignalOwner::of(libc::SIGBUS);
        let found: Value = serde_json::from_str(&report_json()).expect("valid JSON");
        assert_eq!(found["machine"]["page_size"], page_size());
        assert_eq!(found["memfd"]["works"], true);
        let runs = found["missing_for_sigbus"].as_array().is_some_and(Vec::is_empty);
        assert_eq!(found["delivery"] == "sigbus", runs);
        if runs {
            let names = found["feature_names"].as_array().expect("a list");
            assert!(names.iter().any(|name| name == "MINOR_SHMEM"));
            assert_eq!(found["move_cost"]["bytes"], GIB);
        }
        assert_eq!(SignalOwner::of(libc::SIGBUS), owner);
        let maps = std::fs::read_to_string("/proc/self/maps").expect("readable");
        assert!(!maps.contains("subduct-probe"), "{maps}");
        let descriptors = std::fs::read_dir("/proc/self/fd").expect("readable").flatten();
        let targets: Vec<_> = descriptors.filter_map(|entry| std::fs::read_link(entry.path()).ok()).collect();
        assert!(!targets.iter().any(|target| target.to_string_lossy().contains("subduct-probe")), "{targets:?}");
    }
}
