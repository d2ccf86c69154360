//! Figures and limits of the machine that reading finds out.

use std::env::consts::ARCH;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::page_size;

/// What the kernel and its limits are. Sizes in bytes; None for what has no limit or could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Release of the kernel, as `uname -r` says it.
    pub release: String,
    /// Architecture this was built for.
    pub architecture: String,
    /// Size of an OS page.
    pub page_size: usize,
    /// Mappings that a process may have (`vm.max_map_count`).
    pub max_map_count: Option<u64>,
    /// Mappings that this process has.
    pub map_count: Option<u64>,
    /// `vm.unprivileged_userfaultfd`: 1 when userfaultfd without limits is open to everybody.
    pub unprivileged_userfaultfd: Option<u64>,
    /// `vm.overcommit_memory`: 2 means that memory is charged when it is mapped.
    pub overcommit: Option<u64>,
    /// Memory of the machine.
    pub memory_bytes: Option<u64>,
    /// Memory that is available without swapping.
    pub available_bytes: Option<u64>,
    /// The lowest memory limit of the control groups this process is in.
    pub cgroup_limit_bytes: Option<u64>,
    /// What the control group with that limit uses now.
    pub cgroup_used_bytes: Option<u64>,
    /// `RLIMIT_AS`: address space that this process may map.
    pub address_space_limit_bytes: Option<u64>,
    /// `RLIMIT_FSIZE`: largest file that this process may make, a memfd included.
    pub file_size_limit_bytes: Option<u64>,
    /// Huge pages for shared memory (`shmem_enabled`).
    pub shmem_huge_pages: Option<String>,
}

impl Machine {
    pub(super) fn read() -> Self {
        let (cgroup_limit_bytes, cgroup_used_bytes) = cgroup_memory().unzip();
        Self {
            release: text("/proc/sys/kernel/osrelease").unwrap_or_default(),
            architecture: ARCH.to_owned(),
            page_size: page_size(),
            max_map_count: number("/proc/sys/vm/max_map_count"),
            map_count: fs::read_to_string("/proc/self/maps").ok().map(|maps| maps.lines().count() as u64),
            unprivileged_userfaultfd: number("/proc/sys/vm/unprivileged_userfaultfd"),
            overcommit: number("/proc/sys/vm/overcommit_memory"),
            memory_bytes: memory_figure("MemTotal:"),
            available_bytes: memory_figure("MemAvailable:"),
            cgroup_limit_bytes,
            cgroup_used_bytes,
            address_space_limit_bytes: limit("Max address space"),
            file_size_limit_bytes: limit("Max file size"),
            shmem_huge_pages: chosen("/sys/kernel/mm/transparent_hugepage/shmem_enabled"),
        }
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "release": self.release,
            "architecture": self.architecture,
            "page_size": self.page_size,
            "max_map_count": self.max_map_count,
            "map_count": self.map_count,
            "unprivileged_userfaultfd": self.unprivileged_userfaultfd,
            "overcommit": self.overcommit,
            "memory_bytes": self.memory_bytes,
            "available_bytes": self.available_bytes,
            "cgroup_limit_bytes": self.cgroup_limit_bytes,
            "cgroup_used_bytes": self.cgroup_used_bytes,
            "address_space_limit_bytes": self.address_space_limit_bytes,
            "file_size_limit_bytes": self.file_size_limit_bytes,
            "shmem_huge_pages": self.shmem_huge_pages,
        })
    }
}

fn text(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

fn number(path: impl AsRef<Path>) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The word in brackets of a file that lists choices.
fn chosen(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let (_, rest) = text.split_once('[')?;
    rest.split_once(']').map(|(word, _)| word.to_owned())
}

/// A line of /proc/meminfo, which counts in KiB, in bytes.
pub(crate) fn memory_figure(name: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib << 10)
}

/// A soft limit of this process in bytes: name, soft limit, hard limit and unit stand in one line.
fn limit(name: &str) -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The lowest memory limit of the control groups above this process, and what that group uses.
fn cgroup_memory() -> Option<(u64, u64)> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    groups
        .lines()
        .filter_map(|line| {
            // number:controllers:path; the unified hierarchy has no controllers in its line
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            let (mount, limit, used) = if controllers.is_empty() {
                ("/sys/fs/cgroup", "memory.max", "memory.current")
            } else if controllers.split(',').any(|name| name == "memory") {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes")
            } else {
                return None;
            };
            lowest_limit(Path::new(mount), Path::new(path.trim_start_matches('/')), limit, used)
        })
        .min()
}

/// The lowest limit among a group and those above it. Inside a container the path may not exist below the mount: then
/// the mount itself is the group.
fn lowest_limit(mount: &Path, group: &Path, limit: &str, used: &str) -> Option<(u64, u64)> {
    group
        .ancestors()
        .filter_map(|part| {
            let folder = mount.join(part);
            let bytes = number(folder.join(limit))?;
            // The first version of control groups has a huge number for "no limit".
            (bytes < 1 << 62).then(|| (bytes, number(folder.join(used)).unwrap_or(0)))
        })
        .min()
}
