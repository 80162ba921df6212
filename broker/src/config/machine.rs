//! What defaults depend on: the memory, the CPUs and the names of the machine or container.

use std::fs;
use std::path::Path;

/// Assumed where neither the control group nor the kernel tells the size of memory.
const MEMORY_FALLBACK_BYTES: u64 = 1 << 30;
/// Deepest control group that is looked at.
const CGROUP_DEPTH_MAX: usize = 64;
/// Highest CPU id that is believed.
const CPU_ID_MAX: usize = 65_535;

/// *Immutable, shared.* Facts about where the process runs, read once at start-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Memory that the process may use: its control group's limit, else the machine's memory.
    pub memory_bytes: u64,
    /// Ids of the CPUs that the process may run on, ascending.
    pub cpus: Vec<usize>,
    /// CPUs' worth of time that the process may use; a control group's quota makes it smaller
    /// than the number of CPUs.
    pub parallelism: usize,
    /// The machine's host name.
    pub host_name: String,
    /// `POD_NAME`, where Kubernetes tells it.
    pub pod_name: Option<String>,
    /// `POD_NAMESPACE`, where Kubernetes tells it.
    pub pod_namespace: Option<String>,
}

impl Machine {
    /// Looks at the machine that this process runs on.
    pub fn detect() -> Self {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let mut machine = Self::read(Path::new("/"));
        machine.pod_name = variable("POD_NAME");
        machine.pod_namespace = variable("POD_NAMESPACE");
        machine
    }

    /// The same below another root, so that it can be tested.
    fn read(root: &Path) -> Self {
        let parallelism = std::thread::available_parallelism().map_or(1, usize::from);
        let status = read(root, "proc/self/status").unwrap_or_default();
        let cpus = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
            .and_then(parse_cpu_list)
            .unwrap_or_else(|| (0..parallelism).collect());
        let host_name = read(root, "proc/sys/kernel/hostname")
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| "localhost".to_owned());
        Self {
            memory_bytes: memory_bytes(root).unwrap_or(MEMORY_FALLBACK_BYTES),
            parallelism: parallelism.min(cpus.len()).max(1),
            cpus,
            host_name,
            pod_name: None,
            pod_namespace: None,
        }
    }

    /// The number after the last `-` of the pod's name: a StatefulSet's ordinal.
    pub fn pod_ordinal(&self) -> Option<i32> {
        self.pod_name
            .as_deref()?
            .rsplit_once('-')?
            .1
            .parse()
            .ok()
            .filter(|ordinal| *ordinal >= 0)
    }
}

fn read(root: &Path, path: &str) -> Option<String> {
    fs::read_to_string(root.join(path.trim_start_matches('/'))).ok()
}

/// The smallest of the machine's memory and every control group limit above the process.
fn memory_bytes(root: &Path) -> Option<u64> {
    let total = read(root, "proc/meminfo").and_then(|text| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim()
            .strip_suffix("kB")?
            .trim()
            .parse::<u64>()
            .ok()?
            .checked_mul(1024)
    });
    let mut limits: Vec<u64> = total.into_iter().collect();
    for line in read(root, "proc/self/cgroup").unwrap_or_default().lines() {
        let mut parts = line.splitn(3, ':');
        let (_, Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        if controllers.is_empty() {
            limits.extend(group_limits(root, "sys/fs/cgroup", path, "memory.max"));
        } else if controllers.split(',').any(|name| name == "memory") {
            let mount = "sys/fs/cgroup/memory";
            limits.extend(group_limits(root, mount, path, "memory.limit_in_bytes"));
        }
    }
    limits.into_iter().filter(|limit| *limit > 0).min()
}

/// Limits of a control group and its ancestors. In a container the path may name a group of the
/// host that is not mounted; the mount itself, always tried, is then the container's own group.
fn group_limits(root: &Path, mount: &str, path: &str, file: &str) -> Vec<u64> {
    let ancestors = Path::new(path.trim_start_matches('/'))
        .ancestors()
        .take(CGROUP_DEPTH_MAX);
    let limit = |group: &Path| {
        let text = fs::read_to_string(root.join(mount).join(group).join(file)).ok()?;
        text.trim().parse::<u64>().ok()
    };
    ancestors.filter_map(limit).collect()
}

/// Parses the kernel's list form, such as `0-3,8`.
fn parse_cpu_list(text: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
        if first > last || last > CPU_ID_MAX {
            return None;
        }
        cpus.extend(first..=last);
    }
    (!cpus.is_empty()).then_some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root_with(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn memory_is_the_smallest_limit_of_the_group_and_its_ancestors() {
        let root = root_with(&[
            (
                "proc/meminfo",
                "MemTotal:        8388608 kB\nMemFree: 1 kB\n",
            ),
            ("proc/self/cgroup", "0::/system.slice/kafscale.service\n"),
            (
                "sys/fs/cgroup/system.slice/kafscale.service/memory.max",
                "max\n",
            ),
            ("sys/fs/cgroup/system.slice/memory.max", "2147483648\n"),
        ]);
        assert_eq!(memory_bytes(root.path()), Some(2 << 30));
    }

    #[test]
    fn memory_knows_the_first_version_of_control_groups() {
        let root = root_with(&[
            ("proc/meminfo", "MemTotal:        8388608 kB\n"),
            (
                "proc/self/cgroup",
                "5:cpu,cpuacct:/x\n4:memory:/docker/abc\n",
            ),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824\n"),
        ]);
        assert_eq!(memory_bytes(root.path()), Some(1 << 30));
    }

    #[test]
    fn memory_without_a_limit_is_that_of_the_machine() {
        let root = root_with(&[
            ("proc/meminfo", "MemTotal:        8388608 kB\n"),
            ("proc/self/cgroup", "4:memory:/\n0::/\n"),
            (
                "sys/fs/cgroup/memory/memory.limit_in_bytes",
                "9223372036854771712\n",
            ),
        ]);
        assert_eq!(memory_bytes(root.path()), Some(8 << 30));
        let empty = root_with(&[]);
        assert_eq!(
            Machine::read(empty.path()).memory_bytes,
            MEMORY_FALLBACK_BYTES
        );
    }

    #[test]
    fn cpu_lists_are_parsed_or_refused() {
        assert_eq!(parse_cpu_list("\t0-3,8\n"), Some(vec![0, 1, 2, 3, 8]));
        assert_eq!(parse_cpu_list("5"), Some(vec![5]));
        for text in ["", "a", "3-1", "0-", "0-99999999"] {
            assert_eq!(parse_cpu_list(text), None, "{text}");
        }
    }

    #[test]
    fn the_pod_ordinal_is_the_number_after_the_last_dash() {
        let mut machine = Machine::detect();
        assert!(!machine.cpus.is_empty());
        for (name, ordinal) in [
            ("kafscale-broker-3", Some(3)),
            ("kafscale", None),
            ("a-b", None),
        ] {
            machine.pod_name = Some(name.to_owned());
            assert_eq!(machine.pod_ordinal(), ordinal, "{name}");
        }
    }
}
