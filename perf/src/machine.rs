//! Where a number was measured: processor, kernel, load, commit, date.

use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Clock ticks a second in `/proc/*/stat`; fixed in the kernel's interface to user space.
const TICKS_PER_SECOND: f64 = 100.0;
/// Field of `/proc/*/stat`, counted behind the process name, that holds the user time.
const UTIME_FIELD: usize = 11;

/// The machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Cores that this process may use.
    pub cores: usize,
    /// Processor model.
    pub cpu: String,
    /// Kernel release.
    pub kernel: String,
    /// Load average over one minute when the run began: whether the machine was quiet.
    pub load_1m: f64,
}

impl Machine {
    /// This one.
    pub fn here() -> Self {
        let cpuinfo = read("/proc/cpuinfo");
        let cpu = cpuinfo.lines().find(|line| line.starts_with("model name"));
        let cpu = cpu
            .and_then(|line| line.split(':').nth(1))
            .unwrap_or("unknown");
        let load = read("/proc/loadavg");
        let load = load.split(' ').next().and_then(|load| load.parse().ok());
        Self {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            cpu: cpu.trim().to_owned(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load_1m: load.unwrap_or(0.0),
        }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            cores,
            cpu,
            kernel,
            load_1m,
        } = self;
        write!(f, "{cores} x {cpu}, Linux {kernel}, load {load_1m:.1}")
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The CPUs that this process may run on, in order; empty where the kernel does not say.
pub fn allowed_cpus() -> Vec<usize> {
    let status = read("/proc/self/status");
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    cpu_list(list.unwrap_or_default())
}

/// Reads the kernel's list form, such as `0-3,8`; what is not in that form is left out.
fn cpu_list(text: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
    };
    text.split(',').filter_map(range).flatten().collect()
}

/// Processor time that the threads of a process have taken so far, in user and kernel, in seconds: to the
/// nanosecond from the scheduler where it tells, else in ticks.
pub fn cpu_seconds(pid: u32) -> Option<f64> {
    scheduled_seconds(pid).or_else(|| {
        let stat = read(&format!("/proc/{pid}/stat"));
        let fields = stat.rsplit_once(')')?.1;
        let mut ticks = fields.split_whitespace().skip(UTIME_FIELD);
        let user: f64 = ticks.next()?.parse().ok()?;
        let system: f64 = ticks.next()?.parse().ok()?;
        Some((user + system) / TICKS_PER_SECOND)
    })
}

/// What the scheduler counts for each thread that there is.
fn scheduled_seconds(pid: u32) -> Option<f64> {
    let mut ns = 0_u64;
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let path = task.ok()?.path().join("schedstat");
        // A thread may end meanwhile.
        let Ok(text) = std::fs::read_to_string(path) else {
            continue;
        };
        ns += text.split(' ').next()?.parse::<u64>().ok()?;
    }
    (ns > 0).then(|| Duration::from_nanos(ns).as_secs_f64())
}

/// The commit that is checked out here, `-dirty` behind it where files differ from it.
pub fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success().then_some(text)
    };
    let Some(commit) = git(&["rev-parse", "--short", "--verify", "HEAD"]) else {
        return "unknown".to_owned();
    };
    let changed = git(&["--no-optional-locks", "status", "--porcelain", "-uno"]);
    let dirty = changed.is_none_or(|changes| !changes.is_empty());
    if dirty {
        format!("{commit}-dirty")
    } else {
        commit
    }
}

/// Now, in UTC: `2026-11-23T21:05:09Z`.
pub fn date() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    format_date(since.map_or(0, |since| since.as_secs()))
}

fn format_date(unix_s: u64) -> String {
    let (days, second) = (unix_s / 86_400, unix_s % 86_400);
    // Days to civil date over eras of 400 years that begin on a first of March, so that the leap
    // day is the last of its year.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_civil_dates() {
        assert_eq!(format_date(0), "1970-01-01T00:00:00Z");
        assert_eq!(format_date(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(format_date(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(format_date(4_102_444_800), "2100-01-01T00:00:00Z");
    }

    #[test]
    fn cpus_are_listed_in_the_kernels_form() {
        assert_eq!(cpu_list("\t0-2,5\n"), vec![0, 1, 2, 5]);
        assert_eq!(cpu_list("nonsense"), Vec::<usize>::new());
        assert!(!allowed_cpus().is_empty());
    }

    #[test]
    fn this_process_has_taken_some_time() {
        assert!(cpu_seconds(std::process::id()).is_some());
        assert_eq!(cpu_seconds(u32::MAX), None);
        assert!(Machine::here().cores > 0);
    }
}
