//! The kernel, io_uring, seccomp and the clock.

use std::path::Path;

use super::{Check, read};
use crate::config::{Config, IoDriver};
use crate::runtime::Driver;

/// From this version on completions wait for the thread, and rings count against no limit of locked memory.
const KERNEL_WANTED: (u32, u32) = (5, 19);
/// The value of `Seccomp` in `/proc/self/status` of a process that has a filter.
const SECCOMP_FILTER: &str = "2";
/// Clock sources that are read without a call into the kernel.
const FAST_CLOCKS: [&str; 5] = [
    "tsc",
    "kvm-clock",
    "arch_sys_counter",
    "hyperv_clocksource_tsc_page",
    "hyperv_clocksource_msr",
];

pub(super) fn checks(config: &Config, root: &Path) -> Vec<Check> {
    let probed = match config.shard.io_driver {
        IoDriver::Epoll => None,
        IoDriver::Auto | IoDriver::IoUring => Some(Driver::probe_io_uring()),
    };
    let is_needed = config.shard.io_driver == IoDriver::IoUring;
    vec![kernel(root), io_uring(root, probed, is_needed), clock(root)]
}

fn kernel(root: &Path) -> Check {
    const NAME: &str = "kernel";
    let Some(release) = read(root, "proc/sys/kernel/osrelease") else {
        return Check::note(NAME, "its version cannot be read");
    };
    let (major, minor) = KERNEL_WANTED;
    match version(&release) {
        Some(version) if version >= KERNEL_WANTED => Check::good(NAME, format!("Linux {release}")),
        _ => Check::warning(
            NAME,
            format!("Linux {release}"),
            format!(
                "Linux {major}.{minor} or later is faster: earlier kernels interrupt a shard for each completion, and \
                 count its ring as locked memory"
            ),
        ),
    }
}

/// `6.1` of `6.1.0-28-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// `probed` is what came of building a ring; none where the settings ask for epoll.
fn io_uring(root: &Path, probed: Option<Result<(), String>>, is_needed: bool) -> Check {
    const NAME: &str = "io_uring";
    let reason = match probed {
        None => return Check::note(NAME, "not asked for: shard.io_driver is epoll"),
        Some(Ok(())) => return Check::good(NAME, "a ring of a shard can be built"),
        Some(Err(reason)) => reason,
    };
    let remedy = why_refused(root, &reason);
    match is_needed {
        true => Check::problem(NAME, format!("refused: {reason}"), remedy),
        false => Check::warning(
            NAME,
            format!("refused: {reason}; shards use epoll, which is slower"),
            remedy,
        ),
    }
}

fn why_refused(root: &Path, reason: &str) -> String {
    let disabled = read(root, "proc/sys/kernel/io_uring_disabled");
    if let Some(value @ ("1" | "2")) = disabled.as_deref() {
        return format!(
            "kernel.io_uring_disabled is {value}: set it to 0 with sysctl, or run without io_uring (KAFSCALE_IO_DRIVER=epoll)"
        );
    }
    if reason.contains("memory") {
        return "raise the limit of locked memory: LimitMEMLOCK=infinity in the unit, ulimit -l unlimited, or \
                --ulimit memlock=-1 of a container"
            .to_owned();
    }
    let status = read(root, "proc/self/status").unwrap_or_default();
    let seccomp = status
        .lines()
        .find_map(|line| line.strip_prefix("Seccomp:"));
    if seccomp.is_some_and(|mode| mode.trim() == SECCOMP_FILTER) {
        return "a seccomp filter is on, as container runtimes have one that refuses io_uring: allow io_uring_setup, \
                io_uring_enter and io_uring_register in its profile (docs/operations.md, \"io_uring in containers\")"
            .to_owned();
    }
    "ask whoever runs the kernel: it is built without io_uring, or a security module refuses it"
        .to_owned()
}

fn clock(root: &Path) -> Check {
    const NAME: &str = "clock";
    let path = "sys/devices/system/clocksource/clocksource0/current_clocksource";
    match read(root, path) {
        None => Check::note(NAME, "its source cannot be read"),
        Some(source) if FAST_CLOCKS.contains(&source.as_str()) => Check::good(NAME, source),
        Some(source) => Check::warning(
            NAME,
            format!("{source}, which takes a call into the kernel for each look at the clock"),
            format!("write tsc to /{path} if available_clocksource beside it has that"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::super::tests::root_with;
    use super::*;

    #[test]
    fn an_old_kernel_and_a_slow_clock_are_told() {
        let clock_path = "sys/devices/system/clocksource/clocksource0/current_clocksource";
        for (release, source, wanted) in [
            ("6.1.0-28-amd64\n", "tsc\n", Verdict::Good),
            ("5.19.0\n", "kvm-clock\n", Verdict::Good),
            ("5.10.0-8\n", "hpet\n", Verdict::Warning),
            ("strange\n", "acpi_pm\n", Verdict::Warning),
        ] {
            let root = root_with(&[("proc/sys/kernel/osrelease", release), (clock_path, source)]);
            assert_eq!(kernel(root.path()).verdict, wanted, "{release}");
            assert_eq!(clock(root.path()).verdict, wanted, "{source}");
        }
        let empty = root_with(&[]);
        assert_eq!(kernel(empty.path()).verdict, Verdict::Note);
        assert_eq!(clock(empty.path()).verdict, Verdict::Note);
    }

    #[test]
    fn a_refusal_of_io_uring_names_what_refuses_it() {
        let refused = || Some(Err("Operation not permitted (os error 1)".to_owned()));
        let disabled = root_with(&[("proc/sys/kernel/io_uring_disabled", "2\n")]);
        let check = io_uring(disabled.path(), refused(), true);
        assert_eq!(check.verdict, Verdict::Problem);
        assert!(check.remedy.unwrap().contains("sysctl"));
        let filtered = root_with(&[("proc/self/status", "Name:\tkafscale\nSeccomp:\t2\n")]);
        let check = io_uring(filtered.path(), refused(), false);
        assert_eq!(check.verdict, Verdict::Warning);
        assert!(check.remedy.unwrap().contains("seccomp"));
        let memory = Some(Err("Cannot allocate memory (os error 12)".to_owned()));
        let check = io_uring(filtered.path(), memory, false);
        assert!(check.remedy.unwrap().contains("LimitMEMLOCK"));
        assert_eq!(
            io_uring(filtered.path(), Some(Ok(())), true).verdict,
            Verdict::Good
        );
        assert_eq!(
            io_uring(filtered.path(), None, false).verdict,
            Verdict::Note
        );
    }
}
